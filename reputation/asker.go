package reputation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// Getter fetches a URL that a stranger has named. It connects to public addresses only,
// follows no redirect and reads at most max bytes.
type Getter interface {
	Get(ctx context.Context, url string, max int64) (status int, body []byte, err error)
}

// Bounds of the questions to payment services.
const (
	maxQuestions = 10_000          // waiting questions
	maxOfNode    = 100             // waiting questions about fees of one node
	maxBody      = 4 << 10         // bytes of an answer
	askEvery     = time.Second     // shortest time between two questions
	askFirst     = 5 * time.Second // time from the fee event to its first question
	forgetAfter  = 24 * time.Hour  // a fee that was received longer ago is not asked about
)

// askAgain are the waiting times between the questions about one fee. After the last answer
// the question is given up.
var askAgain = []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 12 * time.Hour}

// question is a fee that a payment service is asked about.
type question struct {
	node, hash, url string
	tries           int
	next            time.Time
}

// asker asks the payment services of the fee addresses whether invoices are paid (LUD-21).
// A node names the URL, so the URL must be on the host of a configured address. The answers
// are published as events, so that the log holds what was asked and answered.
//
// Questions are not stored. A fee whose question waits when the program stops is not asked
// about again.
type asker struct {
	params score.Params
	own    string // key that signs the records
	get    Getter
	now    func() time.Time

	mu      sync.Mutex // guards the fields below
	waiting map[string]*question
	ofNode  map[string]int
	answers []recordedAnswer
	dropped int64 // questions above the bounds
}

type recordedAnswer struct {
	hash   string
	answer score.FeeAnswer
}

func newAsker(params score.Params, own string, get Getter, now func() time.Time) *asker {
	return &asker{params: params, own: own, get: get, now: now, waiting: map[string]*question{}, ofNode: map[string]int{}}
}

// read notes the fees of a batch that were received live.
func (a *asker) read(batch []mostro.Entry) {
	if a == nil {
		return
	}
	for i := range batch {
		e := &batch[i]
		if e.Event.PubKey == a.own && e.Event.Kind == mostro.KindAppData {
			if hash, ok := strings.CutPrefix(e.Event.Tags.GetD(), score.FeeAnswerD); ok {
				a.mu.Lock()
				a.drop(a.waiting[hash]) // recorded before, as after a rebuild from the log
				a.mu.Unlock()
			}
			continue
		}
		if a.now().Sub(e.ReceivedAt) > forgetAfter {
			continue
		}
		if e.Event.Kind != mostro.KindDevFee || !e.Source.Origin.Witnessed() || e.Archived || e.Erased {
			continue
		}
		late := e.ReceivedAt.Unix() - int64(e.Event.CreatedAt)
		fee, err := mostro.ParseDevFee(e.Event)
		if err != nil || late > a.params.LateSeconds || -late > a.params.AheadSeconds || !score.FeeURL(&a.params, fee.Verify) || !slices.Contains(a.params.FeeAddresses, fee.Destination) {
			continue
		}
		a.mu.Lock()
		switch {
		case a.waiting[fee.Hash] != nil: // another node names the hash too: the first one is asked about
		case len(a.waiting) >= maxQuestions || a.ofNode[fee.Pubkey] >= maxOfNode:
			a.dropped++
		default:
			a.waiting[fee.Hash] = &question{node: fee.Pubkey, hash: fee.Hash, url: fee.Verify, next: a.now().Add(askFirst)}
			a.ofNode[fee.Pubkey]++
		}
		a.mu.Unlock()
	}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			a.ask(ctx)
		}
	}
}

// ask asks the question that is due the longest, if there is one.
func (a *asker) ask(ctx context.Context) {
	a.mu.Lock()
	var due *question
	for _, q := range a.waiting {
		if !q.next.After(a.now()) && (due == nil || q.next.Before(due.next) || q.next.Equal(due.next) && q.hash < due.hash) {
			due = q
		}
	}
	a.mu.Unlock()
	if due == nil {
		return
	}
	status, body, err := a.get.Get(ctx, due.url, maxBody)
	if ctx.Err() != nil {
		return
	}
	answer := score.FeeAnswer{URL: due.url, At: a.now().Unix(), Status: status, Body: string(body)}
	var said struct {
		Settled bool `json:"settled"`
	}
	settled := err == nil && status == 200 && json.Unmarshal(body, &said) == nil && said.Settled
	a.mu.Lock()
	defer a.mu.Unlock()
	if !settled && due.tries < len(askAgain) {
		due.next = a.now().Add(askAgain[due.tries])
		due.tries++
		return
	}
	a.drop(due)
	if err == nil && utf8.Valid(body) {
		a.answers = append(a.answers, recordedAnswer{due.hash, answer})
	}
}

// drop removes a question, if it is not nil. The caller holds mu.
func (a *asker) drop(q *question) {
	if q == nil || a.waiting[q.hash] != q {
		return
	}
	delete(a.waiting, q.hash)
	if a.ofNode[q.node]--; a.ofNode[q.node] == 0 {
		delete(a.ofNode, q.node)
	}
}

// take returns the answers that wait for their publication.
func (a *asker) take() []recordedAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.answers
	a.answers = nil
	return list
}

// record publishes the answers of payment services.
func record(ctx context.Context, p *assertions, list []recordedAnswer) error {
	for _, r := range list {
		content, err := json.Marshal(r.answer)
		if err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
		evt := nostr.Event{PubKey: p.signer.Pubkey(), Kind: mostro.KindAppData, Content: string(content), Tags: nostr.Tags{
			{"d", score.FeeAnswerD + r.hash}, {"alt", "Answer of a payment service about a development fee (LUD-21)"}}}
		if err := p.send(ctx, "answer", &evt); err != nil {
			return err
		}
	}
	return nil
}
