package record

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is the time of a phase, and the CPU time of other processes in it.
type Usage struct {
	Wall   float64 // seconds
	Noise  float64 // CPU seconds of processes that take no part
	Stolen float64 // CPU seconds that the host took away
}

// clockTick is the number of ticks per second of CPU times in /proc: USER_HZ, 100 on
// every Linux that Go supports.
const clockTick = 100

// CPU returns the CPU time of all threads of a process, in seconds. If the process has
// ended, CPU returns an error.
func CPU(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may contain any text.
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if i := strings.LastIndex(string(b), ") "); i >= 0 {
		f = strings.Fields(string(b)[i+2:])
	}
	if !ok || len(f) < 13 {
		return 0, errors.New("/proc/PID/stat has an unknown form")
	}
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / clockTick, errors.Join(err1, err2)
}

// Busy returns the CPU time used on the whole machine, and the CPU time that the host
// took away, both in seconds.
func Busy() (used, stolen float64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, errors.New("/proc/stat has an unknown form")
	}
	var n [8]float64
	for i := range n {
		if n[i], err = strconv.ParseFloat(f[i+1], 64); err != nil {
			return 0, 0, err
		}
	}
	// user nice system idle iowait irq softirq steal
	return (n[0] + n[1] + n[2] + n[5] + n[6]) / clockTick, n[7] / clockTick, nil
}

// Meter measures one phase in which some processes take part.
type Meter struct {
	began        time.Time
	used, stolen float64
	pids         []int
	cpu          []float64
}

// NewMeter begins a phase. pids are the processes that take part. The calling process
// always takes part.
func NewMeter(pids ...int) (*Meter, error) {
	m := &Meter{pids: append([]int{os.Getpid()}, pids...)}
	for _, pid := range m.pids {
		c, err := CPU(pid)
		if err != nil {
			return nil, err
		}
		m.cpu = append(m.cpu, c)
	}
	var err error
	m.used, m.stolen, err = Busy()
	m.began = time.Now()
	return m, err
}

// Read returns the usage since NewMeter, and the CPU seconds of each process of pids.
func (m *Meter) Read() (u Usage, cpu []float64, err error) {
	used, stolen, err := Busy()
	if err != nil {
		return u, nil, err
	}
	u = Usage{Wall: time.Since(m.began).Seconds(), Noise: used - m.used, Stolen: stolen - m.stolen}
	for i, pid := range m.pids {
		c, err := CPU(pid)
		if err != nil {
			return u, nil, err
		}
		u.Noise -= c - m.cpu[i]
		if i > 0 {
			cpu = append(cpu, c-m.cpu[i])
		}
	}
	u.Noise = max(0, u.Noise) // the ticks have a resolution of a hundredth of a second per process
	return u, cpu, nil
}
