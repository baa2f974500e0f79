package lndtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ProcessorTime returns the processor time that the nodes and their chain have used so far,
// or an error on a system without /proc.
func (n *Network) ProcessorTime() (total time.Duration, err error) {
	for _, p := range []*process{n.Mostro.process, n.Seller.process, n.Buyer.process, n.chain.process} {
		used, err := p.processorTime()
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// tick is the unit of the times in /proc on every Linux that Go supports.
const tick = 10 * time.Millisecond

func (p *process) processorTime() (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0, fmt.Errorf("%s does not run", p.path)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may contain blanks. utime and stime are the 12th and 13th
	// fields behind the name.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is malformed", p.cmd.Process.Pid)
	}
	var total time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * tick
	}
	return total, nil
}
