package disputes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

const (
	// maxText is the longest message to a party, in bytes.
	maxText = 4000
	// maxLetters is the number of messages of one key in an hour.
	maxLetters = 60
	// signSkew is the largest distance between the date of a signed message and the clock. The
	// protocol allows a minute between the inner and the outer event.
	signSkew = time.Minute
)

// letters remembers the messages of the last hour, in memory.
type letters struct {
	now func() time.Time

	mu   sync.Mutex
	sent map[string][]letter // by the key of the writer; guarded by mu
}

type letter struct {
	at    time.Time
	nonce string
}

// Outcomes of letters.begin.
var (
	errTwice = errors.New("the form was sent before")
	errMany  = &problem{http.StatusTooManyRequests, "Too many messages", fmt.Sprintf("You have sent %d messages in an hour. Nothing was sent.", maxLetters)}
)

// begin counts a message before it is sent. It returns errTwice for the second message of one
// form, as a double click sends, and errMany. undo forgets the message, if it was not sent.
func (l *letters) begin(key, nonce string) (undo func(), err error) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.sent = make(map[string][]letter)
	}
	for other, list := range l.sent {
		list = slices.DeleteFunc(list, func(o letter) bool { return now.Sub(o.at).Abs() > time.Hour })
		if l.sent[other] = list; len(list) == 0 {
			delete(l.sent, other)
		}
	}
	list := l.sent[key]
	switch {
	case slices.ContainsFunc(list, func(o letter) bool { return o.nonce == nonce }):
		return nil, errTwice
	case len(list) >= maxLetters:
		return nil, errMany
	}
	l.sent[key] = append(list, letter{now, nonce})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sent[key] = slices.DeleteFunc(l.sent[key], func(o letter) bool { return o.nonce == nonce })
	}, nil
}

// writeForm is the form that writes to a party.
type writeForm struct {
	To     []string // parties; empty: the visitor cannot write
	WhyNot string
	Signs  bool // the visitor signs the message with a key that this program does not have
	Nonce  string
	Max    int
}

// writeForm returns the form for a visitor. chats are the conversations that the visitor reads.
func (x *Inbox) writeForm(t *trade.Trade, v visitor, chats []chatView) writeForm {
	f := writeForm{Nonce: random(), Max: maxText}
	switch {
	case v.role == trade.RoleNode:
		f.To = []string{"buyer", "seller"}
	case t.Dispute.Solver.Identity != v.key:
		f.WhyNot = "A solver writes to the parties of a dispute after taking it."
	default:
		f.Signs = true
		for _, c := range chats {
			if c.partner != "" {
				f.To = []string{c.partner}
			}
		}
		if len(f.To) == 0 {
			f.WhyNot = "To answer a party here, enter the shared secret of your conversation with that party. The conversation has to have a message of the party, and none of the other party."
		}
	}
	return f
}

// signData is the data of the page on which a solver signs a message.
type signData struct {
	Back, To, Text, Unsigned string
	Token, Seen, Nonce       string
}

// letter sends a message to a party. The node's key is here, so a message of the operator is
// sent at once. A message of a solver is shown to be signed first, and sent is false.
func (x *Inbox) letter(w http.ResponseWriter, r *http.Request, t *trade.Trade, v visitor, verb string) (sent bool, err error) {
	nonce := r.PostForm.Get("nonce")
	if !hex32.Valid(nonce) {
		return false, errToken
	}
	operator := v.role == trade.RoleNode
	switch {
	case operator && verb == "send":
		return false, errToken // a page for solvers
	case operator:
		return x.writeAsNode(r, t, v, nonce)
	case t.Dispute.Solver.Identity != v.key:
		return false, &problem{http.StatusForbidden, "Not your dispute", "A solver writes to the parties of a dispute after taking it. Nothing was sent."}
	}
	c, to, err := x.chat.writable(r.Context(), t, v)
	if err != nil {
		return false, err
	}
	if c == nil {
		return false, &problem{http.StatusConflict, "No conversation", "Enter the shared secret of your conversation with a party first. The conversation has to have a message of the party, and none of the other party. Nothing was sent."}
	}
	if verb == "send" {
		return x.writeAsSolver(r, v, c, nonce)
	}
	text, err := textOf(r)
	if err != nil {
		return false, err
	}
	if r.PostForm.Get("to") != to {
		return false, errChanged
	}
	unsigned, err := json.Marshal(map[string]any{"kind": nostr.KindTextNote, "created_at": x.cfg.Now().Unix(), "content": text, "tags": [][]string{}})
	if err != nil {
		return false, err
	}
	d := signData{Back: Path + "/" + t.ID.String(), To: to, Text: text, Unsigned: string(unsigned), Seen: r.PostForm.Get("seen"), Nonce: nonce}
	d.Token = v.session.token("send", t.ID.String(), d.Seen)
	f := x.frame(v, "Sign a message", d)
	f.Script = true
	w.Header().Set("Content-Security-Policy", policy+"; script-src 'self'")
	x.render(w, http.StatusOK, "sign", f)
	return false, nil
}

// textOf returns the text of a message.
func textOf(r *http.Request) (string, error) {
	text := strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n"))
	switch {
	case text == "":
		return "", &problem{http.StatusBadRequest, "No text", "The message is empty. Nothing was sent."}
	case len(text) > maxText:
		return "", &problem{http.StatusBadRequest, "The message is too long", fmt.Sprintf("It has %d bytes, the limit is %d. Nothing was sent.", len(text), maxText)}
	}
	return text, nil
}

// writeAsNode sends a message of the operator under the node's key.
func (x *Inbox) writeAsNode(r *http.Request, t *trade.Trade, v visitor, nonce string) (bool, error) {
	text, err := textOf(r)
	if err != nil {
		return false, err
	}
	party := t.Buyer.Key
	switch r.PostForm.Get("to") {
	case "buyer":
	case "seller":
		party = t.Seller.Key
	default:
		return false, errToken
	}
	c, err := envelope.NewChat(x.cfg.Keys, party)
	if err != nil {
		return false, &problem{http.StatusConflict, "No conversation", "No client can read a message to the key of this party. Nothing was sent."}
	}
	return x.post(r.Context(), v, nonce, func(now time.Time) (*nostr.Event, error) {
		return c.Seal(x.cfg.Keys, text, now, nil)
	})
}

// writeAsSolver sends a message that a solver has signed.
func (x *Inbox) writeAsSolver(r *http.Request, v visitor, c *envelope.Chat, nonce string) (bool, error) {
	no := func(text string) (bool, error) {
		return false, &problem{http.StatusBadRequest, "The message was not sent", text + " Nothing was sent."}
	}
	evt := &nostr.Event{}
	if err := json.Unmarshal([]byte(r.PostForm.Get("event")), evt); err != nil {
		return no("The signed event is not JSON.")
	}
	skew := x.cfg.Now().Unix() - int64(evt.CreatedAt)
	switch {
	case evt.PubKey != v.key:
		return no("The event was signed with another key than that of your login.")
	case evt.Kind != nostr.KindTextNote || len(evt.Tags) > 0 || strings.TrimSpace(evt.Content) == "" || len(evt.Content) > maxText:
		return no("The event is not the message of the page.")
	case skew > int64(signSkew/time.Second) || -skew > int64(signSkew/time.Second):
		return no("The event was signed more than a minute ago. Write the message again.")
	}
	return x.post(r.Context(), v, nonce, func(now time.Time) (*nostr.Event, error) {
		return c.Wrap(evt, now, nil)
	})
}

// post seals and publishes a message. The second click of a double click sends nothing, and is
// answered like the first.
func (x *Inbox) post(ctx context.Context, v visitor, nonce string, seal func(time.Time) (*nostr.Event, error)) (bool, error) {
	v.session.writing.Lock() // the second click waits for the outcome of the first
	defer v.session.writing.Unlock()
	undo, err := x.letters.begin(v.key, nonce)
	if errors.Is(err, errTwice) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	evt, err := seal(x.cfg.Now())
	if err == nil {
		err = x.cfg.Escrow.Publish(ctx, evt)
	}
	if err == nil {
		return true, nil
	}
	undo()
	var wire *message.WireError
	if errors.As(err, &wire) {
		return false, &problem{http.StatusBadRequest, "The message was not sent", "The signature is wrong, or the text cannot be encrypted. Nothing was sent."}
	}
	x.cfg.Logger.Error("a message of the dispute inbox was not published", "error", err)
	return false, &problem{http.StatusServiceUnavailable, "The message may not be sent", "The relay has not confirmed the message. Look whether the chat of the dispute has the message before you write it again. The operator finds the reason in the log of the program."}
}
