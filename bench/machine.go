package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine is where a run took place: as much as decides how fast it is, and
// nothing that names the machine.
type Machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memory_bytes"`
	System    string `json:"system"`
	Kernel    string `json:"kernel"`
}

func thisMachine() Machine {
	return Machine{
		Processor: field("/proc/cpuinfo", "model name"),
		Cores:     runtime.NumCPU(),
		Memory:    kibibytes(field("/proc/meminfo", "MemTotal")),
		System:    runtime.GOOS + "/" + runtime.GOARCH,
		Kernel:    firstLine("/proc/sys/kernel/osrelease"),
	}
}

func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %.0f GB of memory, %s %s", m.Cores, m.Processor, float64(m.Memory)/1e9, m.System, m.Kernel)
}

// field reads the first "name: value" of a file. What cannot be read is
// "unknown": a report without it is still a report.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// loadAverage is that of the last one, five and fifteen minutes.
func loadAverage() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// firstProcessor is the number of the first one that we may run on.
func firstProcessor() string {
	allowed := field("/proc/self/status", "Cpus_allowed_list")
	end := strings.IndexFunc(allowed, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return allowed
	}
	return allowed[:end]
}
