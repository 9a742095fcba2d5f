package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Run checks what is stored. The report is there with most errors, too: of an
// interrupted run with what was found until then. Without an error everything
// is as it should be; otherwise its class is that of Report.Err, or Interrupted
// when the context has ended, or that of what kept the run from going on.
func Run(ctx context.Context, o Options) (*Report, error) {
	rep, err := run(ctx, o)
	if err != nil {
		return rep, fmt.Errorf("verify: %w", err)
	}
	return rep, nil
}

func run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	s, err := openState(o.State, o.Repository.ID())
	if err != nil {
		return nil, err
	}
	v := newVerifier(o, s)
	err = v.run(ctx)
	if ctx.Err() != nil {
		err = fault.New(fault.Interrupted, fmt.Errorf("interrupted (%w)", context.Cause(ctx)), "run it again with the same state to resume")
	}
	v.finish()
	return &v.report, cmp.Or(errors.Join(err, s.close()), v.report.Err())
}

// verifier is a run.
type verifier struct {
	Options
	state   *state
	fresh   time.Time // what was checked after it need not be checked again
	limiter limiter
	report  Report

	objects []*object
	named   map[string]*object
	used    map[string]bool // by a backup; see orphans
	unknown map[string]bool // folders of backups of which it is not known what they use

	bad atomic.Int32 // unreadable objects, one after the other

	mu       sync.Mutex // of the rest
	progress Progress
}

func newVerifier(o Options, s *state) *verifier {
	v := &verifier{Options: o, state: s, limiter: limiter{rate: o.BytesPerSecond},
		named: map[string]*object{}, used: map[string]bool{}, unknown: map[string]bool{}}
	v.report = Report{SchemaVersion: SchemaVersion, Repository: o.Repository.ID(), Place: o.Repository.String(),
		Started: time.Now().UTC(), Findings: []Finding{}, Sets: []string{}}
	v.report.Content = o.Decrypt || len(o.Repository.Recipients()) == 0
	if s.note != "" {
		v.report.Notes = append(v.report.Notes, s.note)
	}
	return v
}

func (v *verifier) run(ctx context.Context) (err error) {
	if v.fresh, err = v.state.begin(v.Set, v.report.Started, v.MaxAge); err != nil {
		return err
	}
	if err := v.list(ctx); err != nil {
		return err
	}
	v.choose()
	err = v.checkAll(ctx)
	v.damages()
	if err != nil {
		return err
	}
	for _, set := range v.report.Sets {
		if err := v.backups(ctx, set); err != nil {
			return err
		}
		if err := v.logs(ctx, set); err != nil {
			return err
		}
	}
	v.orphans()
	v.gone()
	v.report.Complete = true
	return v.state.end(v.Set)
}

func (v *verifier) finish() {
	v.report.Finished = time.Now().UTC()
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int { return strings.Compare(a.Object, b.Object) })
}

func (v *verifier) found(f Finding) { v.report.Findings = append(v.report.Findings, f) }

// list finds what there is.
func (v *verifier) list(ctx context.Context) error {
	prefix := v.Set
	if prefix != "" {
		prefix += "/"
		v.report.Sets = []string{v.Set}
	}
	for e, err := range v.Repository.List(ctx, prefix) {
		if err != nil {
			return err
		}
		o := classify(e)
		if o.set != "" && !slices.Contains(v.report.Sets, o.set) {
			v.report.Sets = append(v.report.Sets, o.set)
		}
		v.objects = append(v.objects, o)
		v.named[e.Name] = o
		v.report.Objects++
		v.report.Bytes += e.Size
	}
	return nil
}

// choose decides what is left out, and adds up the rest.
func (v *verifier) choose() {
	for _, o := range v.objects {
		r, ok := v.state.remembered(o.Name)
		if ok && r.Checked.After(v.fresh) && r.Size == o.Size && (r.Content || !v.report.Content) {
			o.status = skipped
			continue
		}
		v.progress.TotalObjects++
		v.progress.TotalBytes += o.Size
	}
}

// checkAll checks all objects.
func (v *verifier) checkAll(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(v.Workers)
	for _, o := range v.objects {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return v.visit(inner, o) })
	}
	return cmp.Or(g.Wait(), ctx.Err())
}

// visit checks an object, unless that was done before and its header, where one
// is needed, still fits.
func (v *verifier) visit(ctx context.Context, o *object) error {
	if o.status == skipped {
		if v.describe(ctx, o) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.report.Skipped++
			return nil
		}
		v.mu.Lock()
		v.progress.TotalObjects++
		v.progress.TotalBytes += o.Size
		v.mu.Unlock()
	}
	if err := v.limiter.wait(ctx, o.Size); err != nil {
		return err
	}
	h, err := v.read(ctx, o.Name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = o.belongs(h)
	}
	return v.settle(o, err)
}

// describe takes the header of an object of a log that is not checked now.
func (v *verifier) describe(ctx context.Context, o *object) bool {
	if o.role != roleLog {
		return true
	}
	h, err := v.Repository.Header(ctx, o.Name)
	return err == nil && o.belongs(h) == nil
}

// read verifies an object.
func (v *verifier) read(ctx context.Context, name string) (repository.Header, error) {
	if !v.report.Content {
		return v.Repository.Check(ctx, name)
	}
	h, _, err := v.Repository.Read(ctx, name)
	return h, err
}

// settle writes down what came of an object's check.
func (v *verifier) settle(o *object, err error) error {
	o.conclude(err)
	if o.status == unreadable {
		if v.bad.Add(1) >= maxUnreadable {
			return err
		}
	} else {
		v.bad.Store(0)
	}
	v.mu.Lock()
	v.report.Checked++
	v.report.CheckedBytes += o.Size
	v.progress.Objects++
	v.progress.Bytes += o.Size
	v.Progress(v.progress)
	v.mu.Unlock()
	if o.status != whole {
		return nil
	}
	return v.state.add(o.record(v.report.Content))
}

// maxUnreadable is after how many unreadable objects, one after the other, it is
// the storage that cannot be used.
const maxUnreadable = 8
