package message

import (
	"errors"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr/nip19"
)

// aPubkey is the public key of the secret 3.
const aPubkey = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"

func bech32Key(t testing.TB, encode func(string) (string, error)) string {
	t.Helper()
	s, err := encode(aPubkey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParsePubkey(t *testing.T) {
	npub, nsec := bech32Key(t, nip19.EncodePublicKey), bech32Key(t, nip19.EncodePrivateKey)
	for _, s := range []string{aPubkey, npub, strings.ToUpper(aPubkey), strings.ToUpper(npub), npub + "\n"} {
		if got, err := ParsePubkey(s); err != nil || got != aPubkey {
			t.Errorf("%q: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", nsec, aPubkey[1:], strings.Repeat("f", 64), npub[:20], "npub1"} {
		if _, err := ParsePubkey(s); !errors.Is(err, RuleKey) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzIdentifiers passes arbitrary texts to the parsers of public keys and UUIDs.
func FuzzIdentifiers(f *testing.F) {
	for _, s := range []string{aPubkey, bech32Key(f, nip19.EncodePublicKey), "npub1", sampleID.String(), "{" + sampleID.String() + "}", "urn:uuid:" + sampleID.String()} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePubkey(s); err != nil {
			wantWireError(t, err)
		} else if back, err := ParsePubkey(p); err != nil || back != p {
			t.Fatalf("%s, %v", back, err)
		}
		if u, err := ParseUUID(s); err != nil {
			wantWireError(t, err)
		} else if back, err := ParseUUID(u.String()); err != nil || back != u {
			t.Fatalf("%s, %v", back, err)
		}
	})
}
