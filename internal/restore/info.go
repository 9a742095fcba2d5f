package restore

import (
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Info is what a repository holds of a set, for people.
type Info struct {
	SchemaVersion int          `json:"schema_version"`
	Repository    string       `json:"repository"`
	Set           string       `json:"set"`
	Backups       []BackupInfo `json:"backups"`
	LogBytes      int64        `json:"log_bytes"` // stored
	Until         time.Time    `json:"until,omitzero"`
}

// BackupInfo is a backup, and where it leads.
type BackupInfo struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	Driver      string    `json:"driver"`
	Parent      string    `json:"parent,omitempty"`
	Server      string    `json:"server"`
	Version     string    `json:"server_version"`
	StoredBytes int64     `json:"stored_bytes"`
	From        time.Time `json:"from"`           // the first moment that can be asked for
	Until       time.Time `json:"until,omitzero"` // the last commit that can be brought back; zero: only the backup itself
	GTIDs       string    `json:"gtids,omitempty"`
	Logs        []string  `json:"logs,omitempty"`    // the servers whose logs lead there, one after another
	Problem     string    `json:"problem,omitempty"` // why it does not lead on
	Warnings    []string  `json:"warnings,omitempty"`
}

// Inform finds out where each backup leads. It is pure.
func Inform(inv Inventory) *Info {
	info := &Info{SchemaVersion: 1, Repository: inv.Repository, Set: inv.Set, Backups: []BackupInfo{}}
	for _, l := range inv.Logs {
		for _, f := range l.Files {
			info.LogBytes += f.Stored
			if f.Last.After(info.Until) {
				info.Until = f.Last
			}
		}
	}
	for _, m := range inv.Backups {
		b := BackupInfo{ID: m.ID, Kind: m.Kind, Driver: m.Driver, Parent: m.Parent, Server: m.Server, Version: m.ServerVersion,
			StoredBytes: m.StoredBytes, From: m.Finished, GTIDs: m.GTIDs, Warnings: m.Warnings}
		p, err := MakePlan(inv, Request{Backup: m.ID})
		switch {
		case err != nil:
			b.Problem = err.Error()
		case len(p.Legs) > 0:
			last := p.Legs[len(p.Legs)-1]
			b.Until, b.GTIDs = last.Until, last.GTIDs
			for _, l := range p.Legs {
				b.Logs = append(b.Logs, l.Server)
			}
		}
		info.Backups = append(info.Backups, b)
	}
	return info
}

// Err says that no backup leads to the end of what is archived.
func (i *Info) Err() error {
	for _, b := range i.Backups {
		if b.Problem == "" && !b.Until.Before(i.Until) {
			return nil
		}
	}
	if len(i.Backups) == 0 {
		return fault.New(fault.Gap, fmt.Errorf("repository %s has no backup of set %s", i.Repository, i.Set), "lifeboat backup makes one")
	}
	return fault.New(fault.Gap, fmt.Errorf("no backup in repository %s leads to the end of the archive", i.Repository), "take a new backup; lifeboat archive status shows the gaps")
}
