package process

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Names of the probes that one scan serves.
const (
	VisibilityName = "visibility"
	OpenFilesName  = "open-files"
	LocksName      = "engine-locks"
	NamesName      = "names"
)

// Probe is the four of them. It wants the facts of the disks: engines' locks
// are tested on data that no process has open as well.
type Probe struct {
	Canary *Canary
	// DataDirs are data directories beyond those that are found.
	DataDirs []string
	World    World
}

// Name is that of the scan as a whole; its facts have the names above.
func (Probe) Name() string { return "process" }

// Look scans once.
func (p Probe) Look(ctx context.Context, q probe.Question) []fact.Fact {
	facts := visibility("/proc", p.World)
	snapshot, err := Scan(ctx)
	if err != nil {
		return append(facts, fact.Fact{Probe: VisibilityName, Kind: fact.Visibility, Subject: "processes",
			Summary: fmt.Sprintf("processes cannot be looked at: %v", err)})
	}
	return append(facts, p.report(snapshot, q)...)
}

// report says what a snapshot shows.
func (p Probe) report(snapshot *Snapshot, q probe.Question) (facts []fact.Fact) {
	seen := p.Canary.seenIn(snapshot)
	if seen != nil { //check:process-canary
		facts = append(facts, fact.Fact{Probe: VisibilityName, Kind: fact.Visibility, Subject: "canary",
			Summary: fmt.Sprintf("the scan did not find the guard's own canary, so it may have missed a server as well: %v", seen)})
	}
	if len(snapshot.Problems) > 0 { //check:process-problems
		facts = append(facts, fact.Fact{Probe: VisibilityName, Kind: fact.Visibility, Subject: "processes",
			Summary:  "some processes could not be looked at: " + strings.Join(snapshot.Problems, "; "),
			Evidence: map[string]string{"processes": strconv.Itoa(snapshot.Total)}})
	}
	facts = append(facts, openFiles(snapshot)...)
	facts = append(facts, p.locks(snapshot, q)...)
	return append(facts, names("/proc", snapshot)...)
}

// openFiles makes a fact of each process that has engines' files open.
func openFiles(s *Snapshot) (facts []fact.Fact) {
	for _, p := range s.Processes {
		if len(p.Files) == 0 {
			continue
		}
		facts = append(facts, fact.Fact{
			Probe: OpenFilesName, Kind: fact.OpenFile, Verdict: fact.Active, Subject: subject(p), PIDs: []int{p.PID},
			Summary: fmt.Sprintf("process %d (%s) has %d files of a storage engine open, such as %s (%s)",
				p.PID, p.Comm, len(p.Files), p.Files[0].Path, p.Files[0].Class),
			Evidence: map[string]string{"comm": p.Comm, "exe": p.Exe, "files": firstPaths(p.Files), "start": strconv.FormatUint(p.Start, 10)},
		})
	}
	if len(facts) == 0 {
		facts = append(facts, fact.Fact{Probe: OpenFilesName, Kind: fact.OpenFile, Verdict: fact.Clear,
			Summary: fmt.Sprintf("none of %d processes has a file of a storage engine open or mapped", s.Total)})
	}
	return facts
}

// subject names what a process has open by something that stays the same: the
// directory of its system tablespace, or of its first file by path.
func subject(p Process) string {
	paths := make([]string, len(p.Files))
	for i, f := range p.Files {
		paths[i] = f.Path
		if f.Class.Locks() {
			return filepath.Dir(f.Path)
		}
	}
	return filepath.Dir(slices.Min(paths))
}

func firstPaths(files []OpenFile) string {
	var paths []string
	for _, f := range files[:min(len(files), 5)] {
		paths = append(paths, f.Path)
	}
	return strings.Join(paths, ", ")
}
