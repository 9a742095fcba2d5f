package retain

import (
	"fmt"
	"iter"
)

// Item is anything of which a decision says what becomes of it.
type Item struct {
	Fate
	What   string // for people
	Stored int64  // bytes
}

// Items are all of a decision, those of each kind in the order of removal.
func (d Decision) Items() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for _, f := range d.Backups {
			if !yield(Item{f.Fate, fmt.Sprintf("%s backup %s", f.Kind, f.ID), f.Stored}) {
				return
			}
		}
		for _, f := range d.Logs {
			if !yield(Item{f.Fate, fmt.Sprintf("log %s of %s", f.File, f.Server), f.Stored}) {
				return
			}
		}
		for _, f := range d.Leftovers {
			if !yield(Item{f.Fate, "leftover " + f.Object, f.Stored}) {
				return
			}
		}
	}
}

// Total counts the backups, files and leftovers that go, and their stored bytes.
func (d Decision) Total() (count int, bytes int64) {
	for i := range d.Items() {
		if i.Goes {
			count++
			bytes += i.Stored
		}
	}
	return count, bytes
}
