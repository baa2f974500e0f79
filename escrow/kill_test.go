//go:build unix

package escrow

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// KillPoints are the points at which a process is killed as if by a power cut. Each point is
// in a call of the node, before the call is made or after the call took effect, with no
// record written.
var KillPoints = []string{"hold invoice made", "before the settlement", "settled", "before the payout", "payout under way"}

// killNode kills its own process at one of KillPoints.
type killNode struct {
	lightning.Node
	at string
}

func (k killNode) die(at string) {
	if k.at == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (k killNode) CreateHold(ctx context.Context, in lightning.HoldRequest) (string, error) {
	bolt11, err := k.Node.CreateHold(ctx, in)
	k.die(KillPoints[0])
	return bolt11, err
}

func (k killNode) Settle(ctx context.Context, p trade.Preimage) error {
	k.die(KillPoints[1])
	err := k.Node.Settle(ctx, p)
	k.die(KillPoints[2])
	return err
}

func (k killNode) Pay(ctx context.Context, p lightning.Payment) error {
	k.die(KillPoints[3])
	err := k.Node.Pay(ctx, p)
	k.die(KillPoints[4])
	return err
}

// pipeLine is one line between a parent, which owns the log, and the child, which is the
// escrow.
type pipeLine struct {
	N        int           `json:"n,omitempty"` // number of a publication, and of its acknowledgement
	Event    *nostr.Event  `json:"event,omitempty"`
	Source   mostro.Source `json:"source"`
	Received time.Time     `json:"received"`
}

// pipeLog is the side of the child.
type pipeLog struct {
	*memLog
	mu   sync.Mutex
	out  *json.Encoder
	n    int
	acks map[int]chan struct{}
}

func (l *pipeLog) Publish(ctx context.Context, evt *nostr.Event) error {
	l.mu.Lock()
	l.n++
	ack := make(chan struct{})
	l.acks[l.n] = ack
	err := l.out.Encode(pipeLine{N: l.n, Event: evt})
	l.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-ack:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *pipeLog) follow(in io.Reader) {
	for lines := json.NewDecoder(in); ; {
		var line pipeLine
		if lines.Decode(&line) != nil {
			os.Exit(0) // because the parent is gone
		}
		if line.Event != nil {
			l.append(line.Event, line.Source, line.Received)
			continue
		}
		l.mu.Lock()
		close(l.acks[line.N])
		delete(l.acks, line.N)
		l.mu.Unlock()
	}
}

// ChildMain runs the escrow as a process of its own and never returns. service is the development
// fund at the address in the environment, if there is one.
func ChildMain(node lightning.Node, dir, secret, killAt string, service func(address string) fund.Service) {
	log := &pipeLog{memLog: newMemLog(), out: json.NewEncoder(os.Stdout), acks: make(map[int]chan struct{})}
	keys, err := envelope.ParseSecret(secret)
	if err != nil {
		panic(err)
	}
	db, err := OpenDB(dir)
	if err != nil {
		panic(err)
	}
	policy := DefaultPolicy()
	policy.Terms.Fee = 6_000_000
	sealer := KeysSealer{Keys: keys, MailDays: 30}
	transports := []envelope.Transport{envelope.TransportV2, envelope.TransportV1}
	cfg := Config{
		Policy: policy, Store: db, Log: log, Node: killNode{node, killAt}, Addresses: noAddresses{}, Publisher: log,
		Opener: KeysOpener{keys}, Sealer: sealer, Signer: sealer, Prefilter: &Prefilter{Transports: transports},
		Quote: func(string, int64) trade.Quote { return trade.Quote{} }, Events: EventBuilder{Pubkey: keys.Pubkey(), Transports: transports},
		RollbackGuard: &rollback.Guard{Path: dir + ".witness"}, Secret: trade.NodeSecretOf(keys),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Tick: 20 * time.Millisecond,
	}
	feeChild(&cfg, service, killNode{node, killAt})
	e, err := Open(cfg)
	if err != nil {
		panic(err)
	}
	go log.follow(bufio.NewReader(os.Stdin))
	panic(e.Run(context.Background()))
}

// RunKilled runs one trade for each of KillPoints. child returns the command of a child
// process for a directory, a key and a point.
func RunKilled(t *testing.T, n *FlowNet, child func(dir, secret, killAt string) *exec.Cmd) {
	keys := newKeys(t)
	secret := keys.Secret()
	dir := t.TempDir() + "/escrow"
	w := &world{
		log: newMemLog(), keys: keys, clock: &testClock{}, output: &lockedBuffer{},
		read: make(map[string]int), seen: make(map[string][]message.Message), secrets: newSecrets(),
	}
	w.secrets.addKeys("the node", keys)
	for _, point := range KillPoints {
		t.Run(point, func(t *testing.T) {
			w.tb = t
			w.clock.now = time.Now()
			f := &flow{T: t, w: w, n: n, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV1)}
			f.before = f.balances()
			p := startChild(t, w, child(dir, hexOf(secret[:]), point))
			died := make(chan struct{})
			go func() { p.wait(); close(died) }()
			reborn := make(chan *childProcess, 1)
			go func() {
				<-died
				reborn <- startChild(t, w, child(dir, hexOf(secret[:]), ""))
			}()
			f.wholeTrade()
			f.count([3]int64{2 * flowFee * 1000, -(flowSats + flowFee) * 1000, (flowSats - flowFee) * 1000})
			second := <-reborn
			if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Errorf("the child was not killed: %v", p.cmd.ProcessState)
			}
			second.end()
			db, err := OpenDB(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Check(); err != nil {
				t.Error(err)
			}
			tr, err := db.Trade(f.id)
			if err != nil || tr.Status != message.TradeSuccess {
				t.Errorf("%v, %s", err, tr.Status)
			}
			if err := w.secrets.addStore(db); err != nil {
				t.Error(err)
			}
			w.secrets.check(t, "what the killed and the reborn process logged", w.output.String())
		})
	}
}

// wholeTrade acts for both parties, which see only their messages.
func (f *flow) wholeTrade() {
	f.sell()
	f.take()
	f.addInvoice()
	for {
		p, ok := f.seller.wait(message.ActionPayInvoice).Payload.(message.PaymentRequest)
		if !ok {
			continue
		}
		if err := f.n.Pay(f.Context(), p.Invoice); err != nil {
			f.Fatal(err)
		}
		break
	}
	f.seller.wait(message.ActionBuyerTookOrder)
	f.w.clock.now = time.Now()
	f.buyer.send(message.Message{RequestID: number(4), ID: &f.id, Action: message.ActionFiatSent})
	f.seller.wait(message.ActionFiatSentOk)
	f.w.clock.now = time.Now()
	f.seller.send(message.Message{RequestID: number(5), ID: &f.id, Action: message.ActionRelease})
	f.seller.wait(message.ActionHoldInvoicePaymentSettled)
	f.buyer.wait(message.ActionPurchaseCompleted)
}

// childProcess is an escrow in a child process. The log belongs to the test.
type childProcess struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   chan struct{}
}

func startChild(t *testing.T, w *world, cmd *exec.Cmd) *childProcess {
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return nil
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return nil
	}
	cmd.Stderr = w.output
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &childProcess{cmd: cmd, cancel: cancel, done: make(chan struct{})}
	var mu sync.Mutex
	write := json.NewEncoder(in)
	go func() { // sends the log from its beginning
		for after := uint64(0); ; {
			_ = w.log.Read(ctx, after, func(e mostro.Entry) error {
				after = e.Seq
				mu.Lock()
				defer mu.Unlock()
				return write.Encode(pipeLine{Event: e.Event, Source: e.Source, Received: e.ReceivedAt})
			})
			if w.log.Wait(ctx, after) != nil {
				return
			}
		}
	}()
	go func() {
		defer close(p.done)
		for lines := json.NewDecoder(out); ; {
			var line pipeLine
			if lines.Decode(&line) != nil {
				_ = cmd.Wait() // an error is expected, because the process was killed
				return
			}
			_ = w.log.Publish(ctx, line.Event)
			mu.Lock()
			_ = write.Encode(pipeLine{N: line.N})
			mu.Unlock()
		}
	}()
	return p
}

func (p *childProcess) wait() { <-p.done; p.cancel() }

// end kills the process, as every test here does.
func (p *childProcess) end() {
	_ = p.cmd.Process.Kill()
	p.wait()
}
