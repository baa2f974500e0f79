package stats

import (
	"fmt"
	"math/rand"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// market generates random entries: orders of several platforms with their versions in any
// order, duplicates, deletions, fees, disputes, infos, rates and foreign events.
type market struct {
	rng     *rand.Rand
	start   int64
	span    int64
	authors []string
	entries []mostro.Entry
}

func (m *market) hex(n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = "0123456789abcdef"[m.rng.Intn(16)]
	}
	return string(out)
}

func (m *market) event(author string, kind int, created int64, tags nostr.Tags, content string) {
	if created <= 0 {
		created = 1
	}
	origins := []mostro.Origin{mostro.OriginClient, mostro.OriginImport, mostro.OriginLive, mostro.OriginBackfill, mostro.OriginLive}
	origin := origins[m.rng.Intn(len(origins))]
	received := created + int64(m.rng.Intn(3))
	if !origin.Witnessed() {
		received += int64(m.rng.Intn(200_000))
	}
	m.entries = append(m.entries, mostro.Entry{
		Event:      &nostr.Event{ID: m.hex(64), PubKey: author, Kind: kind, CreatedAt: nostr.Timestamp(created), Tags: tags, Content: content},
		ReceivedAt: time.Unix(received, 0).UTC(), Source: mostro.Source{Origin: origin, Relay: []string{"wss://a", "wss://b", ""}[m.rng.Intn(3)]},
	})
}

func pick[T any](m *market, list ...T) T { return list[m.rng.Intn(len(list))] }

func (m *market) order() {
	a := m.rng.Intn(len(m.authors))
	author := m.authors[a]
	platform := []string{"mostro", "mostro", "mostro", "robosats", "lnp2pbot"}[a%5]
	t := m.start + m.rng.Int63n(m.span)
	d := m.hex(8)
	fiat, side := pick(m, "EUR", "USD", "CUP", "ARS", "VES"), pick(m, "buy", "sell")
	fa := []string{"fa", strconv.Itoa(1 + m.rng.Intn(500))}
	if m.rng.Intn(3) == 0 {
		low := 1 + m.rng.Intn(100)
		fa = []string{"fa", strconv.Itoa(low), strconv.Itoa(low + m.rng.Intn(300))}
	}
	amt := pick(m, "0", "0", strconv.Itoa(m.rng.Intn(2_000_000)), "none")
	methods := pick(m, []string{"pm", "SEPA"}, []string{"pm", "SEPA", "Revolut"}, []string{"pm", "Cash"}, []string{"pm", "CVU", "cvu"}, []string{"pm"})
	premium := pick(m, "0", "-2.5", "3", "7", "1.25", "0.3333333333", "oops")
	network := pick(m, "mainnet", "mainnet", "mainnet", "regtest")
	states := pick(m,
		[]string{"pending"}, []string{"pending", "in-progress", "success"}, []string{"pending", "in-progress", "success"},
		[]string{"pending", "canceled"}, []string{"pending", "expired"}, []string{"pending", "in-progress", "canceled"},
		[]string{"pending", "in-progress", "pending", "in-progress", "success"}, []string{"in-progress", "success"}, []string{"success"},
		[]string{"pending", "pending", "in-progress"}, []string{"pending", "teleported"}, []string{"pending", "success", "success"})
	ends := t + int64(m.rng.Intn(90_000))
	for i, state := range states {
		if i > 0 && m.rng.Intn(8) > 0 {
			t += int64(m.rng.Intn(40_000))
		}
		if state == "in-progress" && amt == "0" && m.rng.Intn(2) == 0 {
			amt = strconv.Itoa(1000 + m.rng.Intn(900_000))
			fa = []string{"fa", strconv.Itoa(1 + m.rng.Intn(500))} // the taker chose an amount of the range
		}
		tags := nostr.Tags{{"d", d}, {"k", side}, {"f", fiat}, {"s", state}, {"amt", amt}, fa, methods, {"premium", premium}, {"network", network},
			{"layer", "lightning"}, {"y", platform, "Node"}, {"z", "order"}}
		if m.rng.Intn(10) > 0 {
			tags = append(tags, nostr.Tag{"expires_at", strconv.FormatInt(ends, 10)})
		}
		m.event(author, mostro.KindOrder, t, tags, "")
		if state == "success" && m.rng.Intn(2) == 0 {
			for range 1 + m.rng.Intn(2) {
				m.fee(author, d, t+int64(m.rng.Intn(400))-20)
			}
		}
		if state == "success" && m.rng.Intn(2) == 0 {
			m.rates(author, t-pick(m, 0, 299, 300, 301, m.rng.Int63n(300)))
		}
	}
	for range max(0, m.rng.Intn(16)-13) {
		tag := nostr.Tag{"a", "38383:" + author + ":" + d}
		if m.rng.Intn(2) == 0 {
			tag = nostr.Tag{"e", m.entries[len(m.entries)-1].Event.ID}
		}
		m.event(author, mostro.KindDeletion, t+int64(m.rng.Intn(1000)), nostr.Tags{tag}, "")
	}
}

func (m *market) fee(author, order string, t int64) {
	m.event(author, mostro.KindDevFee, t, nostr.Tags{{"order-id", order}, {"amount", strconv.Itoa(m.rng.Intn(300))}, {"hash", m.hex(64)},
		{"destination", "dev@pay.mostro.foundation"}, {"network", "mainnet"}, {"y", "mostro"}, {"z", "dev-fee-payment"}}, "")
}

func (m *market) rates(author string, t int64) {
	m.event(author, mostro.KindAppData, t, nostr.Tags{{"d", "mostro-rates"}},
		fmt.Sprintf(`{"BTC":{"EUR":%d,"USD":%d,"ARS":%d}}`, 50_000+m.rng.Intn(10_000), 60_000+m.rng.Intn(9_000), 90_000_000+m.rng.Intn(1000)))
}

func (m *market) dispute() {
	author := m.authors[m.rng.Intn(len(m.authors))]
	t, d := m.start+m.rng.Int63n(m.span), m.hex(8)
	opened := t
	end := pick(m, "settled", "seller-refunded", "released", "cooperatively-canceled", "", "levitating")
	for i, state := range []string{"initiated", "in-progress", end} {
		if state == "" || i == 1 && m.rng.Intn(2) == 0 {
			continue
		}
		tags := nostr.Tags{{"d", d}, {"s", state}, {"initiator", "buyer"}, {"y", "mostro"}, {"z", "dispute"}}
		if m.rng.Intn(3) > 0 {
			tags = append(tags, nostr.Tag{pick(m, "created_at", "published_at"), strconv.FormatInt(opened, 10)})
		}
		m.event(author, mostro.KindDispute, t, tags, "")
		t += int64(m.rng.Intn(50_000))
	}
}

func (m *market) foreign() {
	author, t := pick(m, m.authors[0], m.hex(64)), m.start+m.rng.Int63n(m.span)
	switch m.rng.Intn(5) {
	case 0:
		m.event(author, mostro.KindOrder, t, nostr.Tags{{"d", "paygress:offer:v1:1"}, {"t", "paygress"}}, "{}")
	case 1:
		m.event(author, mostro.KindInfo, t, nostr.Tags{{"d", m.hex(16)}, {"y", "bondtrade"}, {"z", "assignment"}}, "")
	case 2:
		m.event(author, mostro.KindDispute, t, nostr.Tags{{"d", m.hex(16)}, {"y", "bondtrade"}, {"z", "settlement"}, {"s", "settled"}}, "")
	case 3:
		m.event(author, 1, t, nil, "hello")
	case 4:
		m.event(m.hex(64), mostro.KindAppData, t, nostr.Tags{{"d", "mostro-rates"}}, `{"BTC":{"EUR":1}}`) // no node
	}
}

// infos adds the infos of all nodes. They arrive in the order of their creation.
func (m *market) infos() (out []mostro.Entry) {
	held := m.entries
	m.entries = nil
	for a, author := range m.authors {
		if a%5 > 2 {
			continue
		}
		t := m.start - 1000
		for range m.rng.Intn(6) {
			m.event(author, mostro.KindInfo, t, nostr.Tags{{"d", author}, {"mostro_version", "0.20.2"}, {"fee", pick(m, "0", "0.006", "0.01")},
				{"bond_enabled", pick(m, "true", "false")}, {"y", "mostro"}, {"z", "info"}}, "")
			t += 1 + m.rng.Int63n(m.span/3)
		}
	}
	out, m.entries = m.entries, held
	sort.SliceStable(out, func(i, j int) bool { return out[i].Event.CreatedAt < out[j].Event.CreatedAt })
	return out
}

// randomMarket returns entries in the order of arrival, with seqs. The log appends no event
// that a deletion before it covers, so such events are left out.
func randomMarket(seed int64, orders, authors int) []mostro.Entry {
	m := &market{rng: rand.New(rand.NewSource(seed)), start: 1_780_000_000, span: 40 * 86400}
	for range authors {
		m.authors = append(m.authors, m.hex(64))
	}
	for range orders {
		m.order()
		switch m.rng.Intn(6) {
		case 0:
			m.dispute()
		case 1:
			m.foreign()
		case 2:
			m.fee(m.authors[m.rng.Intn(authors)], "unknown-"+m.hex(4), m.start+m.rng.Int63n(m.span))
		}
	}
	infos := m.infos()
	m.rng.Shuffle(len(m.entries), func(i, j int) { m.entries[i], m.entries[j] = m.entries[j], m.entries[i] })
	m.entries = mergeInfos(m, infos)
	deletedID, deletedAddress := map[string]bool{}, map[string]int64{}
	var out []mostro.Entry
	for _, e := range m.entries {
		address := "38383:" + e.Event.PubKey + ":" + e.Event.Tags.GetD()
		if e.Event.Kind == mostro.KindOrder && (deletedID[e.Event.PubKey+e.Event.ID] || int64(e.Event.CreatedAt) <= deletedAddress[address]) {
			continue
		}
		for _, tag := range e.Event.Tags {
			if e.Event.Kind != mostro.KindDeletion {
				break
			}
			if tag[0] == "e" {
				deletedID[e.Event.PubKey+tag[1]] = true
			} else {
				deletedAddress[tag[1]] = max(deletedAddress[tag[1]], int64(e.Event.CreatedAt))
			}
		}
		out = append(out, e)
		if m.rng.Intn(20) == 0 && e.Event.Kind != mostro.KindDevFee {
			out = append(out, e) // the same event again, under another seq
		}
	}
	for i := range out {
		out[i].Seq = uint64(i + 1)
	}
	return out
}

// mergeInfos puts infos at random places among the other entries, without changing their order.
func mergeInfos(m *market, infos []mostro.Entry) []mostro.Entry {
	places := make([]int, len(infos))
	for i := range places {
		places[i] = m.rng.Intn(len(m.entries) + 1)
	}
	slices.Sort(places)
	var out []mostro.Entry
	next := 0
	for i := 0; i <= len(m.entries); i++ {
		for next < len(infos) && places[next] == i {
			out = append(out, infos[next])
			next++
		}
		if i < len(m.entries) {
			out = append(out, m.entries[i])
		}
	}
	return out
}
