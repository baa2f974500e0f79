package demomarket

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// platform is another platform, whose orders have the form of NIP-69 in a dialect of its own.
type platform struct {
	name       string
	keys       *envelope.Keys
	random     *rand.Rand
	perDay     float64
	currencies []string
	life       time.Duration
	count      int
	generation int
}

func (m *Market) addPlatforms() {
	for _, p := range []*platform{
		{name: mostro.PlatformLnp2pBot, perDay: 14, currencies: []string{"VES", "ARS", "CUP", "COP"}, life: 23 * time.Hour},
		{name: mostro.PlatformRoboSats, perDay: 9, currencies: []string{"EUR", "USD", "BRL"}, life: 8 * time.Hour},
	} {
		p.keys, p.random = keysOf(m.cfg.Seed, p.name), m.stream("platform "+p.name)
		m.platforms = append(m.platforms, p)
		m.planOffer(p, 0, m.cfg.Start)
	}
}

func (m *Market) planOffer(p *platform, generation int, from time.Time) {
	wait := exponential(p.random, time.Duration(float64(day)/(p.perDay*math.Sqrt(m.arrivals)))) // they hurry less
	m.plan(from.Add(wait), func(at time.Time) { m.offer(p, generation, at) })
}

// offer publishes a new order of a platform, and plans its end.
func (m *Market) offer(p *platform, generation int, at time.Time) {
	if generation != p.generation {
		return
	}
	m.planOffer(p, generation, at)
	p.count++
	r := rand.New(rand.NewPCG(p.random.Uint64(), p.random.Uint64()))
	code := p.currencies[r.IntN(len(p.currencies))]
	side := "sell"
	if r.IntN(2) == 0 {
		side = "buy"
	}
	fiat := roundFiat((5_000 + r.Float64()*150_000) / 1e8 * m.price(code, at))
	method := methods[code][r.IntN(len(methods[code]))]
	premium, id, number := strconv.Itoa(r.IntN(9)-1), hexOf(r, 12), strconv.Itoa(1000+p.count)
	if p.name == mostro.PlatformRoboSats {
		id = uuid(r)
	}
	version := func(status, sats string, at time.Time) {
		until := strconv.FormatInt(at.Add(p.life).Unix(), 10)
		tags := nostr.Tags{{"d", id}, {"k", side}, {"f", code}, {"s", status}, {"amt", sats}, {"fa", fmt.Sprint(fiat)}, {"pm", method}, {"premium", premium}}
		if p.name == mostro.PlatformLnp2pBot {
			tags = append(tags, nostr.Tag{"rating", fmt.Sprintf("%.2f", 4+r.Float64()), fmt.Sprint(r.IntN(600)), fmt.Sprint(1 + r.IntN(80))}, nostr.Tag{"source", "https://t.me/p2plightning/" + number},
				nostr.Tag{"network", "mainnet"}, nostr.Tag{"layer", "lightning"}, nostr.Tag{"expiration", until}, nostr.Tag{"y", "lnp2pbot"}, nostr.Tag{"z", "order"})
		} else {
			tags = append(tags, nostr.Tag{"name", "Robot" + number, hexOf(r, 8)}, nostr.Tag{"source", "https://unsafe.robosats.org/order/temple/" + number}, nostr.Tag{"expiration", until},
				nostr.Tag{"y", "robosats", "temple"}, nostr.Tag{"network", "mainnet"}, nostr.Tag{"layer", "lightning"}, nostr.Tag{"bond", "3.00"}, nostr.Tag{"z", "order"})
		}
		m.put(p.keys, nostr.Event{Kind: mostro.KindOrder, Tags: tags}, at)
	}
	version("pending", "0", at)
	if r.Float64() < .25 {
		return // it expires without a word
	}
	end := at.Add(min(m.within(between(r, 20*time.Minute, 14*time.Hour)), p.life-time.Minute))
	m.plan(end, func(at time.Time) {
		status, sats := "success", "0"
		if p.name == mostro.PlatformLnp2pBot {
			if r.IntN(4) == 0 {
				status = "canceled"
			} else {
				sats = fmt.Sprint(int64(float64(fiat) / m.price(code, at) * 1e8))
			}
		}
		version(status, sats, at)
	})
}
