package alerts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// Ages of a message to the relay's key. A message is old at its arrival if its author wrote it
// long before, as a replayed one.
const (
	maxMailAge   = 10 * time.Minute
	maxMailAhead = 2 * time.Minute
	maxMailWait  = 24 * time.Hour // from the arrival to now, after the program was off
)

const maxCommand = 2 << 10 // bytes of a message

var errMailChunk = errors.New("messages of one commit")

// readMail follows the log until ctx ends, and answers the messages to the relay's key. The
// results of a message, its answer and the position are one commit.
func (s *Service) readMail(ctx context.Context, after uint64) error {
	for {
		end := s.cfg.Log.Head()
		var c change
		last := after
		err := s.cfg.Log.Read(ctx, after, func(e mostro.Entry) error {
			if e.Seq > end {
				return errMailChunk
			}
			last = e.Seq
			if s.mine(&e) && s.hear(&c, &e) {
				return errMailChunk
			}
			return nil
		})
		switch {
		case errors.Is(err, errMailChunk):
			err = nil
		case err == nil:
			last = max(last, end) // entries that can no longer be read are skipped
		}
		if err == nil {
			err = s.passed(&c, func(h *head) { h.Mail = last }, last > after)
			after = last
		}
		if err == nil && after >= end {
			err = s.cfg.Log.Wait(ctx, after)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if s.met.broken.Load() {
				return err
			}
			s.log.Warn("messages cannot be read now", "error", err)
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
		}
	}
}

// mine reports whether an entry is a gift wrap for the relay's key that arrived when it was
// sent.
func (s *Service) mine(e *mostro.Entry) bool {
	if e.Event.Kind != mostro.KindGiftWrap || e.Source.Origin != mostro.OriginClient && e.Source.Origin != mostro.OriginLive {
		return false
	}
	for _, tag := range e.Event.Tags {
		if len(tag) >= 2 && tag[0] == "p" {
			return tag[1] == s.cfg.Keys.Pubkey()
		}
	}
	return false
}

// hear performs the command in an entry. It returns true if there is something to commit.
func (s *Service) hear(c *change, e *mostro.Entry) bool {
	result := s.obey(c, e)
	s.met.messages.WithLabelValues(result).Inc()
	return !c.empty()
}

// obey performs the command in an entry and returns the value of a label. If a message is
// refused for its age, its size or a rate, it is not answered.
func (s *Service) obey(c *change, e *mostro.Entry) string {
	now := s.cfg.Now()
	worked := envelope.Difficulty(e.Event.ID) >= s.cfg.Limits.Work
	if now.Sub(e.ReceivedAt) > maxMailWait {
		return "old"
	}
	if !worked && !s.opens.AllowN(now, 1) {
		return "limited"
	}
	d, err := envelope.OpenDirect(e.Event, s.cfg.Keys)
	if err != nil {
		return "unreadable"
	}
	written := int64(d.CreatedAt) // compared in seconds, because a Duration overflows for dates centuries away
	switch {
	case written < e.ReceivedAt.Add(-maxMailAge).Unix() || written > e.ReceivedAt.Add(maxMailAhead).Unix():
		return "old"
	case len(d.Text) > maxCommand:
		return "unreadable"
	case d.Sender == s.cfg.Keys.Pubkey() || s.refused(d.Sender):
		return "refused"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.alertsOf(d.Sender)) == 0 && !worked && !s.newKeys.AllowN(now, 1) || !s.commands.take(d.Sender, s.cfg.Limits.CommandsHour, now) {
		return "limited"
	}
	answer := s.command(c, d.Sender, d.Text)
	s.tell(c, d.Sender, answer)
	return "answered"
}

// Help is the answer to a message that is not understood.
var Help = `Write one line:
alert FILTER: a message for each new order that fits, such as
  alert fiat:VES side:sell premium:<=2
  alert fiat:USD method:"cash app" webhook:https://example.org/hook
list: your alerts
delete ID, or delete all
Keys of a filter: ` + strings.Join(orders.SavedKeys(), ", ") + `.
side is what the maker does: to buy bitcoin, look for side:sell.`

// command performs one command and returns the answer. mu is held.
func (s *Service) command(c *change, pubkey, text string) string {
	verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(strings.TrimPrefix(verb, "/")) {
	case "alert":
		r := requestOf(rest)
		a, err := s.save(c, pubkey, "", r)
		if err != nil {
			var refused *Refusal
			if errors.As(err, &refused) && refused.Param != "" {
				return "Not saved: " + refused.Param + ": " + refused.Detail
			}
			return "Not saved: " + err.Error()
		}
		answer := "Saved as " + describe(&a, s.cfg.Now())
		if a.Secret != "" {
			answer += "\nKey of the signatures: " + a.Secret
		}
		return answer
	case "list":
		mine := s.alertsOf(pubkey)
		lines := []string{fmt.Sprintf("%d alerts.", len(mine))}
		for _, a := range mine {
			lines = append(lines, describe(&a.Alert, s.cfg.Now()))
		}
		return strings.Join(lines, "\n")
	case "delete":
		if strings.EqualFold(rest, "all") {
			mine := slices.Clone(s.alertsOf(pubkey))
			for _, a := range mine {
				s.remove(c, pubkey, a.ID)
			}
			return fmt.Sprintf("%d alerts deleted.", len(mine))
		}
		if s.remove(c, pubkey, strings.ToLower(rest)) {
			return "Deleted."
		}
		return "You have no such alert. Write list to see yours."
	}
	return Help
}

// requestOf parses a filter with an optional pair webhook:URL.
func requestOf(text string) (r Request) {
	var filter []string
	for _, word := range strings.Fields(text) {
		if url, ok := strings.CutPrefix(word, "webhook:"); ok && r.Webhook == "" {
			r.Webhook = url
			continue
		}
		filter = append(filter, word)
	}
	r.Filter = strings.Join(filter, " ")
	return r
}

// describe returns an alert as one line of text.
func describe(a *Alert, now time.Time) string {
	text := a.ID + ": " + firstOf(a.Filter, "all orders")
	if a.Webhook != "" {
		text += ", webhook " + string(a.Hook) + " " + a.Webhook
	}
	return text + fmt.Sprintf(", for %d days more", (a.Expires-now.Unix()+86399)/86400)
}
