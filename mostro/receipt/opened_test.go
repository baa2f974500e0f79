package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// field is one tagged field of an invoice.
type field struct {
	tag  byte
	data []byte
}

// madeInvoice signs an invoice with any fields, well-formed or not.
func madeInvoice(t testing.TB, payee *envelope.Keys, hrp string, fields ...field) string {
	t.Helper()
	words := make([]byte, 7) // the timestamp
	for _, f := range fields {
		data, err := bech32.ConvertBits(f.data, 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, f.tag, byte(len(data)>>5), byte(len(data)&31))
		words = append(words, data...)
	}
	body, err := bech32.ConvertBits(words, 5, 8, true)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(append([]byte(hrp), body...))
	compact := ecdsa.SignCompact(privateKey(payee), digest[:], true)
	sig, err := bech32.ConvertBits(append(slices.Clone(compact[1:]), compact[0]-27-4), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bech32.Encode(hrp, append(words, sig...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOpened(t *testing.T) {
	host, rater, payee := keyPair(t, 3), keyPair(t, 9), keyPair(t, 11)
	preimage := strings.Repeat("42", 32)
	raw, _ := hex.DecodeString(preimage)
	hash := sha256.Sum256(raw)
	p := field{1, hash[:]}
	key := privateKey(payee).PubKey().SerializeCompressed()
	st := statement(host, rater)
	st.Hash = hex.EncodeToString(hash[:])
	r1, err := st.Sign(host, repeatable())
	if err != nil {
		t.Fatal(err)
	}
	s := showing{host: host, rater: rater, order: testOrder}
	for hrp, want := range map[string]struct {
		network string
		sats    int64
	}{"lnbc2500u": {"mainnet", 250_000}, "lnbcrt30m": {"regtest", 3_000_000}, "lntb25n": {"testnet", 2}, "lntbs1": {"signet", 100_000_000}, "lnbc10p": {"mainnet", 0}, "lnbc": {"mainnet", -1}} {
		if s.receipt, err = Opened(r1, madeInvoice(t, payee, hrp, p, field{13, []byte("tea")}, field{19, key}), preimage); err != nil {
			t.Fatal(err)
		}
		r := s.mustHold(t)
		if r.Kind != R3 || r.PaymentHash != st.Hash || r.Payee != hex.EncodeToString(key) || r.PaidNetwork != want.network || r.Role != RoleBuyer {
			t.Errorf("%s: %+v", hrp, r)
		}
		if (r.PaidSats == nil) != (want.sats < 0) || r.PaidSats != nil && *r.PaidSats != want.sats {
			t.Errorf("%s: %v sats, want %d", hrp, r.PaidSats, want.sats)
		}
	}
	good := madeInvoice(t, payee, "lnbc2500u", p)
	if s.receipt, err = Opened(r1, good, preimage); err != nil {
		t.Fatal(err)
	}
	s.mustHold(t)
	values := s.receipt
	unnamed, err := statement(host, rater).Sign(host, repeatable())
	if err != nil {
		t.Fatal(err)
	}
	otherHash := sha256.Sum256([]byte("another"))
	for _, c := range []struct {
		name    string
		receipt []string
		want    Rule
	}{
		{"a value missing", values[:8], RuleFields},
		{"over r0", swap(values, 3, "r0"), RuleFields},
		{"another preimage", swap(values, 2, flip(preimage, 0)), RulePreimage},
		{"half a preimage", swap(values, 2, preimage[:32]), RulePreimage},
		{"a statement that names no payment", append(slices.Clone(values[:3]), unnamed...), RuleHash},
		{"a statement of another signature", swap(values, 8, flip(values[8], 7)), RuleSignature},
		{"another hash in the statement", swap(values, 7, hex.EncodeToString(otherHash[:])), RuleSignature},
		{"an invoice of another hash", swap(values, 1, madeInvoice(t, payee, "lnbc2500u", field{1, otherHash[:]})), RuleInvoice},
		{"an invoice of two hashes", swap(values, 1, madeInvoice(t, payee, "lnbc2500u", p, field{1, otherHash[:]})), RuleInvoice},
		{"an invoice of no hash", swap(values, 1, madeInvoice(t, payee, "lnbc2500u")), RuleInvoice},
		{"an invoice that names another payee", swap(values, 1, madeInvoice(t, payee, "lnbc2500u", p, field{19, privateKey(host).PubKey().SerializeCompressed()})), RuleInvoice},
		{"an invoice of an unknown network", swap(values, 1, madeInvoice(t, payee, "lnxx2500u", p)), RuleInvoice},
		{"an amount with a zero before", swap(values, 1, madeInvoice(t, payee, "lnbc02500u", p)), RuleInvoice},
		{"an amount of half a millisatoshi", swap(values, 1, madeInvoice(t, payee, "lnbc5p", p)), RuleInvoice},
		{"more than there is", swap(values, 1, madeInvoice(t, payee, "lnbc21000001", p)), RuleInvoice},
		{"an invoice in capitals", swap(values, 1, strings.ToUpper(good)), RuleInvoice},
		{"an invoice with another checksum", swap(values, 1, good[:len(good)-1]+map[bool]string{true: "p", false: "q"}[good[len(good)-1] == 'q']), RuleInvoice},
		{"no invoice", swap(values, 1, ""), RuleInvoice},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.receipt = c.receipt
			s.refused(t, c.want)
		})
	}
	if _, err := Opened(unnamed, good, preimage); err == nil {
		t.Error("opened a receipt without a payment hash")
	}
	if _, err := Opened([]string{"r2", "a", "b", "c"}, good, preimage); !errors.Is(err, RuleForm) {
		t.Errorf("opened r2: %v", err)
	}
}
