package corpus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/mostro"
)

// currency is one currency of the market: its share of the orders (per 1,000), its
// invented number of units per dollar, and its payment methods.
type currency struct {
	code    string
	weight  int
	perUSD  float64
	methods []string
}

var currencies = []currency{
	{"VES", 190, 40, []string{"Pago Móvil", "Transferencia bancaria", "Banesco", "Mercantil", "Efectivo", "Zinli"}},
	{"ARS", 160, 1000, []string{"Mercado Pago", "MODO", "CVU", "CBU", "Belo", "Lemon", "Transferencia bancaria"}},
	{"EUR", 145, 0.92, []string{"SEPA", "SEPA instant", "Bizum", "Revolut", "MB WAY", "Wise", "Überweisung", "Virement bancaire", "Efectivo Móvil BBVA"}},
	{"USD", 125, 1, []string{"Zelle", "Cash App", "Revolut", "Strike", "Wise", "USDT - TRC20", "Cash by mail"}},
	{"CUP", 110, 300, []string{"Transfermóvil", "EnZona", "Efectivo", "Saldo móvil"}},
	{"BRL", 80, 5.5, []string{"PIX", "Transferência bancária", "Mercado Pago", "PicPay", "DePix"}},
	{"COP", 60, 4200, []string{"Nequi", "Daviplata", "Bancolombia", "Bre-B"}},
	{"MXN", 45, 18, []string{"SPEI", "OXXO", "Mercado Pago", "Depósito en efectivo"}},
	{"BOB", 22, 7, []string{"QR Simple", "Tigo Money", "Transferencia bancaria"}},
	{"PEN", 14, 3.7, []string{"Yape", "Plin", "Interbank"}},
	{"CLP", 13, 950, []string{"Transferencia bancaria", "Mach", "Depósito BancoEstado"}},
	{"GBP", 10, 0.78, []string{"Faster Payments", "Revolut", "Monzo"}},
	{"CHF", 8, 0.88, []string{"TWINT", "Revolut", "Überweisung"}},
	{"NGN", 8, 1500, []string{"Bank transfer", "OPay"}},
	{"KES", 6, 130, []string{"M-Pesa", "Airtel Money"}},
	{"INR", 3, 84, []string{"UPI", "IMPS"}},
	{"XAF", 1, 605, []string{"Orange Money", "MTN MoMo", "Espèces"}},
}

const satsPerUSD = 1000

func drawCurrency(r *rand.Rand) currency {
	n := r.IntN(1000)
	for _, c := range currencies {
		if n -= c.weight; n < 0 {
			return c
		}
	}
	return currencies[len(currencies)-1]
}

// event returns the event of a step and the index of the instance that signs it.
func (c *Corpus) event(st step) (nostr.Event, int) {
	subject := int(st.subject)
	at := nostr.Timestamp(st.at)
	switch st.what {
	case whatProfile:
		in := c.instances[subject]
		p := mostro.Profile{Pubkey: in.Pubkey, CreatedAt: at, Name: in.Name, About: "A Mostro of a synthetic market", Website: "https://" + in.Pubkey[:8] + ".example/"}
		return p.Event(), subject
	case whatRelays:
		in := c.instances[subject]
		l := mostro.RelayList{Pubkey: in.Pubkey, CreatedAt: at}
		for _, url := range in.Relays {
			l.Relays = append(l.Relays, mostro.RelayUse{URL: url, Read: true, Write: true})
		}
		return l.Event(), subject
	case whatInfo:
		info := c.instances[subject].info(c.cfg)
		info.CreatedAt = at
		return info.Event(), subject
	case whatDispute:
		return c.dispute(subject, int(st.n))
	case whatDevFee:
		return c.devFee(subject, at)
	case whatUserRating:
		return c.userRating(subject, at)
	}
	return c.order(subject, int(st.n))
}

func (in *instance) info(cfg Config) mostro.Info {
	lnd := sha256.Sum256([]byte(in.Pubkey))
	info := mostro.Info{
		Pubkey: in.Pubkey, Name: in.Name, Version: "0.18.5", Commit: hex.EncodeToString(lnd[:20]),
		MinOrderSats: new(int64(100)), MaxOrderSats: new(in.maxSats),
		ExpirationHours: new(int64(math.Ceil(cfg.PendingFor.Hours()))), ExpirationSeconds: new(int64(900)),
		Currencies: in.currencies, AnyCurrency: len(in.currencies) == 0, MaxOrdersPerResponse: new(int64(10)),
		Fee: &in.fee, Pow: new(int64(0)), PowFirstContact: new(int64(0)), ProtocolVersion: 2,
		HoldInvoiceWindowSeconds: new(int64(300)), HoldInvoiceCLTVDelta: new(int64(144)), InvoiceWindowSeconds: new(int64(300)),
		LND: &mostro.LightningNode{
			Version: "0.20.1-beta commit=v0.20.1-beta", Pubkey: "02" + hex.EncodeToString(lnd[:]), Commit: hex.EncodeToString(lnd[:20]),
			Alias: "node-" + in.Pubkey[:8], Chains: []string{"bitcoin"}, Networks: []string{in.Network},
			URIs: []string{"02" + hex.EncodeToString(lnd[:]) + "@203.0.113.5:9735"},
		},
		Bond: &mostro.BondPolicy{Enabled: in.bonds},
	}
	if in.bonds {
		pct, _ := mostro.ParseDecimal("0.01") // constants always parse
		share, _ := mostro.ParseDecimal("0.5")
		info.Bond.AmountPct, info.Bond.SlashNodeShare = &pct, &share
		info.Bond.BaseSats, info.Bond.ApplyTo = new(int64(1000)), "both"
		info.Bond.SlashOnTimeout, info.Bond.PayoutClaimDays = new(false), new(int64(15))
	}
	return info
}

// terms are the conditions of an order, the same in all of its versions.
type terms struct {
	id       string
	side     mostro.Side
	currency currency
	low      int64 // fiat
	high     int64 // fiat; equal to low if the order has no range
	taken    int64 // fiat amount that the taker chose
	sats     int64 // of the taken amount
	fixed    bool  // the maker set the sats
	premium  int64
	methods  []string
	rating   *mostro.MakerRating
}

func (c *Corpus) terms(order int) terms {
	r := c.random(2, order)
	in := &c.instances[c.life(order).instance]
	t := terms{id: uuid(r), side: mostro.SideSell, currency: drawCurrency(r)}
	for !in.accepts(t.currency.code) {
		t.currency = drawCurrency(r) // the loop ends, because every instance takes the common currencies
	}
	if r.IntN(100) < 45 {
		t.side = mostro.SideBuy
	}
	usd := math.Exp(math.Log(5) + r.Float64()*math.Log(100)) // 5 to 500, evenly in the logarithm
	t.low = roundFiat(usd * t.currency.perUSD)
	t.high, t.taken = t.low, t.low
	if r.IntN(100) < 40 {
		t.high = roundFiat(float64(t.low) * (2 + 4*r.Float64()))
		t.taken = t.low + r.Int64N(t.high-t.low+1)
	}
	t.premium = max(-5, min(15, int64(math.Round(1.5+2.5*r.NormFloat64()))))
	t.sats = max(1, int64(float64(t.taken)/t.currency.perUSD*satsPerUSD*(1-float64(t.premium)/100)))
	t.fixed = t.low == t.high && r.IntN(100) < 15
	methods := t.currency.methods
	for _, k := range r.Perm(len(methods))[:1+r.IntN(min(4, len(methods)))] {
		t.methods = append(t.methods, methods[k])
	}
	t.rating = &mostro.MakerRating{Days: new(int64(0)), Reviews: new(int64(0))}
	if r.IntN(100) < 80 {
		reviews := 1 + int64(r.ExpFloat64()*12)
		// A first vote counts half; later means are fractions of their count.
		mean := 2.5
		if reviews > 1 {
			mean = 5 - float64(r.Int64N(2*reviews))/float64(reviews)
		}
		t.rating = &mostro.MakerRating{Days: new(r.Int64N(400)), Reviews: &reviews, Mean: &mean}
	}
	return t
}

// roundFiat rounds to two significant digits, as people do, and returns at least 1.
func roundFiat(x float64) int64 {
	unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Max(1, x)))-1))
	return max(1, int64(math.Round(x/unit)*unit))
}

// uuid draws a version 4 UUID.
func uuid(r *rand.Rand) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func (c *Corpus) order(order, n int) (nostr.Event, int) {
	l, t := c.life(order), c.terms(order)
	in, v := &c.instances[l.instance], l.versions[n]
	o := mostro.Order{
		Pubkey: in.Pubkey, D: t.id, CreatedAt: nostr.Timestamp(v.at), InstanceName: in.Name, Side: t.side, Status: v.status,
		Fiat: t.currency.code, AmountSats: new(int64(0)), PremiumPct: new(mostro.DecimalOf(t.premium)), Methods: t.methods,
		Network: in.Network, MakerRating: t.rating, Link: mostro.OrderLink(t.id, in.Relays, in.Pubkey),
	}
	low, high := mostro.DecimalOf(t.low), mostro.DecimalOf(t.high)
	// A cancelled order keeps the taken amount only if it was taken.
	if v.status == mostro.StatusPending || v.status == mostro.StatusCanceled && !l.taken {
		o.FiatAmount = mostro.Range{Min: &low, Max: &high}
		if t.fixed {
			o.AmountSats = &t.sats
		}
	} else {
		taken := mostro.DecimalOf(t.taken)
		o.FiatAmount, o.AmountSats = mostro.Range{Min: &taken, Max: &taken}, &t.sats
	}
	o.ExpiresAt = c.expiry(l.versions[0].at, c.cfg.PendingFor)
	o.Expiration = o.ExpiresAt
	if v.status != mostro.StatusPending {
		o.Expiration = c.expiry(v.at, retention)
	}
	return o.Event(), l.instance
}

// expiry returns the time of an expiration: at plus after, and a year more if Unexpired
// is set.
func (c *Corpus) expiry(at int64, after time.Duration) nostr.Timestamp {
	if c.cfg.Unexpired {
		after += year
	}
	return nostr.Timestamp(at + int64(after/time.Second))
}

func (c *Corpus) dispute(order, n int) (nostr.Event, int) {
	l := c.life(order)
	r := c.random(3, order)
	in, v := &c.instances[l.instance], l.disputes[n]
	d := mostro.Dispute{
		Pubkey: in.Pubkey, D: uuid(r), CreatedAt: nostr.Timestamp(v.at), State: v.state, Initiator: "buyer",
		OpenedAt: nostr.Timestamp(l.disputes[0].at), InstanceName: in.Name, Expiration: c.expiry(v.at, 3*retention),
	}
	if r.IntN(2) == 0 {
		d.Initiator = "seller"
	}
	return d.Event(), l.instance
}

func (c *Corpus) devFee(order int, at nostr.Timestamp) (nostr.Event, int) {
	l, t := c.life(order), c.terms(order)
	in := &c.instances[l.instance]
	hash := sha256.Sum256([]byte("corpus dev fee " + t.id))
	// The two halves of the node's fee, and the share that upstream receives.
	amount := math.Round(2 * math.Round(in.fee.Float()*float64(t.sats)/2) * 0.3)
	fee := mostro.DevFee{
		Pubkey: in.Pubkey, CreatedAt: at, OrderID: t.id, AmountSats: max(1, int64(amount)), Hash: hex.EncodeToString(hash[:]),
		Destination: "dev@fund.example", Network: in.Network, InstanceName: in.Name, Expiration: c.expiry(int64(at), year),
	}
	return fee.Event(), l.instance
}

func (c *Corpus) userRating(order int, at nostr.Timestamp) (nostr.Event, int) {
	l, t := c.life(order), c.terms(order)
	r := c.random(4, order)
	trade := sha256.Sum256([]byte("corpus trade key " + strconv.FormatInt(c.cfg.Seed, 10) + t.id))
	mean := 2.5
	if t.rating.Mean != nil {
		mean = *t.rating.Mean
	}
	rating := mostro.UserRating{
		Pubkey: c.instances[l.instance].Pubkey, D: hex.EncodeToString(trade[:]), CreatedAt: at,
		TotalReviews: new(*t.rating.Reviews + 1), TotalRating: &mean, LastRating: new(4 + r.Int64N(2)),
		MaxRate: new(int64(5)), MinRate: new(1 + r.Int64N(4)), Days: t.rating.Days, Expiration: c.expiry(int64(at), 3*retention),
	}
	return rating.Event(), l.instance
}
