// Package record stores the results of benchmarks, one line of JSON per figure. The
// report is written from these lines. A line contains measurements and no assessment.
package record

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Result is one measurement, a line of the results file. The report applies the
// targets.
type Result struct {
	Time     time.Time          `json:"time"`
	Run      string             `json:"run"` // only results of the same run may be divided by each other
	Scenario string             `json:"scenario"`
	Figure   string             `json:"figure"`
	Subject  string             `json:"subject"` // mostrodex, stock, canned, signatures
	Clients  int                `json:"clients,omitempty"`
	Scale    float64            `json:"scale"`
	Values   map[string]float64 `json:"values"`
	Wall     float64            `json:"wall_s"`
	Noise    float64            `json:"noise_cpu_s"`
	Stolen   float64            `json:"stolen_cpu_s"`
	Note     string             `json:"note,omitempty"`
	Machine  string             `json:"machine"`
	Version  string             `json:"version"`
	Command  string             `json:"command"`
}

// Journal appends results to a file and prints them on the terminal.
type Journal struct {
	file    *os.File
	run     string
	Scale   float64 // fraction of the full size, from 0 to 1
	machine string
	version string
	command string
}

// Open opens a results file for appending. If the file does not exist, Open creates it.
// name is the name of the program, for the recorded command line.
func Open(path, name string, scale float64) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	command := name + " " + strings.Join(os.Args[1:], " ")
	if home, err := os.UserHomeDir(); err == nil {
		command = strings.ReplaceAll(command, home, "~")
	}
	return &Journal{file: f, run: time.Now().UTC().Format("20060102T150405"), Scale: scale, machine: machine(),
		version: commit(), command: command}, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// Add appends a result and the usage of its measurement. If the write fails, Add
// returns the error.
func (j *Journal) Add(r Result, u Usage) error {
	r.Time, r.Run, r.Scale, r.Machine, r.Version, r.Command = time.Now().UTC().Truncate(time.Second), j.run, j.Scale, j.machine, j.version, j.command
	r.Wall, r.Noise, r.Stolen = round(u.Wall), round(u.Noise), round(u.Stolen)
	var shown []string
	for k, v := range r.Values {
		r.Values[k] = round(v)
		shown = append(shown, fmt.Sprintf("%s=%g", k, r.Values[k]))
	}
	slices.Sort(shown)
	clients := ""
	if r.Clients > 0 {
		clients = fmt.Sprintf(" x%d", r.Clients)
	}
	fmt.Printf("%-8s %-26s %-11s%-4s %s  [%.1f s, noise %.1f CPU-s]%s\n", r.Scenario, r.Figure, r.Subject, clients, strings.Join(shown, " "), r.Wall, r.Noise, prefixed("  ", r.Note))
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(b, '\n'))
	return err
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// round keeps four significant digits. If x is 1,000 or more, round keeps all digits of
// the whole number.
func round(x float64) float64 {
	if x == 0 || math.Abs(x) >= 1000 || math.IsNaN(x) || math.IsInf(x, 0) {
		return math.Round(x)
	}
	unit := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*unit) / unit
}

// Read reads a results file. If a line is malformed, Read returns an error with its
// number.
func Read(r io.Reader) ([]Result, error) {
	var all []Result
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one Result
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, one)
	}
	return all, lines.Err()
}

// machine returns a description of the machine: cores, CPU model, memory, kernel and Go
// version.
func machine() string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	memory := ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb float64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %f kB", &kb); err == nil {
			memory = fmt.Sprintf(", %.0f GiB", kb/(1<<20))
		}
	}
	kernel := ""
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = ", Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d cores (%s)%s%s, %s", runtime.NumCPU(), model, memory, kernel, runtime.Version())
}

// commit returns the version under measurement, from git describe, or "unknown" if git
// fails.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// Percentile returns the nearest rank of a sorted sample, in milliseconds. p is from 0
// to 1. If the sample is empty, Percentile returns NaN.
func Percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := max(1, int(math.Ceil(p*float64(len(sorted)))))
	return float64(sorted[rank-1]) / float64(time.Millisecond)
}
