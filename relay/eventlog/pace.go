package eventlog

import "time"

// warmUpIdleRatio is the idle time per unit of warm-up work.
const warmUpIdleRatio = 3

// pace lets the warm-up yield to other work. Its fields do not change.
type pace struct {
	settled <-chan struct{} // Config.Settled
	closing <-chan struct{} // closed when the store closes
}

// wait waits until the program serves. It returns false if the store closes.
func (p *pace) wait() bool {
	if p.settled == nil {
		return true
	}
	select {
	case <-p.settled:
		return true
	case <-p.closing:
		return false
	}
}

// idleAfter pauses the warm-up in proportion to the time since began, so that other
// work gets the cores. It returns false if the store closes.
func (p *pace) idleAfter(began time.Time) bool {
	if p.settled == nil {
		select {
		case <-p.closing:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(warmUpIdleRatio * time.Since(began))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.closing:
		return false
	}
}
