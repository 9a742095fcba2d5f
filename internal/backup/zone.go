package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Zone is the time zone of a server's system, which time_zone=SYSTEM stands for. A log
// says SYSTEM, and not which: a statement with NOW(), or one that makes DATETIME of
// TIMESTAMP, does something else on a machine in another zone.
type Zone struct {
	Name string    `json:"name"` // system_time_zone: CET, when the server was started
	At   time.Time `json:"at"`   // when it was asked for

	// Changes are pairs: a time of Unix, and the seconds east of UTC from then on, as far
	// as they differ from one of the samples (see sampleTimes) to the next.
	Changes [][2]int64 `json:"changes"`
}

// sampleTimes are times of Unix at which zones are compared: every half year from 1971 to
// 2037, and every week of the year before and the two behind a time.
func sampleTimes(around time.Time) (times []int64) {
	for year := 1971; year < 2038; year++ {
		for _, month := range []time.Month{time.January, time.July} {
			times = append(times, time.Date(year, month, 2, 12, 0, 0, 0, time.UTC).Unix())
		}
	}
	const last = 2145916800 // 2038: the end of MariaDB's TIMESTAMP before 11.5
	day := around.UTC().Truncate(24 * time.Hour)
	for week := -52; week < 104; week++ {
		if at := day.AddDate(0, 0, 7*week).Unix(); at > times[0] && at < last {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

// ReadZone asks a server how its system's time zone goes, around a time.
func ReadZone(ctx context.Context, db *sql.DB, around time.Time) (z Zone, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return z, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "SET SESSION time_zone = 'SYSTEM'"); err != nil {
		return z, fmt.Errorf("ask for its time zone: %w", err)
	}
	z.At = around.UTC().Truncate(24 * time.Hour)
	times := sampleTimes(z.At)
	var query strings.Builder
	for i, at := range times {
		if i > 0 {
			query.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&query, "SELECT %d AS t, TIMESTAMPDIFF(SECOND, '1970-01-01', FROM_UNIXTIME(%[1]d)) - %[1]d AS o", at)
	}
	offsets, err := readOffsets(ctx, conn, query.String(), len(times))
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT @@system_time_zone").Scan(&z.Name)
	}
	if err != nil {
		return z, fmt.Errorf("ask for its time zone: %w", err)
	}
	z.Changes = changes(times, func(at int64) int64 { return offsets[at] })
	_, err = conn.ExecContext(ctx, "SET SESSION time_zone = DEFAULT")
	return z, err
}

func readOffsets(ctx context.Context, conn *sql.Conn, query string, want int) (offsets map[int64]int64, err error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what matters is rows.Err
	offsets = map[int64]int64{}
	for rows.Next() {
		var at, offset int64
		if err := rows.Scan(&at, &offset); err != nil {
			return nil, err
		}
		offsets[at] = offset
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(offsets) != want {
		return nil, fmt.Errorf("%d of %d offsets came", len(offsets), want)
	}
	return offsets, nil
}

// changes are where the offset is another one than at the time before.
func changes(times []int64, offset func(at int64) int64) (list [][2]int64) {
	for _, at := range times {
		if o := offset(at); len(list) == 0 || list[len(list)-1][1] != o {
			list = append(list, [2]int64{at, o})
		}
	}
	return list
}

// Same reports whether another zone, read around the same time, goes like this one.
func (z Zone) Same(other Zone) bool { return slices.Equal(z.Changes, other.Changes) }

// is reports whether a zone of this machine goes like this one.
func (z Zone) is(loc *time.Location) bool {
	return slices.Equal(z.Changes, changes(sampleTimes(z.At), func(at int64) int64 {
		_, offset := time.Unix(at, 0).In(loc).Zone()
		return int64(offset)
	}))
}

// zoneinfo is where the C library has the zones that TZ names.
const zoneinfo = "/usr/share/zoneinfo"

// TZ is a value of the environment variable TZ with which a program has this time zone;
// empty: this machine has none that goes like it.
func (z Zone) TZ() string { return z.find(zoneinfo) }

func (z Zone) find(dir string) (tz string) {
	if len(z.Changes) == 1 {
		return fixed(z.Changes[0][1])
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, path)
		switch {
		case err != nil || relErr != nil: // what cannot be read is no candidate
			return nil
		case e.IsDir() && (name == "posix" || name == "right"): // the same once more; with leap seconds
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		if loc, err := time.LoadLocationFromTZData(name, data); err == nil && z.is(loc) {
			tz = name
			return fs.SkipAll
		}
		return nil
	})
	return tz
}

// fixed is TZ for a zone that is always so many seconds east of UTC, in the form of
// POSIX, whose sign is the other way round.
func fixed(offset int64) string {
	sign, west := "+", "-"
	if offset < 0 {
		sign, west, offset = "-", "+", -offset
	}
	h, m, s := offset/3600, offset/60%60, offset%60
	return fmt.Sprintf("<%s%02d%02d>%s%d:%02d:%02d", sign, h, m, west, h, m, s)
}

// String tells people which one it is.
func (z Zone) String() string {
	if len(z.Changes) == 0 {
		return z.Name
	}
	east := []int64{z.Changes[len(z.Changes)-1][1]}
	if len(z.Changes) > 1 {
		east = append(east, z.Changes[len(z.Changes)-2][1])
		slices.Sort(east)
	}
	var parts []string
	for _, o := range slices.Compact(east) {
		parts = append(parts, "UTC"+time.Unix(0, 0).In(time.FixedZone("", int(o))).Format("-07:00"))
	}
	return z.Name + " (" + strings.Join(parts, ", ") + ")"
}
