package main

import (
	"container/heap"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// The generated year: 1 November 2025 to 1 November 2026.
const (
	begin = 1_761_955_200
	end   = 1_793_491_200
	seed  = 16
)

// node is a Mostro of the generated market.
type node struct {
	name    string
	fee     float64
	since   int64   // first info
	weight  float64 // share of the orders
	success float64 // share of the taken orders that succeed
	dispute float64 // share of the taken orders that become disputes
	key     string
}

// currency is a currency of the generated market. Nodes sign no rate of a parallel one.
type currency struct {
	code     string
	price    float64 // of one bitcoin at the begin
	drift    float64 // per year
	premium  float64 // mean of the makers' premiums, percent
	weight   float64
	parallel bool
	methods  []string
}

var currencies = []currency{
	{"EUR", 95_000, 0.25, 2, 0.45, false, []string{"SEPA", "Revolut", "Bizum"}},
	{"VES", 21_000_000, 2.2, 4, 0.30, false, []string{"Pago Movil", "Zelle"}},
	{"CUP", 44_000_000, 0.6, 6, 0.25, true, []string{"EnZona", "Transfermovil"}},
}

// clockwork delivers events in the order of their times.
type clockwork struct {
	events []*nostr.Event
	rng    *rand.Rand
}

func (c *clockwork) Len() int           { return len(c.events) }
func (c *clockwork) Less(i, j int) bool { return c.events[i].CreatedAt < c.events[j].CreatedAt }
func (c *clockwork) Swap(i, j int)      { c.events[i], c.events[j] = c.events[j], c.events[i] }
func (c *clockwork) Push(x any)         { c.events = append(c.events, x.(*nostr.Event)) }
func (c *clockwork) Pop() any {
	last := c.events[len(c.events)-1]
	c.events = c.events[:len(c.events)-1]
	return last
}

func (c *clockwork) hex(bytes int) string {
	raw := make([]byte, bytes)
	c.rng.Read(raw)
	return hex.EncodeToString(raw)
}

func (c *clockwork) at(t int64, key string, kind int, content string, tags ...nostr.Tag) {
	heap.Push(c, &nostr.Event{ID: c.hex(32), PubKey: key, Kind: kind, CreatedAt: nostr.Timestamp(t), Tags: tags, Content: content})
}

// year calls fn with the entries of the generated year, in the order of their times.
func year(fn func(*mostro.Entry)) []node {
	rng := rand.New(rand.NewSource(seed))
	c := &clockwork{rng: rng}
	nodes := []node{
		{"Alba", 0.006, begin, 0.42, 0.93, 0.010, ""}, {"Bruma", 0.010, begin, 0.25, 0.90, 0.015, ""},
		{"Cedro", 0.000, begin + 90*86400, 0.15, 0.84, 0.03, ""}, {"Duna", 0.015, begin, 0.10, 0.88, 0.02, ""},
		{"Estela", 0.006, begin + 200*86400, 0.08, 0.70, 0.09, ""},
	}
	for i := range nodes {
		nodes[i].key = c.hex(32)
		n := &nodes[i]
		c.at(n.since, n.key, mostro.KindInfo, "", nostr.Tag{"d", n.key}, nostr.Tag{"mostro_version", "0.20.2"}, nostr.Tag{"fee", strconv.FormatFloat(n.fee, 'f', -1, 64)},
			nostr.Tag{"y", "mostro", n.name}, nostr.Tag{"z", "info"})
	}
	seq := uint64(0)
	emit := func(until int64) {
		for c.Len() > 0 && int64(c.events[0].CreatedAt) < until {
			evt := heap.Pop(c).(*nostr.Event)
			seq++
			fn(&mostro.Entry{Seq: seq, Event: evt, ReceivedAt: time.Unix(int64(evt.CreatedAt)+1, 0).UTC(), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"}})
		}
	}
	noise := 0.0
	for t := int64(begin); t < end; t += 1800 {
		noise += rng.NormFloat64() * 0.004
		noise *= 0.9995
		share := float64(t-begin) / float64(end-begin)
		price := func(k *currency) float64 { return k.price * math.Pow(1+k.drift, share) * math.Exp(noise) }
		for i := range nodes {
			if n := &nodes[i]; t >= n.since && t%3600 == 0 {
				rates := ""
				for j := range currencies {
					if k := &currencies[j]; !k.parallel {
						rates += fmt.Sprintf(`,"%s":%.2f`, k.code, price(k)*(1+rng.NormFloat64()*0.001))
					}
				}
				c.at(t+int64(i), n.key, mostro.KindAppData, `{"BTC":{`+rates[1:]+`}}`, nostr.Tag{"d", "mostro-rates"})
			}
		}
		hour := time.Unix(t, 0).UTC()
		load := 0.6 * (1 + 0.5*math.Sin(2*math.Pi*(float64(hour.Hour())-9)/24)) * (1 + 0.9*share)
		if hour.Weekday() == time.Sunday {
			load *= 0.7
		}
		for n := 0; float64(n) < load*2*rng.Float64(); n++ {
			order(c, nodes, t+rng.Int63n(1800), price)
		}
		emit(t + 1800)
	}
	emit(end)
	return nodes
}

// order plays the life of one order.
func order(c *clockwork, nodes []node, t int64, price func(*currency) float64) {
	rng := c.rng
	var n *node
	for n == nil || t < n.since {
		n = &nodes[pick(rng, len(nodes), func(i int) float64 { return nodes[i].weight })]
	}
	k := &currencies[pick(rng, len(currencies), func(i int) float64 { return currencies[i].weight })]
	side, sign := "sell", 1.0
	if rng.Intn(3) == 0 {
		side, sign = "buy", -0.3
	}
	premium := math.Round(sign*k.premium + rng.NormFloat64()*2)
	sats := int64(math.Exp(rng.NormFloat64()*0.9 + 11))
	fiat := math.Max(1, math.Round(float64(sats)/1e8*price(k)*(1+premium/100)))
	d := c.hex(16)
	d = d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:]
	tags := func(state string, amt int64) []nostr.Tag {
		return []nostr.Tag{{"d", d}, {"k", side}, {"f", k.code}, {"s", state}, {"amt", strconv.FormatInt(amt, 10)}, {"fa", strconv.FormatFloat(fiat, 'f', 0, 64)},
			{"pm", k.methods[int(d[0])%len(k.methods)]}, {"premium", strconv.FormatFloat(premium, 'f', 0, 64)}, {"network", "mainnet"}, {"layer", "lightning"},
			{"expires_at", strconv.FormatInt(t+86400, 10)}, {"y", "mostro", n.name}, {"z", "order"}}
	}
	c.at(t, n.key, mostro.KindOrder, "", tags("pending", 0)...)
	// An order with a better price for the taker is taken sooner.
	wait := int64(rng.ExpFloat64() * 9000 * math.Exp(sign*premium/8))
	if wait > 86400 {
		c.at(t+86401, n.key, mostro.KindOrder, "", tags("canceled", 0)...)
		return
	}
	taken := t + 1 + wait
	c.at(taken, n.key, mostro.KindOrder, "", tags("in-progress", sats)...)
	done := taken + 300 + int64(rng.ExpFloat64()*2400)
	switch roll := rng.Float64(); {
	case roll < n.dispute:
		dispute := func(at int64, state string) {
			c.at(at, n.key, mostro.KindDispute, "", nostr.Tag{"d", "x" + d}, nostr.Tag{"s", state}, nostr.Tag{"y", "mostro", n.name}, nostr.Tag{"z", "dispute"})
		}
		dispute(done, "initiated")
		close := done + 7200 + int64(rng.ExpFloat64()*60_000)
		if rng.Intn(2) == 0 {
			dispute(close, "settled")
			c.at(close, n.key, mostro.KindOrder, "", tags("success", sats)...)
		} else {
			dispute(close, "seller-refunded")
			c.at(close, n.key, mostro.KindOrder, "", tags("canceled", sats)...)
		}
	case roll < n.dispute+(1-n.dispute)*n.success:
		c.at(done, n.key, mostro.KindOrder, "", tags("success", sats)...)
		if n.fee > 0 {
			c.at(done+15, n.key, mostro.KindDevFee, "", nostr.Tag{"order-id", d}, nostr.Tag{"amount", strconv.FormatInt(int64(math.Round(float64(sats)*n.fee*0.3)), 10)},
				nostr.Tag{"hash", c.hex(32)}, nostr.Tag{"network", "mainnet"}, nostr.Tag{"y", "mostro", n.name}, nostr.Tag{"z", "dev-fee-payment"})
		}
	default:
		c.at(done, n.key, mostro.KindOrder, "", tags("canceled", sats)...)
	}
}

// pick returns a number below n by its weight.
func pick(rng *rand.Rand, n int, weight func(int) float64) int {
	roll := rng.Float64()
	for i := range n {
		if roll -= weight(i); roll < 0 {
			return i
		}
	}
	return n - 1
}
