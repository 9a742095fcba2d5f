package restore

import "github.com/lifeboat-db/lifeboat/internal/report"

// Page is the report as internal/report draws it. What only the caller knows is
// left for the caller: Error, which Run returns beside the report, Host,
// ServerVersion and Drill.
func (r *Report) Page() report.Input {
	in := report.Input{
		Set: r.Set, Dir: r.Dir, Begun: r.Begun, Seconds: r.Seconds, Finished: r.Finished, Resumed: r.Resumed, Forward: r.Forward,
		Replay: r.Replay, Reached: r.Reached.page(),
	}
	for _, s := range r.Steps {
		in.Steps = append(in.Steps, report.Step(s))
	}
	if r.Plan != nil {
		r.Plan.page(&in)
	}
	return in
}

func (p *Plan) page(in *report.Input) {
	in.Repository, in.Until, in.PredictedSeconds, in.Warnings = p.Repository, p.Until, p.Seconds, p.Warnings
	in.Base = p.Base.page()
	for _, b := range p.Backups {
		in.Backups = append(in.Backups, report.Backup{
			ID: b.ID, Kind: b.Kind, Driver: b.Driver, ServerVersion: b.ServerVersion, Finished: b.Finished, StoredBytes: b.StoredBytes, DataBytes: b.DataBytes,
		})
	}
	if l := p.Leg; l != nil {
		in.Log = &report.Log{Server: l.Server, Files: l.Names, Bytes: l.Bytes, StoredBytes: l.Stored}
	}
}

func (b *Base) page() *report.State {
	if b == nil {
		return nil
	}
	return &report.State{Server: b.Server, File: b.File, Offset: b.Offset, GTIDs: b.GTIDs, At: b.At}
}
