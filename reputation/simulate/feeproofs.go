package simulate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// invoice returns a BOLT11 invoice of sats, signed by the key of a Lightning node, with the
// hash of a description.
func invoice(node *envelope.Keys, hash, description [32]byte, sats int64) (string, error) {
	hrp := fmt.Sprintf("lnbc%dn", sats*10)
	words := []byte{0, 0, 0, 0, 0, 0, 1}
	for _, f := range []struct {
		tag  byte
		data [32]byte
	}{{1, hash}, {23, description}} {
		bits, err := bech32.ConvertBits(f.data[:], 8, 5, true)
		if err != nil {
			return "", err
		}
		words = append(append(words, f.tag, byte(len(bits)>>5), byte(len(bits)&31)), bits...)
	}
	data, err := bech32.ConvertBits(words, 5, 8, true)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(append([]byte(hrp), data...))
	secret := node.Secret()
	key, _ := btcec.PrivKeyFromBytes(secret[:])
	sig := ecdsa.SignCompact(key, digest[:], true)
	bits, err := bech32.ConvertBits(append(sig[1:], sig[0]-27-4), 8, 5, true)
	if err != nil {
		return "", err
	}
	return bech32.Encode(hrp, append(words, bits...))
}

// lightningKey returns the public key of a Lightning node, compressed.
func lightningKey(node *envelope.Keys) string {
	secret := node.Secret()
	_, pub := btcec.PrivKeyFromBytes(secret[:])
	return hex.EncodeToString(pub.SerializeCompressed())
}

// feeProofs is row 25. Fees are confirmed without a fund's list: by invoice and preimage in
// the fee event, or by the recorded answer of the payment service. Cheaters try to have fees
// confirmed that they did not pay.
func feeProofs(_ context.Context, g *game) error {
	m := newMarket(g.Seed, false)
	fund, cheat, relay := keysOf(g.Seed, "fund node"), keysOf(g.Seed, "cheat's node"), keysOf(g.Seed, "asking relay")
	metadata := sha256.Sum256([]byte(`[["text/identifier","dev@fund.example"],["text/plain","Development fee"]]`))
	p := score.DefaultParams()
	p.Payees, p.FeeDescriptions = []string{lightningKey(fund)}, []string{hex.EncodeToString(metadata[:])}
	p.FeeAddresses, p.FeeAskers = []string{"dev@fund.example"}, []string{relay.Pubkey()}

	var hosts []*host
	names := []string{"discloses", "answered", "own node", "no preimage", "copies", "own answer", "other host", "unsettled", "backdated", "another hash"}
	for _, name := range names {
		h := m.addHost(name, goodNature(0), genesis, after(40))
		m.present(h)
		hosts = append(hosts, h)
	}
	answer := func(by, hash, url, body string, when time.Time) error {
		content, err := json.Marshal(score.FeeAnswer{URL: url, At: when.Unix(), Status: 200, Body: body})
		if err != nil {
			return err
		}
		m.put(nostr.Event{PubKey: by, Kind: mostro.KindAppData, Content: string(content), Tags: nostr.Tags{{"d", score.FeeAnswerD + hash}}}, when)
		return nil
	}
	paid, disclosed := map[string]int64{}, mostro.DevFee{}
	for d := 1; d < 30; d++ {
		for i, name := range names {
			h, r := hosts[i], stream(g.Seed, fmt.Sprint(name, d))
			t := h.newDeal(r, after(float64(d)))
			m.order(h, t, mostro.StatusPending, t.made)
			m.order(h, t, mostro.StatusInProgress, t.taken)
			m.order(h, t, mostro.StatusSuccess, t.ended)
			sats, preimage := max(1, t.sats/500), bytes32(r)
			hash := sha256.Sum256(preimage[:])
			when := t.ended.Add(time.Minute)
			payee := fund
			if name == "own node" {
				payee = cheat // the description can be copied, the key of the payee cannot
			}
			pr, err := invoice(payee, hash, metadata, sats)
			if err != nil {
				return err
			}
			fee := mostro.DevFee{Pubkey: h.pubkey, OrderID: t.id, AmountSats: sats, Hash: hex.EncodeToString(hash[:]), Destination: "dev@fund.example", Network: "mainnet",
				Verify: "https://fund.example/verify/" + hex.EncodeToString(hash[:]), Invoice: pr, Preimage: hex.EncodeToString(preimage[:])}
			settled, url, by := `true`, fee.Verify, relay.Pubkey()
			switch name {
			case "discloses":
				paid[name] += sats
				disclosed = fee
				m.put(fee.Event(), when)
				continue
			case "own node":
				m.put(fee.Event(), when)
				settled = `true` // its own service says so, and the relay does not ask there
				url = "https://cheat.example/verify"
			case "no preimage": // an invoice of the fund that was not paid
				fee.Preimage = hex.EncodeToString(metadata[:])
				m.put(fee.Event(), when)
				continue
			case "copies": // the proof of another node's fee, for an own order
				fee.Hash, fee.Invoice, fee.Preimage, fee.AmountSats = disclosed.Hash, disclosed.Invoice, disclosed.Preimage, disclosed.AmountSats
				m.put(fee.Event(), t.ended.Add(20*time.Hour))
				continue
			case "backdated": // a real payment that was named a month later
				m.putAt(fee.Event(), when, after(39), mostro.OriginClient)
				continue
			case "another hash":
				fee.Hash = hex.EncodeToString(metadata[:])
				m.put(fee.Event(), when)
				continue
			case "answered":
				paid[name] += sats
			case "own answer":
				by = h.pubkey
			case "other host":
				url = "https://fund.example.cheat.example/verify"
			case "unsettled":
				settled = `false`
			}
			fee.Invoice, fee.Preimage = "", ""
			if name != "own node" {
				m.put(fee.Event(), when)
			}
			if err := answer(by, fee.Hash, url, `{"status":"OK","settled":`+settled+`,"preimage":null,"pr":"`+pr+`"}`, when.Add(10*time.Second)); err != nil {
				return err
			}
		}
	}
	l := score.NewLedger(p, score.Receipts{})
	m.feed(l, 0, after(40))
	off := score.DefaultParams()
	unconfigured := score.NewLedger(off, score.Receipts{})
	m.feed(unconfigured, 0, after(40))
	cost := func(l *score.Ledger) map[string]int64 {
		out := map[string]int64{}
		for _, s := range l.Compute(after(40)) {
			out[s.Pubkey] = s.Evidence.DevFeeSats.Costed
		}
		return out
	}
	on, without := cost(l), 0.0
	for _, sats := range cost(unconfigured) {
		without += float64(sats)
	}
	for i, name := range names {
		if want := paid[name]; want > 0 {
			g.measure("confirmed fees, of those paid: "+name, float64(on[hosts[i].pubkey])/float64(want), exactly(1), nil)
		} else {
			g.measure("confirmed sats of a cheat: "+name, float64(on[hosts[i].pubkey]), exactly(0), nil)
		}
	}
	g.measure("confirmed sats where nothing is configured", without, exactly(0), nil)
	return nil
}

func bytes32(r *rand.Rand) (b [32]byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
