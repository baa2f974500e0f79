package trade_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

func TestPreimagePrintsNowhere(t *testing.T) {
	p := trade.Preimage{0xde, 0xad, 0xbe, 0xef, 31: 0x42}
	holder := struct {
		P trade.Preimage
		Q *trade.Preimage
	}{p, &p}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{p, &p, holder, []trade.Preimage{p}, map[string]trade.Preimage{"k": p}} {
			text := strings.ToLower(fmt.Sprintf(format, value))
			for _, leak := range []string{"deadbeef", "222 173 190 239", "0xde"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s of %T prints %s", format, value, text)
				}
			}
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "p", p)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "p", p, "holder", holder)
	if strings.Contains(out.String(), "dead") {
		t.Errorf("slog prints %s", out.String())
	}
	// The encoding of the store keeps the preimage.
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back trade.Preimage
	if err := json.Unmarshal(text, &back); err != nil || back != p {
		t.Fatalf("%v after a round trip, error %v", back == p, err)
	}
	// SHA-256 of 32 zero bytes.
	if got := (trade.Preimage{}).Hash().String(); got != "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925" {
		t.Errorf("hash of the zero preimage is %s", got)
	}
}

func TestParseHash(t *testing.T) {
	good := strings.Repeat("0aB9", 16)
	h, err := trade.ParseHash(good)
	if err != nil || h.String() != strings.ToLower(good) {
		t.Fatalf("%s, %v", h, err)
	}
	for _, bad := range []string{"", good[1:], good + "0", strings.Repeat("zz", 32), good[:62] + "é", strings.Repeat("\x00", 64)} {
		if h, err := trade.ParseHash(bad); err == nil || h != (trade.Hash{}) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ParseHash(%q) = %s, %v", bad, h, err)
		}
		if p, err := trade.ParsePreimage(bad); err == nil || p != (trade.Preimage{}) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ParsePreimage(%q): %v", bad, err)
		}
	}
}
