// Package askguard asks the guard of this machine, by its socket, whether a
// directory may be restored into.
//
// The guard's operations reach machines and disks, and a restore destroys
// nothing: it fills a directory that is empty. So none of them is asked for.
// What is asked for is what the guard has found out (verb check), and that
// counts: a restore is refused if a storage engine lives in the directory, above
// or below it, also one that this process cannot see, in a container or with its
// files renamed; and if the guard could not see. What lives elsewhere on the
// machine is no reason.
//
// The protocol is the agent's (internal/guard/agent): one line of JSON each way.
package askguard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Guard is where a machine's guard is.
type Guard struct {
	Socket string // of its agent
	Config string // its configuration: a machine that has it has a guard
}

// Installed is where a guard is unless its flags say otherwise.
func Installed() Guard {
	return Guard{Socket: "/run/lifeboat-guard/guard.sock", Config: "/etc/lifeboat/guard.yaml"}
}

// patience is how long the guard may look: it walks every disk.
const patience = 20 * time.Minute

// call is agent.Call, as far as it is used. Checks of stop-server need every
// fact about what runs, and none about what lies on disks.
type call struct {
	Version int    `json:"version"`
	Verb    string `json:"verb"`
	Ask     struct {
		Operation string `json:"operation"`
	} `json:"ask"`
}

// event is agent.Event, as far as it is used.
type event struct {
	Result *struct {
		Facts []fact `json:"facts"`
	} `json:"result"`
	Error string `json:"error"`
}

// fact is fact.Fact, as far as it is used.
type fact struct {
	Kind    string `json:"kind"`
	Verdict string `json:"verdict"`
	Subject string `json:"subject"`
	Summary string `json:"summary"`
}

// kinds of facts that say what lives where. Of each there must be one.
var kinds = []string{"visibility", "engine-lock", "open-file"}

// Restore returns nil if dir, an absolute path without symbolic links, may be
// restored into, or if the machine has no guard. Everything else is an error of
// class fault.Refused, also that the guard does not answer.
func (g Guard) Restore(ctx context.Context, dir string) error {
	there, err := g.there()
	if err != nil || !there {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	facts, err := g.ask(ctx)
	if err != nil {
		return fault.New(fault.Refused, fmt.Errorf("this machine has a guard, and it does not say what lives here: %w", err),
			"start lifeboat-guard agent, and be root or in its socket_group; until it answers nothing is restored here")
	}
	return judge(facts, dir)
}

// there reports whether the machine has a guard.
func (g Guard) there() (bool, error) {
	for _, path := range []string{g.Socket, g.Config} {
		_, err := os.Lstat(path)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fault.New(fault.Refused, fmt.Errorf("whether this machine has a guard cannot be known: %w", err), "be root")
		}
	}
	return false, nil
}

func (g Guard) ask(ctx context.Context) ([]fact, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", g.Socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c := call{Version: 1, Verb: "check"}
	c.Ask.Operation = "stop-server"
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		return nil, err
	}
	in := json.NewDecoder(bufio.NewReader(conn))
	for {
		var e event
		switch err := in.Decode(&e); {
		case err != nil:
			return nil, fmt.Errorf("it has not answered: %w", err)
		case e.Error != "":
			return nil, errors.New(e.Error)
		case e.Result != nil:
			return e.Result.Facts, nil
		}
	}
}

// judge decides from facts. It is pure.
func judge(facts []fact, dir string) error {
	var errs []error
	seen := map[string]bool{}
	for _, f := range facts {
		if !slices.Contains(kinds, f.Kind) {
			continue
		}
		seen[f.Kind] = true
		switch {
		case f.Verdict == "CLEAR":
		case f.Verdict == "ACTIVE" && f.Kind != "visibility" && !touches(f.Subject, dir):
		default: // alive here, or not known
			errs = append(errs, fmt.Errorf("%s: %s", f.Verdict, f.Summary))
		}
	}
	for _, k := range kinds {
		if !seen[k] {
			errs = append(errs, fmt.Errorf("UNKNOWN: the guard says nothing about %s", k))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fault.New(fault.Refused, fmt.Errorf("the guard of this machine does not let %s be restored into: %w", dir, errors.Join(errs...)),
		"lifeboat-guard check stop-server --explain shows what it sees; choose a directory where nothing lives")
}

// touches reports whether one path is the other, or in it.
func touches(a, b string) bool {
	a, b = filepath.Clean(a)+"/", filepath.Clean(b)+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}
