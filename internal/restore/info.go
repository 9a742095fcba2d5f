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
	Objective     float64      `json:"objective_seconds,omitempty"` // how long a recovery may take
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
	Logs        []string  `json:"logs,omitempty"`              // the servers whose logs lead there, one after another
	Problem     string    `json:"problem,omitempty"`           // why it does not lead on
	Seconds     float64   `json:"predicted_seconds,omitempty"` // of a restore to Until; 0: unknown
	Measured    string    `json:"predicted_by,omitempty"`
	Warnings    []string  `json:"warnings,omitempty"`
}

// Inform finds out where each backup leads, and how long that will take. It is
// pure, if predict is; that may be nil.
func Inform(inv Inventory, objective time.Duration, predict func(*Plan)) *Info {
	info := &Info{SchemaVersion: 1, Objective: objective.Seconds(), Repository: inv.Repository, Set: inv.Set, Backups: []BackupInfo{}}
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
		if err != nil {
			b.Problem = err.Error()
		} else {
			b.leads(p, predict)
		}
		info.Backups = append(info.Backups, b)
	}
	return info
}

func (b *BackupInfo) leads(p *Plan, predict func(*Plan)) {
	if len(p.Legs) > 0 {
		last := p.Legs[len(p.Legs)-1]
		b.Until, b.GTIDs = last.Until, last.GTIDs
	}
	for _, l := range p.Legs {
		b.Logs = append(b.Logs, l.Server)
	}
	if predict != nil {
		predict(p)
		b.Seconds, b.Measured = p.Seconds, p.Measured
	}
}

// Err says that no backup leads to the end of what is archived, or that from the
// one that a restore would take it is predicted to take longer than it may.
func (i *Info) Err() error {
	if len(i.Backups) == 0 {
		return fault.New(fault.Gap, fmt.Errorf("repository %s has no backup of set %s", i.Repository, i.Set), "lifeboat backup makes one")
	}
	var best *BackupInfo
	for n, b := range i.Backups {
		if b.Problem == "" && !b.Until.Before(i.Until) && (best == nil || b.From.After(best.From)) {
			best = &i.Backups[n]
		}
	}
	if best == nil {
		return fault.New(fault.Gap, fmt.Errorf("no backup in repository %s leads to the end of the archive", i.Repository), "take a new backup; lifeboat archive status shows the gaps")
	}
	if i.Objective > 0 && best.Seconds > i.Objective {
		return fault.New(fault.VerifyFailed, fmt.Errorf("a recovery from repository %s is predicted to take %.0f s (by %s), and may take %.0f s", i.Repository, best.Seconds, best.Measured, i.Objective),
			"take backups more often, or give it a faster machine")
	}
	return nil
}
