package receipt

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

var ratedAt = time.Unix(1782000000, 0)

// keysetKey is a public key of 2048 bits in PKCS #1. Its secret key is unknown.
const keysetKey = "3082010a0282010100b04b189b7e8db8cbb27ff195d3ee0f434f0ac5d9bedba87174dbd46098c60789ac56b822d784dc497b19f4432613eecc5dfc251e70101dcfb5f2fc54bd81f6784a52abc8c782f14662145b1715f4d9196323396007153ceea8b7cfe402c42230f2d29226bfe0f653ce7d8292222bea26ed09fdf00be25b3a103fbb4a08d08019e36d80520715550e4b9aad8cd2d241bba457e703377219819db8a0dd93ed075d34dcf3e4e5365a05b56132638c97a2e857e9b5b1d206eb43ede033578eaeb795d06b3852fc88b1eb673eb88ed78ed5328de49a33a6145e4f86b7fa4ee19322765887edd56e16835c1adade664437e413a7e997758d3747d1d475b7ede16c78ab0203010001"

// keyPair returns a key pair with a small number as secret.
func keyPair(t testing.TB, n byte) *envelope.Keys {
	t.Helper()
	k, err := envelope.KeysFromSecret([32]byte{31: n})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// tradeKeys returns the first trade key of the all-abandon seed phrase.
func tradeKeys(t testing.TB) *envelope.Keys {
	t.Helper()
	w, err := envelope.ParseWords(strings.Repeat("abandon ", 11) + "about")
	if err != nil {
		t.Fatal(err)
	}
	k, err := w.Trade(1)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func privateKey(k *envelope.Keys) *btcec.PrivateKey {
	secret := k.Secret()
	private, _ := btcec.PrivKeyFromBytes(secret[:])
	return private
}

// repeatable returns a repeatable source of randomness for tests: a plain counter.
func repeatable() *countedBytes { return new(countedBytes) }

type countedBytes struct{ n byte }

func (r *countedBytes) Read(p []byte) (int, error) {
	for i := range p {
		r.n++
		p[i] = r.n
	}
	return len(p), nil
}

// signAs sets id and signature of an event whose author is k.
func signAs(evt *nostr.Event, k *envelope.Keys) error { return evt.Sign(hexOf(k)) }

func hexOf(k *envelope.Keys) string {
	secret := k.Secret()
	return hex.EncodeToString(secret[:])
}

// tagged returns an unsigned event of a kind with tags in JSON.
func tagged(t testing.TB, kind int, tags string) *nostr.Event {
	t.Helper()
	evt := &nostr.Event{PubKey: "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9", CreatedAt: 1782000000, Kind: kind}
	if err := json.Unmarshal([]byte(tags), &evt.Tags); err != nil {
		t.Fatalf("%s: %v", tags, err)
	}
	return evt
}
