package demomarket

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// nature is the true behaviour of a Mostro.
type nature struct {
	id, name, about string
	currencies      []string
	perDay          float64 // mean number of orders
	complete        float64 // share of the taken orders that succeed
	omit            float64 // share of the taken orders whose end is never published
	dispute         float64 // share of the taken orders with a dispute
	takeHours       [2]int  // time until a solver takes a dispute, from and to
	solveHours      [2]int  // time from then until the decision
	users           float64 // mean rating, 0 to 1
	up              float64 // share of the time in which the host is there
	paysFund        float64 // share of the development fees that the fund really receives
	fee             string
	laterFee        string // fee from the middle of the script on; "" is no change
	maxSats         int64
	version         string
	bond            bool
}

// natures are the five Mostros, the best first. The newcomer is good and young.
var natures = []nature{
	{id: "good", name: "Mostro del Plata", about: "Buenos Aires and Montevideo since 2024", currencies: []string{"ARS", "USD", "BRL", "EUR"}, perDay: 13, complete: .98, dispute: .01,
		takeHours: [2]int{1, 6}, solveHours: [2]int{3, 20}, users: .95, up: .997, paysFund: 1, fee: "0.006", laterFee: "0.005", maxSats: 1_000_000, version: "0.20.0", bond: true},
	{id: "small", name: "Mostro Caribe", about: "Un Mostro pequeño para Venezuela, Cuba y Colombia", currencies: []string{"VES", "CUP", "USD", "COP"}, perDay: 7, complete: .95, dispute: .018,
		takeHours: [2]int{2, 10}, solveHours: [2]int{4, 30}, users: .90, up: .985, paysFund: 1, fee: "0.006", maxSats: 400_000, version: "0.19.2"},
	{id: "slow", name: "Mostro Lento", about: "One solver, evenings and weekends", currencies: []string{"EUR", "MXN", "VES"}, perDay: 7, complete: .92, dispute: .075,
		takeHours: [2]int{30, 66}, solveHours: [2]int{60, 120}, users: .68, up: .93, paysFund: 1, fee: "0.008", maxSats: 500_000, version: "0.18.5"},
	{id: "newcomer", name: "Mostro Nuevo", about: "Recién llegado", currencies: []string{"ARS", "VES", "COP"}, perDay: 7, complete: .97, dispute: .012,
		takeHours: [2]int{1, 8}, solveHours: [2]int{2, 20}, users: .93, up: .99, paysFund: 1, fee: "0.003", maxSats: 300_000, version: "0.20.0", bond: true},
	{id: "scammer", name: "Mostro del PIata", about: "Fast and cheap, no questions", currencies: []string{"ARS", "VES", "USD"}, perDay: 7, complete: .68, omit: .10, dispute: .16,
		takeHours: [2]int{40, 90}, solveHours: [2]int{60, 200}, users: .28, up: .80, paysFund: .3, fee: "0", maxSats: 3_000_000, version: "0.18.5"},
}

// untaken is the share of the orders that are never taken.
const untaken = .5

// host is one Mostro of the market.
type host struct {
	nature
	keys       *envelope.Keys
	random     *rand.Rand // of its orders
	beat       *rand.Rand // of its own events
	opens      time.Time
	generation int // arrivals and healths planned before the last Hurry are void
	seq        int64
	lightning  string
	lied       bool // the scammer has published two ends of one order
}

// orderLife is the life of a pending order.
const (
	orderLife = 24 * time.Hour
	retention = 30 * day
)

func (m *Market) addHost(n nature) {
	h := &host{nature: n, keys: keysOf(m.cfg.Seed, n.id), random: m.stream("orders " + n.id), beat: m.stream("beat " + n.id), opens: m.cfg.Start}
	h.lightning = "02" + keysOf(m.cfg.Seed, "lightning "+n.id).Pubkey()
	switch n.id {
	case "newcomer":
		h.opens = later(m.cfg.Start, m.cfg.Newcomer)
	case "scammer": // after the Mostro whose name it imitates
		h.opens = m.cfg.Start.Add(time.Hour)
	}
	m.hosts = append(m.hosts, h)
	m.plan(h.opens.Add(between(h.beat, 0, time.Minute)), func(at time.Time) { m.present(h, at) })
	m.plan(h.opens.Add(time.Minute), func(at time.Time) { m.inform(h, at) })
	m.planHealth(h, 0, h.opens)
	m.plan(h.opens.Add(2*time.Minute), func(at time.Time) { m.quote(h, at, true) })
	m.planArrival(h, 0, h.opens.Add(3*time.Minute))
}

// present publishes a host's profile and relays.
func (m *Market) present(h *host, at time.Time) {
	p := mostro.Profile{Name: h.name, About: h.about}
	m.put(h.keys, p.Event(), at)
	if m.cfg.Relay != "" {
		l := mostro.RelayList{Relays: []mostro.RelayUse{{URL: m.cfg.Relay, Read: true, Write: true}}}
		m.put(h.keys, l.Event(), at)
	}
}

// inform publishes a host's info, every hour in which the host is there.
func (m *Market) inform(h *host, at time.Time) {
	m.plan(at.Add(time.Hour), func(at time.Time) { m.inform(h, at) })
	if h.beat.Float64() >= h.up {
		return
	}
	fee := decimal(h.fee)
	if h.laterFee != "" && at.After(m.cfg.Level.Add(-20*day)) {
		fee = decimal(h.laterFee)
	}
	info := mostro.Info{
		Pubkey: h.keys.Pubkey(), Name: h.name, Version: h.version, MinOrderSats: new(int64(100)), MaxOrderSats: &h.maxSats,
		ExpirationHours: new(int64(24)), ExpirationSeconds: new(int64(900)), Currencies: h.currencies, MaxOrdersPerResponse: new(int64(10)),
		Fee: &fee, Pow: new(int64(0)), PowFirstContact: new(int64(0)), ProtocolVersion: 2, EscrowMode: "lightning",
		HoldInvoiceWindowSeconds: new(int64(300)), HoldInvoiceCLTVDelta: new(int64(144)), InvoiceWindowSeconds: new(int64(300)),
		LND: &mostro.LightningNode{Version: "0.20.1-beta", Pubkey: h.lightning, Alias: h.name, Chains: []string{"bitcoin"}, Networks: []string{"mainnet"}},
	}
	if h.bond {
		pct := decimal("0.01")
		info.Bond = &mostro.BondPolicy{Enabled: true, AmountPct: &pct, BaseSats: new(int64(1000)), ApplyTo: "both", SlashOnTimeout: new(false), PayoutClaimDays: new(int64(15))}
	} else {
		info.Bond = &mostro.BondPolicy{}
	}
	m.put(h.keys, info.Event(), at)
}

func (m *Market) planHealth(h *host, generation int, from time.Time) {
	m.plan(from.Add(between(h.beat, 0, min(m.pulse, 10*time.Second))), func(at time.Time) { m.health(h, generation, at) })
}

// health publishes a host's state.
func (m *Market) health(h *host, generation int, at time.Time) {
	if generation != h.generation {
		return
	}
	m.plan(at.Add(m.pulse), func(at time.Time) { m.health(h, generation, at) })
	if h.beat.Float64() >= h.up {
		return
	}
	h.seq++
	since := nostr.Timestamp(h.opens.Unix())
	checks := []mostro.HealthCheck{{Name: mostro.CheckLNDSync, State: mostro.CheckOK, Since: since}, {Name: mostro.CheckPayouts, State: mostro.CheckOK, Since: since},
		{Name: mostro.CheckRelays, State: mostro.CheckOK, Since: since}, {Name: mostro.CheckDatabase, State: mostro.CheckOK, Since: since}}
	if h.beat.Float64() > h.users { // an unhappy host has payouts that fail
		checks[1].State, checks[1].Since = mostro.CheckWarn, nostr.Timestamp(at.Add(-time.Minute).Unix())
	}
	state := mostro.Health{
		Pubkey: h.keys.Pubkey(), CreatedAt: nostr.Timestamp(at.Unix()), Name: h.name, Status: mostro.StatusOf(checks, false), Checks: checks, EscrowMode: "lightning",
		LND:         &mostro.HealthLND{BlockHeight: 840_000 + (at.Unix()-1_713_571_767)/600, Synced: true, Network: "mainnet"},
		Maintenance: new(false), Version: h.version, IntervalSeconds: new(int64(m.pulse / time.Second)), Seq: new(h.seq), Expiration: expiry(at, 3*m.pulse-time.Second),
	}
	m.put(h.keys, state.Event(), at)
}

// quote publishes a host's prices. If again is set, more follow: every three hours in the past, so
// that the past is small, and in every hour from its last day on. There is also one before each
// success.
func (m *Market) quote(h *host, at time.Time, again bool) {
	if again {
		every := 3 * time.Hour
		if at.After(m.cfg.Level.Add(-day)) {
			every = 50 * time.Minute
		}
		m.plan(at.Add(every), func(at time.Time) { m.quote(h, at, true) })
	}
	if h.id == "scammer" {
		return // it publishes no prices
	}
	r := mostro.Rates{BTC: m.rates(at), Sources: []string{"yadio"}, PublishedAt: nostr.Timestamp(at.Unix()), Expiration: expiry(at, time.Hour)}
	m.put(h.keys, r.Event(), at)
}

// deal is one order.
type deal struct {
	order  mostro.Order // as offered
	maker  *trader
	taker  *trader
	fiat   int64 // that the taker chose
	sats   int64
	hidden bool // the take shows no public state
	taken  time.Time
	random *rand.Rand // of all that happens to this order
}

func (m *Market) planArrival(h *host, generation int, from time.Time) {
	wait := exponential(h.random, time.Duration(float64(day)/(h.perDay*m.arrivals)))
	m.plan(from.Add(wait), func(at time.Time) { m.arrive(h, generation, at) })
}

// arrive publishes a new order and decides about its fate.
func (m *Market) arrive(h *host, generation int, at time.Time) {
	if generation != h.generation {
		return
	}
	m.planArrival(h, generation, at)
	r := rand.New(rand.NewPCG(h.random.Uint64(), h.random.Uint64()))
	d := m.newDeal(h, r, at)
	m.put(h.keys, d.order.Event(), at)
	switch p := r.Float64(); {
	case p < untaken/2: // withdrawn
		m.plan(at.Add(min(m.within(between(r, time.Hour, 20*time.Hour)), orderLife-time.Minute)), func(at time.Time) { m.show(h, d, mostro.StatusCanceled, at) })
	case p < untaken: // expires
		m.plan(at.Add(orderLife+between(r, time.Second, time.Minute)), func(at time.Time) { m.show(h, d, mostro.StatusCanceled, at) })
	default:
		m.plan(at.Add(m.within(max(4*time.Minute, min(exponential(r, 4*time.Hour), 20*time.Hour)))), func(at time.Time) { m.take(h, d, at) })
	}
}

func (m *Market) newDeal(h *host, r *rand.Rand, at time.Time) *deal {
	i, j := r.IntN(len(m.traders)), r.IntN(len(m.traders)-1)
	if j >= i {
		j++
	}
	d := &deal{maker: m.traders[i], taker: m.traders[j], random: r}
	code := h.currencies[min(r.IntN(len(h.currencies)), r.IntN(len(h.currencies)))] // the first ones are the more common
	sats := math.Exp(math.Log(3_000) + r.Float64()*math.Log(70))                    // 3,000 to 210,000
	if h.id == "scammer" && !at.Before(m.cfg.Exit) {
		sats = 2_000_000 + r.Float64()*900_000
	}
	premium := int64(math.Round(1.5 + 2*r.NormFloat64()))
	premium = max(-4, min(9, premium))
	price := m.price(code, at)
	low := roundFiat(sats / 1e8 * price)
	high := low
	d.fiat = low
	o := mostro.Order{
		Pubkey: h.keys.Pubkey(), D: uuid(r), InstanceName: h.name, Side: mostro.SideSell, Status: mostro.StatusPending, Fiat: code, AmountSats: new(int64(0)),
		PremiumPct: new(mostro.DecimalOf(premium)), Network: "mainnet", MakerRating: d.maker.rating(at), PublishedAt: nostr.Timestamp(at.Unix()), ExpiresAt: expiry(at, orderLife),
	}
	if r.IntN(100) < 45 {
		o.Side = mostro.SideBuy
	}
	d.hidden = o.Side == mostro.SideSell && r.IntN(100) < 20
	if r.IntN(100) < 30 {
		high = roundFiat(float64(low) * (2 + 3*r.Float64()))
		d.fiat = low + r.Int64N(high-low+1)
	}
	d.sats = max(100, int64(float64(d.fiat)/price*1e8*(1-float64(premium)/100)))
	if low == high && r.IntN(100) < 15 {
		o.AmountSats = &d.sats
	}
	lowest, highest := mostro.DecimalOf(low), mostro.DecimalOf(high)
	o.FiatAmount = mostro.Range{Min: &lowest, Max: &highest}
	list := methods[code]
	for _, k := range r.Perm(len(list))[:1+r.IntN(min(3, len(list)))] {
		o.Methods = append(o.Methods, list[k])
	}
	o.Expiration = o.ExpiresAt
	if m.cfg.Relay != "" {
		o.Link = mostro.OrderLink(o.D, []string{m.cfg.Relay}, o.Pubkey)
	}
	d.order = o
	return d
}

// standing are offers that are open at the end of the past, whatever else is: each common wish of a
// visitor finds one.
var standing = []struct {
	host, code string
	side       mostro.Side
	low, high  int64
	premium    int64
	method     string
}{
	{"small", "VES", mostro.SideSell, 200, 2_000, 2, "Pago Móvil"},
	{"small", "VES", mostro.SideBuy, 1_000, 8_000, -1, "Pago Móvil"},
	{"newcomer", "VES", mostro.SideSell, 400, 5_000, 1, "Banesco"},
	{"good", "ARS", mostro.SideSell, 20_000, 150_000, 1, "Mercado Pago"},
	{"good", "USD", mostro.SideSell, 20, 100, 3, "Zelle"},
	{"good", "EUR", mostro.SideBuy, 50, 50, 0, "SEPA instant"},
	{"slow", "EUR", mostro.SideSell, 20, 120, -1, "SEPA"},
	{"small", "CUP", mostro.SideSell, 2_000, 20_000, 2, "Transfermóvil"},
}

// planStanding plans the standing offers for the last hours of the past. No trader takes them, and
// they expire a day later.
func (m *Market) planStanding() {
	for i, s := range standing {
		for _, h := range m.hosts {
			if h.id != s.host {
				continue
			}
			m.plan(m.cfg.Level.Add(-time.Duration(i*23+7)*time.Minute), func(at time.Time) {
				r := m.stream(fmt.Sprint("standing ", i))
				d := m.newDeal(h, r, at)
				low, high := mostro.DecimalOf(s.low), mostro.DecimalOf(s.high)
				d.order.Fiat, d.order.Side, d.order.FiatAmount, d.order.AmountSats = s.code, s.side, mostro.Range{Min: &low, Max: &high}, new(int64(0))
				d.order.PremiumPct, d.order.Methods = new(mostro.DecimalOf(s.premium)), []string{s.method}
				m.put(h.keys, d.order.Event(), at)
				m.plan(at.Add(orderLife+time.Second), func(at time.Time) { m.show(h, d, mostro.StatusCanceled, at) })
			})
		}
	}
}

// show publishes a later version of an order.
func (m *Market) show(h *host, d *deal, status mostro.Status, at time.Time) {
	o := d.order
	o.Status, o.Expiration = status, expiry(at, retention)
	if !d.taken.IsZero() {
		fiat := mostro.DecimalOf(d.fiat)
		o.FiatAmount, o.AmountSats = mostro.Range{Min: &fiat, Max: &fiat}, &d.sats
	}
	m.put(h.keys, o.Event(), at)
}

// take publishes that an order is taken, and decides how the trade ends.
func (m *Market) take(h *host, d *deal, at time.Time) {
	d.taken = at
	r := d.random
	disputed, good, omitted := r.Float64() < h.dispute, r.Float64() < h.complete, r.Float64() < h.omit
	if !d.hidden || disputed || !good {
		m.show(h, d, mostro.StatusInProgress, at)
	}
	switch {
	case disputed:
		m.plan(at.Add(m.within(between(r, 20*time.Minute, 90*time.Minute))), func(at time.Time) { m.dispute(h, d, at) })
	case omitted: // the seller's sats are gone, and the host is silent
	case good:
		end := at.Add(m.within(between(r, 8*time.Minute, 70*time.Minute)))
		m.plan(end.Add(-30*time.Second), func(at time.Time) { m.quote(h, at, false) })
		m.plan(end, func(at time.Time) { m.succeed(h, d, at) })
	default: // a failure, later than both sides have time for their duties
		m.plan(at.Add(between(r, 35*time.Minute, 3*time.Hour)), func(at time.Time) { m.fail(h, d, at) })
	}
}

// dispute opens a dispute, and plans the solver and the decision.
func (m *Market) dispute(h *host, d *deal, at time.Time) {
	r := d.random
	q := mostro.Dispute{D: uuid(r), State: mostro.DisputeStateInitiated, Initiator: "buyer", OpenedAt: nostr.Timestamp(at.Unix()), InstanceName: h.name, Expiration: expiry(at, 3*retention)}
	if r.IntN(3) == 0 {
		q.Initiator = "seller"
	}
	m.put(h.keys, q.Event(), at)
	hours := func(span [2]int) time.Duration {
		return between(r, time.Duration(span[0])*time.Hour, time.Duration(span[1])*time.Hour)
	}
	taken := at.Add(hours(h.takeHours))
	m.plan(taken, func(at time.Time) {
		q.State = mostro.DisputeStateInProgress
		m.put(h.keys, q.Event(), at)
	})
	m.plan(taken.Add(hours(h.solveHours)), func(at time.Time) {
		ends := []mostro.DisputeState{mostro.DisputeStateSettled, mostro.DisputeStateSettled, mostro.DisputeStateSellerRefunded, mostro.DisputeStateReleased, mostro.DisputeStateCooperativelyCanceled}
		q.State = ends[r.IntN(len(ends))]
		m.put(h.keys, q.Event(), at)
		if q.State == mostro.DisputeStateSettled || q.State == mostro.DisputeStateReleased {
			m.succeed(h, d, at)
		} else {
			m.fail(h, d, at)
		}
	})
}

// fail publishes the end of a trade without success.
func (m *Market) fail(h *host, d *deal, at time.Time) {
	m.show(h, d, mostro.StatusCanceled, at)
	if h.id == "scammer" && !h.lied && at.After(m.cfg.Exit) { // once it tells two stories of one second
		h.lied = true
		m.show(h, d, mostro.StatusSuccess, at)
	}
}

// succeed publishes a success, and plans the fee and the ratings.
func (m *Market) succeed(h *host, d *deal, at time.Time) {
	r := d.random
	m.show(h, d, mostro.StatusSuccess, at)
	settled := at
	m.plan(at.Add(between(r, 5*time.Second, 90*time.Second)), func(at time.Time) { m.devFee(h, d, at) })
	for i, t := range []*trader{d.maker, d.taker} {
		role := receipt.RoleSeller
		if (i == 0) == (d.order.Side == mostro.SideBuy) {
			role = receipt.RoleBuyer
		}
		if r.Float64() < .6 {
			m.plan(at.Add(m.within(between(r, time.Minute, 40*time.Minute))), func(at time.Time) { m.rateUser(h, t, r, at) })
		}
		if r.Float64() < .45 {
			m.plan(at.Add(m.within(between(r, 2*time.Minute, 3*time.Hour))), func(at time.Time) { m.rateHost(h, d, role, settled, at) })
		}
	}
}

// devFee publishes the record of a development fee. Whether the fund receives it depends on the
// host.
func (m *Market) devFee(h *host, d *deal, at time.Time) {
	fee := decimal(h.fee).Float()
	sats := int64(math.Round(math.Round(float64(d.sats)*max(fee, .006)) * .3))
	f := mostro.DevFee{OrderID: d.order.D, AmountSats: max(1, sats), Hash: hexOf(d.random, 32), Destination: "dev@fund.example", Network: "mainnet", InstanceName: h.name, Expiration: expiry(at, 365*day)}
	m.put(h.keys, f.Event(), at)
	if d.random.Float64() < h.paysFund {
		m.paid = append(m.paid, payment{f.Hash, h.keys.Pubkey(), f.AmountSats})
	}
}

// rateUser publishes the other party's opinion about a trader, under the key of the trade.
func (m *Market) rateUser(h *host, t *trader, r *rand.Rand, at time.Time) {
	vote := stars(r, t.honesty)
	t.vote(vote)
	u := mostro.UserRating{D: hexOf(r, 32), TotalReviews: new(t.reviews), TotalRating: new(t.mean), LastRating: new(int64(vote)), MaxRate: new(t.most), MinRate: new(t.least),
		Days: new(t.days(at)), Expiration: expiry(at, 3*retention)}
	m.put(h.keys, u.Event(), at)
}

// rateHost publishes a trader's opinion about a host, with the host's receipt.
func (m *Market) rateHost(h *host, d *deal, role string, settled, at time.Time) {
	r := d.random
	var secret [32]byte
	if _, err := (source{r}).Read(secret[:]); err != nil {
		panic(err) // source has no errors
	}
	rater, err := envelope.KeysFromSecret(secret)
	if err != nil {
		panic(err) // probability 2^-128
	}
	proof, err := receipt.Statement{Node: h.keys.Pubkey(), Rater: rater.Pubkey(), Order: d.order.D, Role: role, BandSats: receipt.AmountBand(d.sats), Day: receipt.SettleDay(settled)}.Sign(h.keys, source{r})
	if err != nil {
		panic(err) // every field was made here
	}
	vote := stars(r, h.users)
	rating := mostro.HostRating{D: "mostro:" + d.order.D, Platform: mostro.PlatformMostro, Host: h.keys.Pubkey(), Rating: decimal(strconv.FormatFloat(float64(vote)/5, 'f', -1, 64)),
		Receipt: proof, Role: role, Order: d.order.Address()}
	if r.IntN(3) == 0 {
		rating.Text = opinions[min(4, max(0, vote-1))][r.IntN(len(opinions[0]))]
	}
	m.put(rater, rating.Event(), at)
}

// opinions are texts of ratings by stars.
var opinions = [5][]string{
	{"Me robaron los sats", "Dispute open for days, nobody answers", "No vuelvo"},
	{"Muy lento", "The solver took three days", "Mala experiencia"},
	{"Regular", "Worked in the end", "Tardó bastante"},
	{"Bien", "Good, a bit slow", "Recomendable"},
	{"Excelente", "Fast and fair", "Todo perfecto, gracias"},
}

// stars draws one to five stars with a mean from 0 to 1.
func stars(r *rand.Rand, mean float64) int {
	n := 1
	for range 4 {
		if r.Float64() < (mean-.2)/.8 {
			n++
		}
	}
	return n
}

// roundFiat rounds to two digits, as people do.
func roundFiat(x float64) int64 {
	unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Max(1, x)))-1))
	return max(1, int64(math.Round(x/unit)*unit))
}

var methods = map[string][]string{
	"VES": {"Pago Móvil", "Banesco", "Mercantil", "Zinli", "Efectivo"},
	"ARS": {"Mercado Pago", "MODO", "CVU", "Transferencia bancaria", "Lemon"},
	"EUR": {"SEPA", "SEPA instant", "Bizum", "Revolut", "Wise"},
	"USD": {"Zelle", "Cash App", "Wise", "Strike"},
	"CUP": {"Transfermóvil", "EnZona", "Saldo móvil"},
	"BRL": {"PIX", "Mercado Pago", "PicPay"},
	"COP": {"Nequi", "Daviplata", "Bancolombia", "Bre-B"},
	"MXN": {"SPEI", "OXXO", "Mercado Pago"},
}

// traderCount is the number of traders.
const traderCount = 40

// trader is one person that makes and takes orders at all hosts.
type trader struct {
	honesty     float64
	since       time.Time
	reviews     int64
	mean        float64
	most, least int64
}

func newTrader(r *rand.Rand, i int, start time.Time) *trader {
	t := &trader{honesty: math.Min(.99, .7+.3*r.Float64()), since: start.Add(-between(r, 0, 400*day))}
	if i%5 > 0 { // a fifth is new
		for range 1 + r.IntN(25) {
			t.vote(stars(r, t.honesty))
		}
	} else {
		t.since = start
	}
	return t
}

// vote counts a vote as a Mostro does: the first one counts half.
func (t *trader) vote(stars int) {
	t.reviews++
	if t.reviews == 1 {
		t.mean, t.most, t.least = float64(stars)/2, int64(stars), int64(stars)
		return
	}
	t.mean += (float64(stars) - t.mean) / float64(t.reviews)
	t.most, t.least = max(t.most, int64(stars)), min(t.least, int64(stars))
}

func (t *trader) days(at time.Time) int64 { return max(0, int64(at.Sub(t.since)/day)) }

func (t *trader) rating(at time.Time) *mostro.MakerRating {
	r := &mostro.MakerRating{Reviews: new(t.reviews), Days: new(t.days(at)), Since: nostr.Timestamp(t.since.Unix()), Max: 5}
	if t.reviews > 0 {
		r.Mean = new(math.Round(t.mean*100) / 100)
	}
	return r
}
