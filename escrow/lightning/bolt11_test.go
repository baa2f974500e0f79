package lightning_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// These are the examples of BOLT 11. All are signed by the same key.
const (
	boltPayee  = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
	boltHash   = "0001020304050607080900010203040506070809000102030405060708090102"
	boltAny    = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql"
	boltCoffee = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
)

func TestParseInvoice(t *testing.T) {
	in, err := lightning.ParseInvoice(boltAny)
	if err != nil {
		t.Fatal(err)
	}
	want := lightning.Invoice{
		// BOLT 11 has a default of 18 blocks if an invoice names none. LND uses at least 24.
		Bolt11: boltAny, Network: lightning.Mainnet, Payee: boltPayee, MinFinalCLTV: 24,
		CreatedAt: time.Unix(1496314658, 0).UTC(), ExpiresAt: time.Unix(1496314658+3600, 0).UTC(),
		Description: "Please consider supporting this project",
	}
	if want.Hash, err = trade.ParseHash(boltHash); err != nil {
		t.Fatal(err)
	}
	if in != want {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
	for _, form := range []string{boltCoffee, strings.ToUpper(boltCoffee), "lightning:" + boltCoffee, " LIGHTNING:" + strings.ToUpper(boltCoffee) + "\n"} {
		in, err := lightning.ParseInvoice(form)
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		sats, ok := in.AmountSats()
		if in.Bolt11 != boltCoffee || sats != 250_000 || !ok || in.AmountMsat != 250_000_000 || in.Description != "1 cup coffee" || in.ExpiresAt.Sub(in.CreatedAt) != time.Minute {
			t.Errorf("%s: %+v", form, in)
		}
	}
	for name, bad := range map[string]string{
		"empty":          "",
		"a word":         "hello",
		"only a prefix":  "lnbc1",
		"checksum":       boltCoffee[:len(boltCoffee)-1] + "q",
		"mixed case":     "LNBC" + boltCoffee[4:],
		"unknown chain":  "lnxx" + boltCoffee[4:],
		"too long":       "lnbc1" + strings.Repeat("q", 8000),
		"address":        "alice@example.com",
		"inner space":    boltCoffee[:50] + " " + boltCoffee[50:],
		"not printable":  "lnbc1\x00\xff",
		"only a scheme":  "lightning:",
		"amount overrun": "lnbc184467440737095516161" + boltCoffee[10:],
	} {
		if in, err := lightning.ParseInvoice(bad); !errors.Is(err, lightning.ErrInvalidInvoice) || in != (lightning.Invoice{}) {
			t.Errorf("%s: %+v, %v", name, in, err)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[:20]) {
			t.Errorf("%s: the error quotes the invoice: %v", name, err)
		}
	}
}

func key(t testing.TB) *btcec.PrivateKey {
	k, err := hex.DecodeString("e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734")
	if err != nil {
		t.Fatal(err)
	}
	priv, _ := btcec.PrivKeyFromBytes(k)
	return priv
}

func TestInvoiceOfEachNetworkIsReadBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	for _, network := range []lightning.Network{lightning.Mainnet, lightning.Testnet, lightning.Signet, lightning.Regtest, lightning.Simnet} {
		for _, msat := range []int64{0, 1, 999, 1000, 123_456_000, 21_000_000 * 100_000_000_000} {
			draft := lightning.InvoiceDraft{Hash: trade.Hash{1, 2}, AmountMsat: msat, Network: network, CreatedAt: now, Expiry: 2 * time.Hour, MinFinalCLTV: 144, Description: "ünï"}
			text, err := draft.Sign(key(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := lightning.ParseInvoice(text)
			if err != nil {
				t.Fatalf("%s, %d msat: %v", network, msat, err)
			}
			want := lightning.Invoice{Bolt11: text, Hash: draft.Hash, AmountMsat: msat, Network: network, CreatedAt: now, ExpiresAt: now.Add(2 * time.Hour), MinFinalCLTV: 144, Payee: boltPayee, Description: "ünï"}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
	}
	for _, bad := range []lightning.InvoiceDraft{
		{Network: "lightcoin", CreatedAt: now},
		{Network: lightning.Regtest, CreatedAt: now, AmountMsat: -1},
		{Network: lightning.Regtest, CreatedAt: now, Description: strings.Repeat("x", 640)},
	} {
		if text, err := bad.Sign(key(t)); err == nil {
			t.Errorf("%+v was signed: %s", bad, text)
		}
	}
}

// An amount that overflows 64 bits when converted to msat would appear as an ordinary amount:
// 184467441 BTC is 2^64 msat and 29.04... BTC.
func TestAmountBeyondAllBitcoinIsRefused(t *testing.T) {
	for _, amount := range []string{"184467441", "99999999999999999999", "184467440738m", "184467440737096u", "184467440737095517n"} {
		// The parser checks the amount before the checksum, and the checksum would be wrong.
		// The test signs an invoice by hand so that the amount is the only reason for an
		// error.
		text, err := lightning.InvoiceDraft{Hash: trade.Hash{1}, AmountMsat: 1000, Network: lightning.Regtest, CreatedAt: time.Unix(1_800_000_000, 0), Expiry: time.Hour, MinFinalCLTV: 18}.Sign(key(t))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(text, "10n1")
		_, err = lightning.ParseInvoice("lnbcrt" + amount + "1" + rest)
		if !errors.Is(err, lightning.ErrInvalidInvoice) || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("%s: %v", amount, err)
		}
	}
}

func FuzzParseInvoice(f *testing.F) {
	f.Add(boltAny)
	f.Add(boltCoffee)
	f.Add("lightning:" + strings.ToUpper(boltCoffee))
	f.Add("lnbcrt1")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := lightning.ParseInvoice(text)
		if err != nil {
			if !errors.Is(err, lightning.ErrInvalidInvoice) || in != (lightning.Invoice{}) {
				t.Fatalf("%+v, %v", in, err)
			}
			return
		}
		if in.AmountMsat < 0 || in.ExpiresAt.Before(in.CreatedAt) || len(in.Payee) != 66 {
			t.Fatalf("%+v", in)
		}
		again, err := lightning.ParseInvoice(in.Bolt11)
		if err != nil || again != in {
			t.Fatalf("decoded: %+v, %v; want %+v", again, err, in)
		}
	})
}

func BenchmarkSignInvoice(b *testing.B) {
	k := key(b)
	for b.Loop() {
		if _, err := (lightning.InvoiceDraft{Hash: trade.Hash{1}, AmountMsat: 1000, Network: lightning.Regtest, CreatedAt: time.Unix(1_800_000_000, 0), Expiry: time.Hour, MinFinalCLTV: 18}).Sign(k); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseInvoice parses an invoice that was parsed before.
func BenchmarkParseInvoice(b *testing.B) {
	for b.Loop() {
		if _, err := lightning.ParseInvoice(boltCoffee); err != nil {
			b.Fatal(err)
		}
	}
}
