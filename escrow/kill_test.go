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
var KillPoints = []string{"hold invoice made", beforeSettle, afterSettle, beforePay, afterPay}

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
	k.die(beforeSettle)
	err := k.Node.Settle(ctx, p)
	k.die(afterSettle)
	return err
}

func (k killNode) Cancel(ctx context.Context, h trade.Hash) error {
	k.die(beforeCancel)
	err := k.Node.Cancel(ctx, h)
	k.die(afterCancel)
	return err
}

func (k killNode) Pay(ctx context.Context, p lightning.Payment) error {
	k.die(beforePay)
	err := k.Node.Pay(ctx, p)
	k.die(afterPay)
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
	policy.Terms.Fee, policy.Terms.PaymentRetrySecs = 6_000_000, 5 // a node that has just started may find no route
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
	k := newKilled(t, n, child)
	for _, point := range KillPoints {
		t.Run(point, func(t *testing.T) {
			f := k.flow(t)
			p := k.start(f, point)
			reborn := k.reborn(f, p, func() {})
			f.wholeTrade()
			f.count([3]int64{2 * flowFee * 1000, -(flowSats + flowFee) * 1000, (flowSats - flowFee) * 1000})
			(<-reborn).end()
			k.judge(f, p, message.TradeSuccess)
		})
	}
}

// killed is an escrow in processes that are killed, one after the other.
type killed struct {
	w     *world
	n     *FlowNet
	dir   string
	child func(dir, secret, killAt string) *exec.Cmd
	owned int64 // balance of the node at the start
}

func newKilled(t *testing.T, n *FlowNet, child func(dir, secret, killAt string) *exec.Cmd) *killed {
	k := &killed{n: n, dir: t.TempDir() + "/escrow", child: child, owned: ownedBy(t, n)}
	k.w = &world{
		tb: t, log: newMemLog(), keys: newKeys(t), clock: &testClock{}, output: &lockedBuffer{},
		read: make(map[string]int), seen: make(map[string][]message.Message), secrets: newSecrets(),
	}
	k.w.secrets.addKeys("the node", k.w.keys)
	return k
}

// flow begins a trade.
func (k *killed) flow(t *testing.T) *flow {
	k.w.tb = t
	k.w.clock.now = time.Now()
	f := &flow{T: t, w: k.w, n: k.n, seller: k.w.user(envelope.TransportV2), buyer: k.w.user(envelope.TransportV1)}
	f.before = f.balances()
	f.open(k.dir, func(db *DB) { f.foreign = f.audit(db).Node.ForeignPayments })
	return f
}

// start starts a process that dies at a point; "": it does not die by itself.
func (k *killed) start(f *flow, point string) *childProcess {
	secret := k.w.keys.Secret()
	p := startChild(f.T, k.w, k.child(k.dir, hexOf(secret[:]), point))
	f.Cleanup(func() {
		p.end()
		if said := k.w.output.String(); f.Failed() && p.cmd.ProcessState != nil {
			f.Logf("the last lines of the processes:\n%s", said[max(0, len(said)-3000):])
		}
	})
	return p
}

// reborn starts another process after p has died. between is called before.
func (k *killed) reborn(f *flow, p *childProcess, between func()) <-chan *childProcess {
	next := make(chan *childProcess, 1)
	go func() {
		p.wait()
		between()
		next <- k.start(f, "")
	}()
	return next
}

// open opens a store that no process has open.
func (f *flow) open(dir string, fn func(*DB)) {
	f.Helper()
	db, err := OpenDB(dir)
	if err != nil {
		f.Fatal(err)
	}
	defer db.Close()
	fn(db)
}

// judge checks that p was killed, and that the store has the trade as it should be and agrees
// with the node.
func (k *killed) judge(f *flow, p *childProcess, want message.TradeStatus) (t trade.Trade) {
	f.Helper()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		f.Errorf("the child was not killed: %v", p.cmd.ProcessState)
	}
	f.open(k.dir, func(db *DB) {
		if err := db.Check(); err != nil {
			f.Error(err)
		}
		var err error
		if t, err = db.Trade(f.id); err != nil || t.Status != want {
			f.Errorf("%v, %s", err, t.Status)
		}
		f.agrees(db, k.owned)
		if err := k.w.secrets.addStore(db); err != nil {
			f.Error(err)
		}
	})
	k.w.secrets.check(f, "what the killed and the reborn process logged", k.w.output.String())
	return t
}

// wholeTrade acts for both parties, which see only their messages.
func (f *flow) wholeTrade() {
	f.toFiatSent()
	f.seller.send(message.Message{RequestID: number(5), ID: &f.id, Action: message.ActionRelease})
	f.seller.wait(message.ActionHoldInvoicePaymentSettled)
	f.buyer.wait(message.ActionPurchaseCompleted)
}

// toFiatSent is the part of wholeTrade before the release.
func (f *flow) toFiatSent() {
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
