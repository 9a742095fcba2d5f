package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// ErrNoParent says that there is no backup that an increment could go on from.
var ErrNoParent = errors.New("no backup to go on from")

// findParent finds the backup to go on from, the last one that all repositories
// have, with all that it goes on from itself: the full one first.
func findParent(ctx context.Context, t *taking) ([]Manifest, error) {
	var parents, first []Manifest
	var reasons []error
	for i, r := range t.Repositories {
		all, bad, err := List(ctx, r, t.Set)
		if err != nil {
			return nil, err
		}
		reasons = append(reasons, bad...)
		mine, why := t.parents(all)
		reasons = append(reasons, why...)
		if i == 0 {
			parents, first = mine, all
		}
		parents = common(parents, mine)
	}
	if len(parents) == 0 {
		return nil, fault.New(fault.Failed, t.noParent(reasons), "take a full one")
	}
	return Chain(first, parents[len(parents)-1].ID)
}

func ids(chain []Manifest) (list []string) {
	for _, m := range chain {
		list = append(list, m.ID)
	}
	return list
}

// parents are those backups that this one can go on from, the oldest first,
// and why others are none.
func (t *taking) parents(all []Manifest) (list []Manifest, why []error) {
	for _, m := range all {
		if t.Parent != "" && t.Parent != m.ID {
			continue
		}
		if err := t.canFollow(&m); err != nil {
			why = append(why, fmt.Errorf("%s: %w", m.ID, err))
			continue
		}
		if _, err := Chain(all, m.ID); err != nil {
			why = append(why, err)
			continue
		}
		list = append(list, m)
	}
	return list, why
}

// canFollow says why this backup cannot go on from m.
func (t *taking) canFollow(m *Manifest) error {
	switch {
	case m.Server != t.origin.name:
		return fmt.Errorf("it is of server %s", m.Server)
	case m.Driver != t.driver.Name():
		return fmt.Errorf("it was taken by %s", m.Driver)
	case m.ToLSN == 0:
		return fmt.Errorf("backups by %s have no increments", m.Driver)
	case series(m.ServerVersion) != series(t.origin.Version):
		return fmt.Errorf("it is of version %s", m.ServerVersion)
	}
	return nil
}

func (t *taking) noParent(reasons []error) error {
	const most = 5 // of the last ones
	what := t.origin.name
	if t.Parent != "" {
		what = t.Parent
	}
	err := fmt.Errorf("%s: %w", what, ErrNoParent)
	return errors.Join(append([]error{err}, reasons[max(0, len(reasons)-most):]...)...)
}

// common are those of a that are in b as well.
func common(a, b []Manifest) (both []Manifest) {
	ids := map[string]bool{}
	for _, m := range b {
		ids[m.ID] = true
	}
	for _, m := range a {
		if ids[m.ID] {
			both = append(both, m)
		}
	}
	return both
}
