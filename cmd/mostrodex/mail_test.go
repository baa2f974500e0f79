package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestTradeByVerbs trades with the verbs alone, as the README shows, over each transport.
func TestTradeByVerbs(t *testing.T) {
	m, stop := runDemo(t, t.TempDir(), nil)
	defer stop()
	node, wallet, url := m.escrow.engine.Events.Pubkey, "http://"+m.PrivateAddr()+"/lnsim/", "http://"+m.Addr()
	for _, transport := range []string{"v2", "v1", "legacy"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			seller, buyer := filepath.Join(dir, "seller.key"), filepath.Join(dir, "buyer.key")
			for _, key := range []string{seller, buyer} {
				mustProgram(t, "", "keys", "new", "--key", key)
			}
			send := func(key string, args ...string) string {
				t.Helper()
				return mustProgram(t, "", append([]string{"send", "--to", node, "--key", key, "--url", url, "--transport", transport}, args...)...)
			}
			// inbox waits for a message, because the Mostro may write later than send has ended.
			inbox := func(key, action string) (line string) {
				t.Helper()
				eventually(t, action, func() bool {
					out, _, _ := runProgram(t, "", "inbox", "--key", key, "--from", node, "--url", url)
					for l := range strings.Lines(out) {
						if strings.Contains(l, "  "+action+" ") {
							line = l
						}
					}
					return line != ""
				})
				return line
			}
			out := send(seller, "new-order", "--sell", "--fiat", "VES", "--amount", "100", "--sats", "10000", "--method", "Pago Móvil")
			id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindString(out)
			if id == "" || !strings.Contains(out, "new-order") {
				t.Fatalf("new-order answers %s", out)
			}
			var invoice struct{ Bolt11 string }
			postJSON(t, wallet+"invoice", map[string]any{"amount_sats": demoTradeSats - demoFeeSats, "memo": "payout"}, &invoice)
			send(buyer, "take-sell", id, "--invoice", invoice.Bolt11)
			var hold string
			eventually(t, "the hold invoice", func() bool {
				hold = regexp.MustCompile(`lnbcrt[0-9a-z]+`).FindString(inbox(seller, "pay-invoice"))
				return hold != ""
			})
			var paid struct{ State string }
			postJSON(t, wallet+"pay", map[string]any{"bolt11": hold}, &paid)
			inbox(buyer, "hold-invoice-payment-accepted")
			send(buyer, "fiat-sent", id)
			inbox(seller, "fiat-sent-ok")
			send(seller, "release", id)
			inbox(buyer, "purchase-completed")

			// A refusal is an error. A message that the Mostro has no answer to is said to be sent.
			_, errs, code := runProgram(t, "", "send", "cancel", id, "--to", node, "--key", seller, "--url", url, "--transport", transport)
			if code != exitError || !strings.Contains(errs, "refuses") {
				t.Errorf("a cancel after the end: %d %s", code, errs)
			}
			_, errs, code = runProgram(t, "", "send", "release", id, "--to", strings.Repeat("ab", 32), "--key", seller, "--url", url, "--wait", "50ms", "--transport", transport)
			if code != exitError || !strings.Contains(errs, "has not answered") {
				t.Errorf("a message to nobody: %d %s", code, errs)
			}
		})
	}
	for _, args := range [][]string{{"send"}, {"send", "no-such-action", "--to", node, "--key", "x"}, {"send", "release", "x", "--to", node, "--key", "x"}, {"inbox", "--key", "x", "more"}} {
		if _, errs, code := runProgram(t, "", args...); code != exitUsage {
			t.Errorf("%v ends with %d: %s", args, code, errs)
		}
	}
}

// TestInboxIsInert prints what a stranger wrote: characters that control a terminal do not pass, and
// --from hides the stranger.
func TestInboxIsInert(t *testing.T) {
	m, stop := runDemo(t, t.TempDir(), nil)
	defer stop()
	key := filepath.Join(t.TempDir(), "key")
	mustProgram(t, "", "keys", "new", "--key", key)
	keys, err := loadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	evil := "pay lnbc1 now \x1b[2J\u009b31m\u202e\u200b\u2028end"
	msg := message.Message{Wrapper: message.WrapperDM, Action: message.ActionSendDM, Payload: message.TextMessage(evil)}
	evt, err := envelope.Seal(context.Background(), msg, envelope.SealOptions{Transport: envelope.TransportV2, To: keys.Pubkey(), Trade: stranger, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := dialNostr(t, context.Background(), m).Publish(context.Background(), *evt); err != nil {
		t.Fatal(err)
	}
	url := "http://" + m.Addr()
	out := mustProgram(t, "", "inbox", "--key", key, "--url", url)
	if !strings.Contains(out, "pay lnbc1 now") || strings.Count(out, "\n") != 1 || strings.ContainsAny(out, "\x1b\u009b\u202e\u200b\u2028") {
		t.Errorf("the inbox prints %q", out)
	}
	if !strings.Contains(out, stranger.Pubkey()[:8]) {
		t.Errorf("the sender is missing in %q", out)
	}
	if out, _, code := runProgram(t, "", "inbox", "--key", key, "--url", url, "--from", fmt.Sprint(m.escrow.engine.Events.Pubkey)); code != exitError || out != "" {
		t.Errorf("another sender: %d %q", code, out)
	}
}
