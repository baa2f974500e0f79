package disputes

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// maxMessages is the number of messages of a chat that a page reads.
const maxMessages = 200

// chatLine is one message.
type chatLine struct {
	From string // "buyer", "seller", "solver", "this Mostro"
	At   webpage.Moment
	Text string
}

// chatView is one conversation.
type chatView struct {
	Title, Empty string
	Lines        []chatLine
	partner      string // "buyer" or "seller", if the visitor can write to that party here
}

// conversation is a chat that the inbox can read.
type conversation interface {
	Filters() []nostr.Filter
	Open(evt *nostr.Event, now time.Time) (envelope.ChatMessage, error)
}

// chatRoom reads the conversations about trades.
type chatRoom struct {
	escrow Escrow
	keys   *envelope.Keys // the node's keys
	now    func() time.Time
}

// chats returns the conversations about a trade that the visitor may read: for the operator
// those of each party with this Mostro, and for all the one whose shared key the visitor has
// given.
func (x chatRoom) chats(ctx context.Context, t *trade.Trade, v visitor) ([]chatView, error) {
	var list []chatView
	add := func(title, empty string, c conversation) error {
		lines, err := x.read(ctx, t, c)
		list = append(list, chatView{Title: title, Empty: empty, Lines: lines})
		return err
	}
	if v.role == trade.RoleNode {
		for _, p := range []struct{ name, key string }{{"buyer", t.Buyer.Key}, {"seller", t.Seller.Key}} {
			c, err := envelope.NewChat(x.keys, p.key)
			if err != nil {
				continue // the key of a party is not a point of the curve: no client can write under it
			}
			if err := add("The "+p.name+" and this Mostro", "The "+p.name+" has written nothing to the key of this Mostro.", c); err != nil {
				return nil, err
			}
		}
	}
	if r := v.session.reader(t.ID); r != nil {
		if err := add("The chat of the shared key", "The relay of this Mostro has no message of this key by a party of the trade. Messages are kept for 30 days.", r); err != nil {
			return nil, err
		}
		_, partner, err := x.writable(ctx, t, v)
		if err != nil {
			return nil, err
		}
		list[len(list)-1].partner = partner
	}
	return list, nil
}

// writable returns the conversation of a solver with a party, whose shared secret the solver has
// given, and the party, or nil. The key proves nothing about its two sides, so the messages do:
// each is of that party or of the solver, and one of the party is there. In a conversation of
// others no app would show the solver's messages.
func (x chatRoom) writable(ctx context.Context, t *trade.Trade, v visitor) (c *envelope.Chat, partner string, err error) {
	r := v.session.reader(t.ID)
	if r == nil {
		return nil, "", nil
	}
	events, err := x.escrow.Chat(ctx, r.Filters(), maxMessages)
	if err != nil {
		return nil, "", err
	}
	now := x.now()
	for _, evt := range events {
		msg, err := r.Open(evt, now)
		if err != nil {
			continue
		}
		side := ""
		switch msg.Sender {
		case v.key:
			continue
		case t.Buyer.Key:
			side = "buyer"
		case t.Seller.Key:
			side = "seller"
		}
		if side == "" || partner != "" && partner != side {
			return nil, "", nil
		}
		partner = side
		if found := r.Chat(evt, now); found != nil {
			c = found
		}
	}
	if c == nil {
		return nil, "", nil
	}
	return c, partner, nil
}

// read returns the messages of a conversation, oldest first.
func (x chatRoom) read(ctx context.Context, t *trade.Trade, c conversation) ([]chatLine, error) {
	events, err := x.escrow.Chat(ctx, c.Filters(), maxMessages)
	if err != nil {
		return nil, err
	}
	now := x.now()
	var found []envelope.ChatMessage
	seen := make(map[string]bool)
	for _, evt := range events {
		msg, err := c.Open(evt, now)
		if err != nil || seen[msg.InnerID] {
			continue // written by a stranger, or wrapped twice
		}
		seen[msg.InnerID] = true
		found = append(found, msg)
	}
	slices.SortFunc(found, func(a, b envelope.ChatMessage) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(a.InnerID, b.InnerID))
	})
	found = found[max(0, len(found)-maxMessages):]
	lines := make([]chatLine, 0, len(found))
	for _, msg := range found {
		from := "solver"
		switch msg.Sender {
		case t.Buyer.Key:
			from = "buyer"
		case t.Seller.Key:
			from = "seller"
		case x.keys.Pubkey():
			from = "this Mostro"
		}
		lines = append(lines, chatLine{from, webpage.MomentAt(msg.CreatedAt.Time(), now), msg.Text})
	}
	return lines, nil
}

// keep keeps the shared key of a chat for the session. The key is never shown again.
func (x chatRoom) keep(t *trade.Trade, v visitor, text string) error {
	secret, err := parseSecret(strings.TrimSpace(text))
	if err != nil {
		return &problem{http.StatusBadRequest, "Not a shared key", "A shared key has 64 hex digits, or begins with nsec1. The party finds it in the chat of its app."}
	}
	parties := []string{t.Buyer.Key, t.Seller.Key, x.keys.Pubkey(), v.key}
	if key := t.Dispute.Solver.Identity; key != "" {
		parties = append(parties, key)
	}
	r, err := envelope.NewChatReader(secret, parties...)
	if err != nil {
		return &problem{http.StatusBadRequest, "Not a shared key", "These 64 digits are no key."}
	}
	v.session.keep(t.ID, r)
	return nil
}

func parseSecret(text string) (secret [32]byte, err error) {
	if strings.HasPrefix(text, "nsec1") {
		prefix, value, err := nip19.Decode(text)
		digits, ok := value.(string)
		if err != nil || prefix != "nsec" || !ok {
			return secret, errors.New("not an nsec")
		}
		text = digits
	}
	if text = strings.ToLower(text); !hex32.Valid(text) {
		return secret, errors.New("not 64 hex digits")
	}
	_, err = hex.Decode(secret[:], []byte(text))
	return secret, err
}
