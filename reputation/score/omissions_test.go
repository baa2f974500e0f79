package score

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// bundleKeys signs bundles with real keys.
type bundleKeys struct{ keys *envelope.Keys }

func (b bundleKeys) Pubkey() string { return b.keys.Pubkey() }
func (b bundleKeys) Sign(evt *nostr.Event) error {
	secret := b.keys.Secret()
	return evt.Sign(scoretest.Hex(secret[:]))
}

// TestSignedBundle: a bundle names its signer and what it leaves out. A changed end, a
// signature of another bundle and a false statement about omissions are found. A bundle
// without the last line is a bundle that nobody signed.
func TestSignedBundle(t *testing.T) {
	log := signedMarket(t)
	by := bundleKeys{scoretest.Keys(t, "signer")}
	write := func(only string, days float64) string {
		var b bytes.Buffer
		if _, err := WriteSignedBundle(context.Background(), &b, log, DefaultParams(), scoretest.At(days), only, by, nil); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	all, one := write("", 20), write(scoretest.Keys(t, "rated host").Pubkey(), 8)
	v, err := VerifyBundle(strings.NewReader(all), nil, nil)
	if err != nil || v.Signer != by.Pubkey() {
		t.Fatalf("signed by %q: %v", v.Signer, err)
	}
	omits := func(v Verified) (names []string) {
		for _, o := range v.Omits {
			names = append(names, o.What)
		}
		return names
	}
	if got := omits(v); !slices.Contains(got, OmitsUnkept) || slices.Contains(got, OmitsOthers) || slices.Contains(got, OmitsLater) {
		t.Errorf("the whole bundle leaves out %v", got)
	}
	if v, err = VerifyBundle(strings.NewReader(one), nil, nil); err != nil || v.Signer != by.Pubkey() {
		t.Fatalf("one node, signed by %q: %v", v.Signer, err)
	}
	if got := omits(v); !slices.Contains(got, OmitsOthers) || !slices.Contains(got, OmitsLater) || !slices.Contains(got, OmitsEvents) {
		t.Errorf("the bundle of one node on day 8 leaves out %v", got)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(all, "\n"), "\n")
	last := lines[len(lines)-1]
	body := strings.TrimSuffix(all, last+"\n")
	other := strings.SplitAfter(strings.TrimSuffix(one, "\n"), "\n")
	for name, c := range map[string]string{
		"signature of another bundle": body + other[len(other)-1],
		"a changed omission":          strings.Replace(all, "the log does not keep them", "the log kept them all..", 1),
		"a missing omission":          strings.Replace(all, OmitsUnkept, "nothing", 1),
		"a changed key":               strings.Replace(all, last, strings.Replace(last, by.Pubkey(), scoretest.Keys(t, "other").Pubkey(), 1), 1),
		"two signatures":              all + last + "\n",
		"a field behind":              body + `{"signed":null,"more":1}` + "\n",
		"others not named":            strings.Replace(one, OmitsOthers, "nothing", 1),
	} {
		if !strings.HasSuffix(c, "\n") {
			c += "\n"
		}
		if _, err := VerifyBundle(strings.NewReader(c), nil, nil); !errors.Is(err, ErrUnsound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err = VerifyBundle(strings.NewReader(body), nil, nil)
	if err != nil || v.Signer != "" {
		t.Errorf("without the last line: signed by %q, %v", v.Signer, err)
	}
}
