package corpus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/mostro"
)

// Instance is one Mostro of the market, with its public data.
type Instance struct {
	Pubkey  string
	Name    string // "" for a third of the instances
	Network string
	Relays  []string
}

type instance struct {
	Instance
	key        *btcec.PrivateKey
	fee        mostro.Decimal
	free       bool
	maxSats    int64
	bonds      bool
	currencies []string // of its info; empty: all
}

// Instances returns the market's Mostros, the busiest first.
func (c *Corpus) Instances() []Instance {
	list := make([]Instance, len(c.instances))
	for i, in := range c.instances {
		list[i] = in.Instance
	}
	return list
}

// Sign signs an event as an instance, so that a test can add events to the market. It
// returns an error if there is no such instance.
func (c *Corpus) Sign(instance int, evt *nostr.Event) error {
	if instance < 0 || instance >= len(c.instances) {
		return fmt.Errorf("corpus: no instance %d", instance)
	}
	return c.instances[instance].sign(evt)
}

// names are the names for two thirds of the instances. If the names are used up, a
// number is appended.
var names = []string{
	"Mostro del Sur", "Mostro Brasil 🇧🇷", "Mostro Cubano 🇨🇺", "NostroMostro 🇪🇸", "Mostro ₿oliviano 🇧🇴", "Mostro Colombia",
	"El Mostro de Caracas", "Plaza Mayor", "Mostro México", "Mostro Perú", "Le Mostro de Douala", "Mostro Lisboa", "Mercado Libre de Ñuñoa",
	"Sovereign Mostro", "Mostro & Sons", "Satoshi's Corner", "Mostro Zürich", "Lagos Mostro", "Mostro Nairobi", "Das Mostro",
}

var relayPool = []string{
	"wss://relay.one.example", "wss://relay.two.example", "wss://nostr.sur.example", "wss://mostro-relay.example", "wss://relay.isla.example", "wss://nos.norte.example",
}

// newInstance derives an instance from the seed. The last two of every forty instances
// use a test network.
func newInstance(seed int64, i int) (instance, error) {
	secret := sha256.Sum256(fmt.Appendf(nil, "mostrodex corpus instance %d %d", seed, i))
	var scalar btcec.ModNScalar
	if overflow := scalar.SetBytes(&secret); overflow != 0 || scalar.IsZero() {
		return instance{}, fmt.Errorf("corpus: seed %d gives instance %d no key", seed, i)
	}
	key, pub := btcec.PrivKeyFromBytes(secret[:])
	r := random(seed, 1, i)
	in := instance{key: key, maxSats: 100_000 * (1 + r.Int64N(30))}
	in.Pubkey = hex.EncodeToString(schnorr.SerializePubKey(pub))
	if i%3 != 2 {
		n := i - i/3
		in.Name = names[n%len(names)]
		if n >= len(names) {
			in.Name += fmt.Sprintf(" %d", n/len(names)+1)
		}
	}
	in.Network = "mainnet"
	switch i % 40 {
	case 38:
		in.Network = "testnet"
	case 39:
		in.Network = "regtest"
	}
	for _, k := range r.Perm(len(relayPool))[:2+r.IntN(3)] {
		in.Relays = append(in.Relays, relayPool[k])
	}
	fees := []string{"0", "0.003", "0.005", "0.006", "0.006", "0.006", "0.01", "0.02"}
	fee, err := mostro.ParseDecimal(fees[r.IntN(len(fees))])
	if err != nil {
		return instance{}, err
	}
	in.fee, in.free = fee, fee.Sign() == 0
	in.bonds = r.IntN(2) == 0
	if r.IntN(4) > 0 {
		for _, cur := range currencies {
			if cur.weight >= 40 || r.IntN(4) == 0 {
				in.currencies = append(in.currencies, cur.code)
			}
		}
	}
	return in, nil
}

func (in *instance) accepts(code string) bool {
	return len(in.currencies) == 0 || slices.Contains(in.currencies, code)
}

// sign signs without auxiliary randomness. BIP-340's nonce is then a function of key
// and message (RFC 6979 in btcec), so the same event has the same signature. go-nostr's
// own Sign is random under libsecp256k1.
func (in *instance) sign(evt *nostr.Event) error {
	evt.PubKey = in.Pubkey
	if evt.Tags == nil {
		evt.Tags = nostr.Tags{}
	}
	id := sha256.Sum256(evt.Serialize())
	sig, err := schnorr.Sign(in.key, id[:], schnorr.FastSign())
	if err != nil {
		return err
	}
	evt.ID = hex.EncodeToString(id[:])
	evt.Sig = hex.EncodeToString(sig.Serialize())
	return nil
}
