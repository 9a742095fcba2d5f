package agent

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
)

// Status is what the agent says of itself.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Machine Machine   `json:"machine"`
	// Config is the digest of the configuration the agent runs with; Problem
	// is why it refuses everything, if it does.
	Config  string `json:"config"`
	Problem string `json:"problem,omitempty"`
	// Running is the command that is running, of this agent or an earlier one.
	Running *gate.Entry `json:"running,omitempty"`
	Audit   AuditHead   `json:"audit"`
	Set     *SetStatus  `json:"set,omitempty"`
}

// Machine is who this machine is; a request is bound to it.
type Machine struct {
	MachineID string `json:"machine_id"`
	DMIUUID   string `json:"dmi_uuid,omitempty"`
	HostKey   string `json:"host_key,omitempty"`
	BootID    string `json:"boot_id"`
	GuardKey  string `json:"guard_key"` // OpenSSH form
}

// AuditHead is the last record of the audit log.
type AuditHead struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// SetStatus is the machine's part in its set.
type SetStatus struct {
	Name      string    `json:"name"`
	Published time.Time `json:"published,omitzero"` // the last health record
	Problem   string    `json:"problem,omitempty"`  // why there is none, or the set does not answer
}
