//go:build unix

package escrow

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// FeeKillPoints are the points of the payment of a development fee at which a process is killed.
// Each is before or after a call whose result is not recorded yet.
var FeeKillPoints = []string{"fund asked", "before the payout", "payout under way", "outcome known", "before the event", "event published"}

// killFund kills its own process after the fund has answered.
type killFund struct {
	fund.Service
	killNode
}

func (k killFund) FundInvoice(ctx context.Context, address string, sats int64, comment string) (fund.Invoice, error) {
	in, err := k.Service.FundInvoice(ctx, address, sats, comment)
	k.die(FeeKillPoints[0])
	return in, err
}

func (k killNode) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	state, err := k.Node.TrackPayment(ctx, h)
	if state.Status == trade.PaymentSucceeded {
		k.die(FeeKillPoints[3])
	}
	return state, err
}

// killPublisher kills its own process before or after the event about a fee is published.
type killPublisher struct {
	Publisher
	killNode
}

func (k killPublisher) Publish(ctx context.Context, evt *nostr.Event) error {
	if evt.Kind != mostro.KindDevFee {
		return k.Publisher.Publish(ctx, evt)
	}
	k.die(FeeKillPoints[4])
	err := k.Publisher.Publish(ctx, evt)
	k.die(FeeKillPoints[5])
	return err
}

// feeChild connects a child process to the fund that its environment names. The clock of the
// process is ahead, so that a fee need not be waited for.
func feeChild(cfg *Config, service func(address string) fund.Service, node killNode) {
	address := os.Getenv("MOSTRODEX_FUND")
	if address == "" {
		return
	}
	ahead, err := strconv.Atoi(os.Getenv("MOSTRODEX_AHEAD"))
	if err != nil {
		panic(err)
	}
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead) * time.Second) }
	cfg.Fund = fund.Fund{Address: address, Network: string(lightning.Regtest), Service: killFund{service(address), node}, Node: "npub1test"}
	cfg.Publisher = killPublisher{cfg.Publisher, node}
}

// RunFeeKilled pays the development fee of one trade for each of FeeKillPoints. child returns
// the command of a child process for a directory, a key, a point, and the seconds by which its
// clock is ahead. The fund is the seller's wallet. asked returns the number of invoices that
// the fund was asked for.
func RunFeeKilled(t *testing.T, n *FlowNet, asked func() int, child func(dir, secret, killAt string, ahead int) *exec.Cmd) {
	const devFee = 90 // 0.30 of 2 * 150 sats
	for _, point := range FeeKillPoints {
		t.Run(point, func(t *testing.T) {
			keys := newKeys(t)
			secret := keys.Secret()
			dir := t.TempDir() + "/escrow"
			w := &world{
				tb: t, log: newMemLog(), keys: keys, clock: &testClock{now: time.Now()}, output: &lockedBuffer{},
				read: make(map[string]int), seen: make(map[string][]message.Message), secrets: newSecrets(),
			}
			f := &flow{T: t, w: w, n: n, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV2)}
			f.before = f.balances()
			f.open(dir, func(db *DB) { f.foreign = f.audit(db).Node.ForeignPayments })
			before := asked()
			p := startChild(t, w, child(dir, hexOf(secret[:]), "", 0))
			f.wholeTrade()
			p.end()
			if asked() != before {
				t.Error("the fund was asked before the payout could begin")
			}
			killed := startChild(t, w, child(dir, hexOf(secret[:]), point, 70))
			killed.wait()
			if status, ok := killed.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v", killed.cmd.ProcessState)
			}
			// The next processes see the fee as due. The second of these has nothing to pay.
			events := func() map[string]bool {
				found := make(map[string]bool)
				_ = w.log.Read(t.Context(), 0, func(e mostro.Entry) error {
					if e.Event.Kind == mostro.KindDevFee {
						found[e.Event.ID] = true
					}
					return nil
				})
				return found
			}
			reborn := startChild(t, w, child(dir, hexOf(secret[:]), "", 80))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for len(events()) == 0 {
				if err := w.log.Wait(ctx, w.log.Head()); err != nil {
					t.Fatalf("no event about the fee: %v\n%s", err, w.output.String())
				}
			}
			f.count([3]int64{(2*flowFee - devFee) * 1000, (devFee - flowSats - flowFee) * 1000, (flowSats - flowFee) * 1000})
			reborn.end()
			last := startChild(t, w, child(dir, hexOf(secret[:]), "", 7300))
			head := w.log.Head()
			for { // the description is published after the fees of the first tick
				done := false
				_ = w.log.Read(t.Context(), head, func(e mostro.Entry) error { done = done || e.Event.Kind == mostro.KindInfo; return nil })
				if done {
					break
				}
				if err := w.log.Wait(ctx, w.log.Head()); err != nil {
					t.Fatalf("the last process does not start: %v\n%s", err, w.output.String())
				}
			}
			last.end()
			f.count([3]int64{(2*flowFee - devFee) * 1000, (devFee - flowSats - flowFee) * 1000, (flowSats - flowFee) * 1000})
			if most := before + 2; asked() > most || point != FeeKillPoints[0] && asked() != before+1 {
				t.Errorf("the fund was asked %d times", asked()-before)
			}
			if n := len(events()); n != 1 {
				t.Errorf("%d events about the fee", n)
			}
			f.judgeFee(dir, devFee)
		})
	}
}

// judgeFee compares the ledger with the lists of the node.
func (f *flow) judgeFee(dir string, devFee int64) {
	f.Helper()
	f.open(dir, func(db *DB) {
		if err := db.Check(); err != nil {
			f.Error(err)
		}
		f.agrees(db, f.before[0])
		report := f.audit(db)
		if b := report.Balances; b[ledger.DevWallet] != devFee*1000 || b[ledger.DevFund] != 0 {
			f.Errorf("the ledger has %v", b)
		}
		if report.Node.Payments != 2 {
			f.Errorf("%d payments are compared, want the payout and the fee", report.Node.Payments)
		}
	})
}
