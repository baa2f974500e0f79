// Package demowallet serves the wallet of a demo: pages on the private listener where a visitor
// plays both sides of a trade with the demo's Mostro from a browser. Two people are invented, each
// with the keys of a client. The package is a client like any other: it publishes messages on the
// relay, and knows of a trade what the Mostro has written to its keys.
//
// The sats are simulated. The keys of both people are in a file beside the demo's data; a wallet
// with real sats must not be built from this package.
package demowallet

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Relay is the relay of the Mostro.
type Relay interface {
	// Publish publishes an event as any client does.
	Publish(ctx context.Context, evt *nostr.Event) error
	// Stored returns the events of a filter that the relay holds.
	Stored(ctx context.Context, f nostr.Filter) ([]*nostr.Event, error)
}

// Purse is a node of the simulated Lightning network.
type Purse interface {
	Invoice(ctx context.Context, sats int64, memo string) (bolt11 string, err error)
	// Pay pays an invoice. It returns when the payment is held or has ended.
	Pay(ctx context.Context, bolt11 string) error
	Sats() int64
}

// Config is the configuration of a Wallet. All fields but the last three are required.
type Config struct {
	Relay  Relay
	Purse  Purse
	Node   string // public key of the Mostro, hex
	File   string // keys and trades of both people; created if it does not exist
	Notice string // shown at the top of every page; "": none

	Logger *slog.Logger     // nil: log lines are discarded
	Now    func() time.Time // nil: time.Now
}

const (
	// maxTrades is the number of trades of one person that the file keeps, the newest ones.
	maxTrades = 200
	// shownTrades is the number of trades on a page.
	shownTrades = 20
	// maxMail is the number of messages that are read for a page, the newest ones. A trade has a
	// dozen.
	maxMail = 500
	// maxBook is the number of orders that a page lists.
	maxBook = 50
	// answerWithin is the time that a form waits for the Mostro's answer.
	answerWithin = 4 * time.Second
	answerPoll   = 50 * time.Millisecond
)

// people are the invented people, in the order of their tabs.
var people = []struct{ id, name string }{{"ana", "Ana"}, {"beto", "Beto"}}

// account is what the file holds of one person.
type account struct {
	Words  string       `json:"words"` // seed phrase of a client (BIP-39)
	Next   uint32       `json:"next"`  // index of the next trade key; the Mostro wants rising ones
	Trades []dealInFile `json:"trades"`
}

// dealInFile is a trade of a person.
type dealInFile struct {
	Index uint32      `json:"index"` // of the trade key
	Side  mostro.Side `json:"side"`  // what the person does: sell or buy
	Maker bool        `json:"maker,omitzero"`
	Order string      `json:"order,omitzero"` // id; "" until the Mostro has answered the maker
	Paid  bool        `json:"paid,omitzero"`  // the hold invoice was paid
	Rated bool        `json:"rated,omitzero"`
	// Invoices is the number of invoices that were sent. The Mostro asks for one before or after
	// the seller pays, and again if a payout fails.
	Invoices int `json:"invoices,omitzero"`
}

// Wallet serves the pages.
type Wallet struct {
	cfg    Config
	pages  pages
	secret [32]byte // of the tokens of forms

	mu       sync.Mutex // held while a form acts: one at a time, so that a double click acts once
	accounts map[string]*account
	words    map[string]*envelope.Words
}

// New opens a wallet, and makes the keys of both people at the first start.
func New(cfg Config) (*Wallet, error) {
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	w := &Wallet{cfg: cfg, accounts: make(map[string]*account), words: make(map[string]*envelope.Words)}
	rand.Read(w.secret[:]) // never returns an error
	text, err := os.ReadFile(cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the demo's wallet: %w", err)
	default:
		if err := json.Unmarshal(text, &w.accounts); err != nil {
			return nil, fmt.Errorf("the demo's wallet %s is damaged: delete the file to begin with new keys: %w", cfg.File, err)
		}
	}
	for _, p := range people {
		a := w.accounts[p.id]
		if a == nil {
			words, err := envelope.NewWords()
			if err != nil {
				return nil, err
			}
			a = &account{Words: words, Next: 1}
			w.accounts[p.id] = a
		}
		if w.words[p.id], err = envelope.ParseWords(a.Words); err != nil {
			return nil, fmt.Errorf("the demo's wallet %s: %w", cfg.File, err)
		}
	}
	w.pages = newPages()
	return w, w.save()
}

// save writes the file as a whole. The caller holds mu, or is New.
func (w *Wallet) save() error {
	text, err := json.MarshalIndent(w.accounts, "", " ")
	if err != nil {
		return err
	}
	next := w.cfg.File + ".new"
	if err := os.MkdirAll(filepath.Dir(next), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write the demo's wallet: %w", err)
	}
	if err := os.Rename(next, w.cfg.File); err != nil {
		return fmt.Errorf("write the demo's wallet: %w", err)
	}
	return nil
}

// token returns the token of a form, which no page of another origin can read.
func (w *Wallet) token(parts ...string) string {
	mac := hmac.New(sha256.New, w.secret[:])
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(mac.Sum(nil))
}

// refusal is an error that the person at the page is told.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

func refused(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// begin sends the first message of a trade under a new trade key. The trade is in the file before
// the message is sent, so no key is used twice, also if the program is killed in between.
func (w *Wallet) begin(ctx context.Context, who string, d dealInFile, m message.Message) error {
	a := w.accounts[who]
	d.Index = a.Next
	a.Next++
	a.Trades = append(a.Trades, d)
	if over := len(a.Trades) - maxTrades; over > 0 {
		a.Trades = slices.Delete(a.Trades, 0, over)
	}
	if err := w.save(); err != nil {
		return err
	}
	index := int64(d.Index)
	m.TradeIndex = &index
	return w.send(ctx, who, &a.Trades[len(a.Trades)-1], m)
}

// send sends a message of a trade and waits for the Mostro's answer for a moment.
func (w *Wallet) send(ctx context.Context, who string, d *dealInFile, m message.Message) error {
	keys, err := w.words[who].Trade(d.Index)
	if err != nil {
		return err
	}
	identity, err := w.words[who].Identity()
	if err != nil {
		return err
	}
	request := uint64(time.Now().UnixNano())
	m.Wrapper, m.RequestID = message.WrapperOrder, &request
	evt, err := envelope.Seal(ctx, m, envelope.SealOptions{Transport: envelope.TransportV2, To: w.cfg.Node, Trade: keys, Identity: identity, Now: w.cfg.Now()})
	if err != nil {
		return err
	}
	if err := w.cfg.Relay.Publish(ctx, evt); err != nil {
		return refused("The relay does not take the message: %v", err)
	}
	// The answer is shown by the next page as well. To wait here only saves a reload.
	until, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		mail, err := w.mail(until, keys)
		if err != nil {
			return nil
		}
		for _, one := range mail[keys.Pubkey()] {
			if one.RequestID == nil || *one.RequestID != request {
				continue
			}
			if no, ok := one.Payload.(message.CantDo); ok {
				return refused("The Mostro refuses: %s", strings.ReplaceAll(string(no.Reason), "_", " "))
			}
			if d.Order == "" && one.ID != nil {
				d.Order = one.ID.String()
				return w.save()
			}
			return nil
		}
		select {
		case <-time.After(answerPoll):
		case <-until.Done():
			return nil
		}
	}
}

// mail returns what the Mostro has written to some keys, the oldest first, by public key.
func (w *Wallet) mail(ctx context.Context, keys ...*envelope.Keys) (map[string][]message.Message, error) {
	of := make(map[string]*envelope.Keys, len(keys))
	f := nostr.Filter{Kinds: []int{mostro.KindMessage}, Authors: []string{w.cfg.Node}, Tags: nostr.TagMap{}, Limit: maxMail}
	for _, k := range keys {
		of[k.Pubkey()] = k
		f.Tags["p"] = append(f.Tags["p"], k.Pubkey())
	}
	found, err := w.cfg.Relay.Stored(ctx, f)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b *nostr.Event) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	mail := make(map[string][]message.Message, len(keys))
	for _, evt := range found {
		to := evt.Tags.Find("p")
		if to == nil || of[to[1]] == nil {
			continue
		}
		env, err := envelope.Open(evt, of[to[1]])
		if err != nil || env.Identity != w.cfg.Node {
			continue // anyone can write to a key
		}
		mail[to[1]] = append(mail[to[1]], env.Message)
	}
	return mail, nil
}

// book returns the orders of the Mostro that can be taken.
func (w *Wallet) book(ctx context.Context) (list []mostro.Order, err error) {
	found, err := w.cfg.Relay.Stored(ctx, nostr.Filter{Kinds: []int{mostro.KindOrder}, Authors: []string{w.cfg.Node}, Tags: nostr.TagMap{"s": {"pending"}}, Limit: maxBook})
	if err != nil {
		return nil, err
	}
	now := nostr.Timestamp(w.cfg.Now().Unix())
	for _, evt := range found {
		o, err := mostro.ParseOrder(evt)
		if err == nil && (o.ExpiresAt == 0 || o.ExpiresAt > now) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b mostro.Order) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return list, nil
}
