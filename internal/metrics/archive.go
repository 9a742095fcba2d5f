// Package metrics shows to Prometheus what happens. It listens to events; who
// sends them does not know it.
//
// docs/archive.md has the list, and which values are a reason to wake somebody.
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Kinds of errors.
const (
	kindDenied  = "denied"  // a server refuses the account
	kindServer  = "server"  // a server does not answer, or not as it should
	kindStorage = "storage" // a repository cannot be used
	kindNoSpace = "no_space"
	kindRefused = "refused" // a repository refuses a server: it is another database's
)

var kinds = []string{kindDenied, kindServer, kindStorage, kindNoSpace, kindRefused}

// Archive are the metrics of archiving, by server and repository, as they are
// called in the configuration.
type Archive struct {
	connected, diskFull, lastCommit   *prometheus.GaugeVec
	bytes, segments, alarms, failures *prometheus.CounterVec

	// By server.
	heldFiles, heldBytes, expires, stuck *prometheus.GaugeVec
	purged                               *prometheus.CounterVec

	registry prometheus.Registerer
}

// NewArchive makes the metrics.
func NewArchive(registry prometheus.Registerer) *Archive {
	labels := []string{"server", "repository"}
	gaugeBy := func(labels []string, name, help string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lifeboat_archive_" + name, Help: help}, labels)
		registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string) *prometheus.GaugeVec { return gaugeBy(labels, name, help) }
	purged := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lifeboat_archive_purged_files_total", Help: "Files removed from the server, by archive.purge: hold."}, labels[:1])
	registry.MustRegister(purged)
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lifeboat_archive_" + name, Help: help}, append(more, labels...))
		registry.MustRegister(v)
		return v
	}
	return &Archive{
		registry:   registry,
		connected:  gauge("connected", "1 while the server's log is being received."),
		diskFull:   gauge("disk_full", "1 while the repository has no space."),
		lastCommit: gauge("last_commit_timestamp_seconds", "When the last transaction that is archived was committed, by the server's clock."),
		bytes:      counter("stored_bytes_total", "Bytes stored in the repository."),
		segments:   counter("segments_total", "Segments stored in the repository."),
		alarms:     counter("alarms_total", "Parts of the log that can never be archived any more."),
		failures:   counter("errors_total", "Failures after which it is tried again.", "kind"),
		heldFiles:  gaugeBy(labels[:1], "held_files", "Files of its log that the server has, but for the one that it writes."),
		heldBytes:  gaugeBy(labels[:1], "held_bytes", "Their bytes."),
		expires:    gaugeBy(labels[:1], "expiry_warning", "1 while the server's own expiry of its log is wrong: archive status says what."),
		stuck:      gaugeBy(labels[:1], "hold_failing", "1 while it cannot be known which files may go, or they cannot be removed: all stay."),
		purged:     purged,
	}
}

// pair is what is shown of one server and repository.
type pair struct {
	*Archive
	server, repository string

	mu  sync.Mutex
	lag archive.Lag
}

// Listen gives the Listener of a server and a repository; all of its metrics
// are there from now on, with 0. Once for each pair.
func (a *Archive) Listen(server, repository string) archive.Listener {
	p := &pair{Archive: a, server: server, repository: repository, lag: archive.NewLag(time.Now())}
	a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "lifeboat_archive_lag_seconds",
		Help:        "Seconds since the archive had all that the server had; it grows while the server does not answer.",
		ConstLabels: prometheus.Labels{"server": server, "repository": repository},
	}, p.seconds))
	for _, v := range []*prometheus.GaugeVec{a.connected, a.diskFull, a.lastCommit} {
		v.WithLabelValues(server, repository).Set(0)
	}
	for _, v := range []*prometheus.CounterVec{a.bytes, a.segments, a.alarms} {
		v.WithLabelValues(server, repository).Add(0)
	}
	for _, v := range []*prometheus.GaugeVec{a.heldFiles, a.heldBytes, a.expires, a.stuck} {
		v.WithLabelValues(server).Set(0)
	}
	a.purged.WithLabelValues(server).Add(0)
	for _, kind := range kinds {
		a.failures.WithLabelValues(kind, server, repository).Add(0)
	}
	return archive.Listener{Connected: p.hearConnected, Stored: p.hearStored, Alarm: p.hearAlarm, Waiting: p.hearWaiting, ServerAt: p.hearServer}
}

// Kept shows how it stands with a server's own files.
func (a *Archive) Kept(server string, k archive.Kept) {
	a.purged.WithLabelValues(server).Add(float64(k.Purged))
	a.stuck.WithLabelValues(server).Set(flag(k.Err != nil))
	if k.Err != nil {
		return
	}
	a.heldFiles.WithLabelValues(server).Set(float64(k.Files))
	a.heldBytes.WithLabelValues(server).Set(float64(k.Bytes))
	a.expires.WithLabelValues(server).Set(flag(k.Warning != ""))
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (p *pair) seconds() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lag.At(time.Now()).Seconds()
}

func (p *pair) set(v *prometheus.GaugeVec, value float64) {
	v.WithLabelValues(p.server, p.repository).Set(value)
}

func (p *pair) hearConnected(_ string, from binlog.Position) {
	p.set(p.connected, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag.Archived(from)
}

func (p *pair) hearStored(s archive.Summary, size int64) {
	p.bytes.WithLabelValues(p.server, p.repository).Add(float64(size))
	p.segments.WithLabelValues(p.server, p.repository).Inc()
	p.set(p.diskFull, 0)
	if !s.Last.IsZero() {
		p.set(p.lastCommit, float64(s.Last.UnixMicro())/1e6)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag.Archived(binlog.Position{File: s.File, Offset: s.End})
}

func (p *pair) hearAlarm(archive.Alarm) { p.alarms.WithLabelValues(p.server, p.repository).Inc() }

func (p *pair) hearWaiting(err error, _ time.Duration) {
	kind := kindOf(err)
	p.failures.WithLabelValues(kind, p.server, p.repository).Inc()
	p.set(p.connected, 0)
	if kind == kindNoSpace {
		p.set(p.diskFull, 1)
	}
}

func (p *pair) hearServer(at binlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag.Server(at, time.Now())
}

func kindOf(err error) string {
	switch {
	case fault.ClassOf(err) == fault.NoSpace:
		return kindNoSpace
	case fault.ClassOf(err) == fault.Refused:
		return kindRefused
	case archive.Denied(err):
		return kindDenied
	case fault.ClassOf(err) == fault.Storage || fault.ClassOf(err) == fault.VerifyFailed:
		return kindStorage
	}
	return kindServer
}
