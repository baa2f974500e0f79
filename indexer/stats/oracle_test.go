package stats

import (
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// oracle recomputes metrics from entries in the plainest way: it keeps parsed events and
// walks over all of them for every metric. It shares no code with the Collector but the
// parsers of package mostro.
type oracle struct {
	orders   map[string][]oracleVersion // by author and d, sorted
	fees     []oracleFee
	disputes map[string][]oracleDispute
	infos    map[string][]mostro.Info // sorted by created_at
	rates    map[string][]oracleRates // by author, sorted
	events   map[string][]int64       // created_at of the events that count, by author
}

type oracleVersion struct {
	mostro.Order
	received  int64
	live      bool
	deletedAt int64 // 0 none
	seq       uint64
}

type oracleFee struct {
	mostro.DevFee
	received int64
	live     bool
	seq      uint64
}

type oracleDispute struct {
	mostro.Dispute
	received int64
	live     bool
	seq      uint64
}

type oracleRates struct {
	at     int64
	prices map[string]float64
}

func oracleStatus(s mostro.Status) mostro.Status {
	if s == mostro.StatusExpired {
		return mostro.StatusCanceled
	}
	return s
}

// newOracle reads entries in the order of their arrival. Of the orders, fees and disputes, those whose
// ids are banned do not count.
func newOracle(entries []mostro.Entry, banned ...string) *oracle {
	o := &oracle{orders: map[string][]oracleVersion{}, disputes: map[string][]oracleDispute{}, infos: map[string][]mostro.Info{}, rates: map[string][]oracleRates{}, events: map[string][]int64{}}
	seqs, ids := map[uint64]bool{}, map[string]bool{}
	isMostro, currencies := map[string]bool{}, map[string]bool{"USD": true, "EUR": true}
	for i := range entries {
		e := &entries[i]
		if seqs[e.Seq] || ids[e.Event.ID] {
			continue
		}
		seqs[e.Seq], ids[e.Event.ID] = true, true
		origin := e.Source.Origin
		live := origin == mostro.OriginClient || origin == mostro.OriginSelf || origin == mostro.OriginLive
		received, author := e.ReceivedAt.Unix(), e.Event.PubKey
		seen := func() { o.events[author] = append(o.events[author], int64(e.Event.CreatedAt)) }
		if order, err := mostro.ParseOrder(e.Event); err == nil && order.Status != mostro.StatusUnknown {
			if e.Erased {
				order.Methods = nil
			}
			seen()
			isMostro[author] = isMostro[author] || order.Platform == mostro.PlatformMostro
			currencies[order.Fiat] = true
			key := author + order.D
			if !slices.Contains(banned, e.Event.ID) {
				o.orders[key] = append(o.orders[key], oracleVersion{order, received, live, 0, e.Seq})
			}
		}
		if fee, err := mostro.ParseDevFee(e.Event); err == nil {
			seen()
			isMostro[author] = true
			if !slices.Contains(banned, e.Event.ID) {
				o.fees = append(o.fees, oracleFee{fee, received, live, e.Seq})
			}
		}
		if d, err := mostro.ParseDispute(e.Event); err == nil {
			seen()
			isMostro[author] = true
			if !slices.Contains(banned, e.Event.ID) {
				o.disputes[author+d.D] = append(o.disputes[author+d.D], oracleDispute{d, received, live, e.Seq})
			}
		}
		if info, err := mostro.ParseInfo(e.Event); err == nil {
			seen()
			isMostro[author] = true
			o.infos[author] = append(o.infos[author], info)
		}
		if mostro.Classify(e.Event) == mostro.ClassHealth {
			seen()
			isMostro[author] = true
		}
		if rates, err := mostro.ParseRates(e.Event); err == nil && isMostro[author] {
			seen()
			r := oracleRates{int64(rates.CreatedAt), map[string]float64{}}
			for code, price := range rates.BTC {
				if currencies[code] {
					r.prices[code] = price
				}
			}
			o.rates[author] = append(o.rates[author], r)
		}
		if e.Event.Kind == mostro.KindDeletion {
			o.delete(e)
		}
	}
	for _, versions := range o.orders {
		sort.SliceStable(versions, func(i, j int) bool {
			a, b := versions[i], versions[j]
			return a.CreatedAt < b.CreatedAt || a.CreatedAt == b.CreatedAt && a.EventID > b.EventID
		})
	}
	for _, versions := range o.disputes {
		sort.SliceStable(versions, func(i, j int) bool {
			a, b := versions[i], versions[j]
			return a.CreatedAt < b.CreatedAt || a.CreatedAt == b.CreatedAt && a.EventID > b.EventID
		})
	}
	for _, infos := range o.infos {
		sort.SliceStable(infos, func(i, j int) bool { return infos[i].CreatedAt < infos[j].CreatedAt })
	}
	return o
}

func (o *oracle) delete(e *mostro.Entry) {
	at := int64(e.Event.CreatedAt)
	for key, versions := range o.orders {
		var kept []oracleVersion
		for _, v := range versions {
			doomed := false
			for _, tag := range e.Event.Tags {
				doomed = doomed || tag[0] == "e" && tag[1] == v.EventID ||
					tag[0] == "a" && tag[1] == "38383:"+v.Pubkey+":"+v.D && int64(v.CreatedAt) <= at
			}
			if doomed && v.Pubkey == e.Event.PubKey {
				if v.Platform != mostro.PlatformMostro && v.Platform != "" {
					continue
				}
				v.Methods = nil
				if v.deletedAt == 0 || at < v.deletedAt {
					v.deletedAt = at
				}
			}
			kept = append(kept, v)
		}
		if o.orders[key] = kept; len(kept) == 0 {
			delete(o.orders, key)
		}
	}
}

// newest returns the last version of a list, the one that a relay serves.
func newest(versions []oracleVersion) oracleVersion { return versions[len(versions)-1] }

func (o *oracle) matches(v oracleVersion, f Filter) bool {
	for dim, values := range f {
		if len(values) == 0 {
			continue
		}
		ok := false
		for _, value := range values {
			switch dim {
			case ByInstance:
				ok = ok || v.Pubkey == value
			case ByFiat:
				ok = ok || strings.EqualFold(v.Fiat, value)
			case BySide:
				ok = ok || string(v.Side) == value
			case ByPlatform:
				ok = ok || strings.EqualFold(v.Platform, value)
			case ByNetwork:
				ok = ok || strings.EqualFold(v.Network, value)
			case ByMethod:
				ok = ok || slices.ContainsFunc(v.Methods, func(m string) bool { return strings.EqualFold(m, value) })
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// first returns the time of the first version with one of the statuses, 0 for none.
func first(versions []oracleVersion, clock Clock, statuses ...mostro.Status) int64 {
	var out int64
	for _, v := range versions {
		if len(statuses) > 0 && !slices.Contains(statuses, oracleStatus(v.Status)) {
			continue
		}
		t := int64(v.CreatedAt)
		if clock == Witnessed {
			if !v.live {
				continue
			}
			t = v.received
		}
		if out == 0 || t < out {
			out = t
		}
	}
	return out
}

// bookAt replays the versions of an order up to t, and returns the one in force.
func bookAt(versions []oracleVersion, t int64, clock Clock) (oracleVersion, bool) {
	var current *oracleVersion
	for i := range versions {
		v := &versions[i]
		if clock == Signed && int64(v.CreatedAt) <= t || clock == Witnessed && v.live && v.received <= t {
			current = v // the list is sorted
		}
	}
	if current == nil || current.deletedAt != 0 && current.deletedAt <= t {
		return oracleVersion{}, false
	}
	return *current, true
}

func rank(sample []float64, p float64) any {
	if len(sample) == 0 {
		return nil
	}
	sort.Float64s(sample)
	i := int(math.Ceil(p*float64(len(sample)) - 1e-9))
	return sample[max(1, i)-1]
}

func div(a, b float64) any {
	if b == 0 {
		return nil
	}
	return a / b
}

func average(sample []float64) any {
	total := 0.0
	for _, v := range sample {
		total += v
	}
	return div(total, float64(len(sample)))
}

func hhiTop(amounts map[string]float64) (hhi, top any) {
	total := 0.0
	var list []float64
	for _, a := range amounts {
		total += a
		list = append(list, a)
	}
	if total == 0 {
		return nil, nil
	}
	sort.Sort(sort.Reverse(sort.Float64Slice(list)))
	h, three := 0.0, 0.0
	for i, a := range list {
		h += a / total * a / total
		if i < 3 {
			three += a / total
		}
	}
	return h, three
}

func (o *oracle) feeInForce(author string, t int64) float64 {
	fee := 0.0
	for i, info := range o.infos[author] {
		if i == 0 || int64(info.CreatedAt) <= t {
			fee = 0
			if info.Fee != nil {
				fee = info.Fee.Float()
			}
		}
	}
	return fee
}

// rateFor returns the price for a trade of an author at t.
func (o *oracle) rateFor(author, code string, t, maxAge int64) (price float64, age int64, other, ok bool) {
	bestAge := int64(-1)
	for pass := 0; pass < 2; pass++ {
		for node, tables := range o.rates {
			if (pass == 0) != (node == author) {
				continue
			}
			at := int64(-1)
			var p float64
			for _, table := range tables {
				if v, ok := table.prices[code]; ok && table.at <= t && (table.at > at || table.at == at && v < p) {
					at, p = table.at, v
				}
			}
			if at < 0 || t-at > maxAge {
				continue
			}
			if bestAge < 0 || t-at < bestAge || t-at == bestAge && p < price {
				bestAge, price = t-at, p
			}
		}
		if bestAge >= 0 {
			return price, bestAge, pass == 1, true
		}
	}
	return 0, 0, false, false
}

// reference returns the median of the newest price of each node with an info event that is at
// most an hour old at t, or NaN.
func (o *oracle) reference(code string, t int64) float64 {
	var prices []float64
	for node, tables := range o.rates {
		at, price := int64(-1), math.NaN()
		for _, table := range tables {
			if p, ok := table.prices[code]; ok && table.at <= t && t-table.at <= 3600 && (table.at > at || table.at == at && p < price) {
				at, price = table.at, p
			}
		}
		if at >= 0 && len(o.infos[node]) > 0 {
			prices = append(prices, price)
		}
	}
	if len(prices) == 0 {
		return math.NaN()
	}
	return middleOf(prices).(float64)
}

func prevWindow(from, until int64) int64 {
	a, b := time.Unix(from, 0).UTC(), time.Unix(until, 0).UTC()
	if a.Day() == 1 && a.Hour() == 0 && a.Minute() == 0 && a.Second() == 0 && a.AddDate(0, 1, 0).Equal(b) {
		return a.AddDate(0, -1, 0).Unix()
	}
	return from - (until - from)
}

// figures computes all metrics of a window, by name. A nil value is null. The values of
// metrics about disputes and instances are absent if the filter excludes them.
func (o *oracle) figures(q Query) map[string]any {
	out := map[string]any{}
	from, until, before := q.From, q.Until, prevWindow(q.From, q.Until)
	in := func(t, a, b int64) bool { return t != 0 && t >= a && t < b }
	set := func(name string, v any) {
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			v = nil
		}
		out[name] = v
	}
	var created, completed, canceled, createdBefore, completedBefore, abandoned, open, progress, left, ageSum float64
	var funnelTaken, funnelUntaken, funnelCanceled, funnelDone, funnelOpen, market, ranged float64
	var sats, buy, sell, priced, buyOrders, chargeable, paid, unpriced, others, rated, maxAge, inTotal, networkSats, networkCreated float64
	var tickets, premiums, premiumsBuy, premiumsSell, widths, fill, complete, cycle, cancel []float64
	sizes := map[string]float64{}
	fiatAmounts := map[string][]float64{}
	fiatSats, fiatAll, fiatOrders, authorOrders, authorSats := map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	methods := map[string]float64{}
	firstFiat, firstMethod, firstAuthor := map[string]int64{}, map[string]int64{}, map[string]int64{}
	earliest := func(m map[string]int64, key string, t int64) {
		if held, ok := m[key]; !ok || t < held {
			m[key] = t
		}
	}
	noInstances := Filter{}
	for dim, values := range q.Filter {
		if dim != ByInstance {
			noInstances[dim] = values
		}
	}
	for _, versions := range o.orders {
		last := newest(versions)
		status := oracleStatus(last.Status)
		seen, taken := first(versions, q.Clock), first(versions, q.Clock, mostro.StatusInProgress)
		success, gone := first(versions, q.Clock, mostro.StatusSuccess), first(versions, q.Clock, mostro.StatusCanceled)
		if seen == 0 {
			continue
		}
		amount := 0.0
		if last.AmountSats != nil {
			amount = float64(*last.AmountSats)
		}
		if o.matches(last, noInstances) {
			if in(seen, from, until) {
				networkCreated++
			}
			if status == mostro.StatusSuccess && in(success, from, until) {
				networkSats += amount
			}
		}
		if !o.matches(last, q.Filter) {
			continue
		}
		initial := versions[0]
		isRange := initial.FiatAmount.Min != nil && initial.FiatAmount.Min.Float() < initial.FiatAmount.Max.Float()
		earliest(firstFiat, last.Fiat, seen)
		earliest(firstAuthor, last.Pubkey, seen)
		for i, m := range last.Methods {
			if i < 32 {
				earliest(firstMethod, m, seen)
			}
		}
		if in(seen, before, from) {
			createdBefore++
		}
		if status == mostro.StatusSuccess && in(success, before, from) {
			completedBefore++
		}
		if in(seen, from, until) {
			created++
			fiatOrders[last.Fiat]++
			authorOrders[last.Pubkey]++
			unique := map[string]bool{}
			for _, m := range last.Methods {
				if !unique[m] {
					methods[m]++
				}
				unique[m] = true
			}
			if last.Side == mostro.SideBuy {
				buyOrders++
			}
			if taken != 0 {
				funnelTaken++
			}
			switch status {
			case mostro.StatusCanceled:
				if taken == 0 {
					abandoned++
					funnelUntaken++
				} else {
					funnelCanceled++
				}
			case mostro.StatusSuccess:
				funnelDone++
			case mostro.StatusPending, mostro.StatusInProgress:
				funnelOpen++
			}
			if initial.AmountSats != nil && *initial.AmountSats == 0 {
				market++
			}
			if isRange {
				ranged++
				widths = append(widths, (initial.FiatAmount.Max.Float()-initial.FiatAmount.Min.Float())/initial.FiatAmount.Max.Float())
			}
			if last.PremiumPct != nil {
				p := last.PremiumPct.Float() / 100
				premiums = append(premiums, p)
				if last.Side == mostro.SideBuy {
					premiumsBuy = append(premiumsBuy, p)
				} else {
					premiumsSell = append(premiumsSell, p)
				}
			}
		}
		if status == mostro.StatusSuccess && in(success, from, until) {
			completed++
			fiatAll[last.Fiat]++
			fiatSats[last.Fiat] += amount
			authorSats[last.Pubkey] += amount
			if !isRange && last.FiatAmount.Min != nil && last.FiatAmount.Min.Cmp(*last.FiatAmount.Max) == 0 {
				fiatAmounts[last.Fiat] = append(fiatAmounts[last.Fiat], last.FiatAmount.Max.Float())
			}
			if amount > 0 {
				priced++
				sats += amount
				tickets = append(tickets, amount)
				if last.Side == mostro.SideBuy {
					buy += amount
				} else {
					sell += amount
				}
				switch {
				case amount <= 9999:
					sizes["le_9999"]++
				case amount <= 50000:
					sizes["le_50000"]++
				case amount <= 200000:
					sizes["le_200000"]++
				case amount <= 1000000:
					sizes["le_1000000"]++
				default:
					sizes["above"]++
				}
				if price, age, other, ok := o.rateFor(last.Pubkey, q.In, success, 300); ok {
					rated++
					inTotal += amount / 1e8 * price
					maxAge = max(maxAge, float64(age))
					if other {
						others++
					}
				} else {
					unpriced += amount
				}
			}
			if o.feeInForce(last.Pubkey, success) > 0 {
				chargeable++
				if slices.ContainsFunc(o.fees, func(f oracleFee) bool { return f.Pubkey == last.Pubkey && f.OrderID == last.D }) {
					paid++
				}
			}
		}
		if status == mostro.StatusCanceled && in(gone, from, until) {
			canceled++
		}
		if taken != 0 && in(taken, from, until) || taken == 0 && in(success, from, until) {
			left++
		}
		gap := func(list *[]float64, a, b int64) {
			if a != 0 && b > a && in(b, from, until) {
				*list = append(*list, float64(b-a))
			}
		}
		gap(&fill, seen, taken)
		gap(&complete, taken, success)
		gap(&cycle, seen, success)
		gap(&cancel, seen, gone)
		if v, ok := bookAt(versions, until, q.Clock); ok {
			switch {
			case v.Status == mostro.StatusPending && (v.ExpiresAt == 0 || int64(v.ExpiresAt) > until):
				open++
				ageSum += float64(until - seen)
			case v.Status == mostro.StatusInProgress:
				progress++
			}
		}
	}
	set("orders.created", created)
	set("orders.completed", completed)
	set("orders.canceled", canceled)
	set("orders.completion_rate", div(completed, completed+canceled))
	set("orders.abandonment_rate", div(abandoned, created))
	set("orders.created_delta", div(created-createdBefore, createdBefore))
	set("orders.completed_delta", div(completed-completedBefore, completedBefore))
	set("orders.open_now", open)
	set("orders.in_progress_now", progress)
	set("volume.sats", sats)
	set("volume.ticket_avg", nil)
	if priced > 0 {
		set("volume.ticket_avg", math.Floor((2*sats+priced)/(2*priced)))
	}
	set("volume.ticket_p50", rank(tickets, 0.5))
	set("volume.ticket_p90", rank(tickets, 0.9))
	set("volume.largest", rank(tickets, 1))
	for _, name := range []string{"le_9999", "le_50000", "le_200000", "le_1000000", "above"} {
		set("volume.size."+name, sizes[name])
	}
	set("volume.buy_sats", buy)
	set("volume.sell_sats", sell)
	for code, n := range fiatAll {
		p := "volume.fiat." + code + "."
		amounts := fiatAmounts[code]
		set(p+"completed", n)
		set(p+"sats", fiatSats[code])
		set(p+"orders", float64(len(amounts)))
		set(p+"total", nil)
		if len(amounts) > 0 {
			set(p+"total", average(amounts).(float64)*float64(len(amounts)))
		}
		set(p+"avg", average(amounts))
		set(p+"p50", rank(amounts, 0.5))
		set(p+"p90", rank(amounts, 0.9))
	}
	if q.In != "" {
		set("volume.in.total", nil)
		set("volume.in.max_rate_age", nil)
		if rated > 0 {
			set("volume.in.total", inTotal)
			set("volume.in.max_rate_age", maxAge)
		}
		set("volume.in.unpriced_sats", unpriced)
		set("volume.in.other_rates", others)
	}
	set("market.buy_orders_share", div(buyOrders, created))
	set("market.buy_volume_share", div(buy, sats))
	set("market.premium_avg", average(premiums))
	set("market.premium_p50", rank(premiums, 0.5))
	set("market.premium_buy_avg", average(premiumsBuy))
	set("market.premium_sell_avg", average(premiumsSell))
	set("market.premium_buy_p50", rank(premiumsBuy, 0.5))
	set("market.premium_sell_p50", rank(premiumsSell, 0.5))
	set("market.spread", nil)
	if len(premiumsBuy) > 0 && len(premiumsSell) > 0 {
		set("market.spread", rank(premiumsSell, 0.5).(float64)-rank(premiumsBuy, 0.5).(float64))
	}
	set("market.market_price_share", div(market, created))
	set("market.range_share", div(ranged, created))
	set("market.range_width_avg", average(widths))
	concentration := func(prefix string, amounts map[string]float64) {
		hhi, top := hhiTop(amounts)
		set(prefix+"_hhi", hhi)
		set(prefix+"_top3", top)
	}
	concentration("market.fiat_orders", fiatOrders)
	concentration("market.fiat_sats", fiatSats)
	concentration("instances.orders", authorOrders)
	concentration("instances.sats", authorSats)
	for m, n := range methods {
		set("market.methods."+m+".orders", n)
	}
	countNew := func(m map[string]int64) (n float64) {
		for _, t := range m {
			if in(t, from, until) {
				n++
			}
		}
		return n
	}
	set("market.new_fiats", countNew(firstFiat))
	set("market.new_methods", countNew(firstMethod))
	set("market.new_instances", countNew(firstAuthor))
	for name, sample := range map[string][]float64{"fill": fill, "complete": complete, "cycle": cycle, "cancel": cancel} {
		set("timing."+name+"_p50", rank(sample, 0.5))
		set("timing."+name+"_p90", rank(sample, 0.9))
	}
	set("timing.book_size", open)
	set("timing.book_age_avg", div(ageSum, open))
	set("timing.funnel.taken", funnelTaken)
	set("timing.funnel.canceled_untaken", funnelUntaken)
	set("timing.funnel.canceled_taken", funnelCanceled)
	set("timing.funnel.completed", funnelDone)
	set("timing.funnel.open", funnelOpen)
	set("instances.active", float64(len(authorOrders)))
	set("instances.orders_share", nil)
	set("instances.sats_share", nil)
	if len(q.Filter[ByInstance]) > 0 {
		set("instances.orders_share", div(created, networkCreated))
		set("instances.sats_share", div(sats, networkSats))
	}
	o.feeFigures(q, chargeable, paid, set)
	o.disputeFigures(q, left, set)
	o.nodeFigures(q, set)
	return out
}

func nodeOnly(f Filter) bool {
	for dim, values := range f {
		if dim != ByInstance && len(values) > 0 {
			return false
		}
	}
	return true
}

func (o *oracle) feeFigures(q Query, chargeable, paid float64, set func(string, any)) {
	var n, sats, duplicates, implied, impliedError, settled, settledSats float64
	var lateness []float64
	for _, f := range o.fees {
		t := int64(f.CreatedAt)
		if q.Clock == Witnessed {
			t = 0
			if f.live {
				t = f.received
			}
		}
		versions := o.orders[f.Pubkey+f.OrderID]
		if t == 0 || t < q.From || t >= q.Until {
			continue
		}
		if len(versions) > 0 {
			if !o.matches(newest(versions), q.Filter) {
				continue
			}
		} else {
			bare := oracleVersion{Order: mostro.Order{Pubkey: f.Pubkey, Network: f.Network}}
			if !o.matches(bare, q.Filter) {
				continue
			}
		}
		canonical := true
		for _, g := range o.fees {
			if g.Pubkey == f.Pubkey && g.OrderID == f.OrderID && (g.CreatedAt < f.CreatedAt || g.CreatedAt == f.CreatedAt && g.EventID < f.EventID) {
				canonical = false
			}
		}
		if !canonical {
			duplicates++
			continue
		}
		n++
		sats += float64(f.AmountSats)
		success := first(versions, q.Clock, mostro.StatusSuccess)
		if success != 0 {
			lateness = append(lateness, float64(t-success))
		}
		if fee := o.feeInForce(f.Pubkey, int64(f.CreatedAt)); fee > 0 {
			one := float64(f.AmountSats) / (fee * 0.30)
			implied += one
			impliedError += 1 / (fee * 0.30)
			if success != 0 {
				last := newest(versions)
				if last.Status == mostro.StatusSuccess && last.AmountSats != nil && *last.AmountSats > 0 {
					settled += one
					settledSats += float64(*last.AmountSats)
				}
			}
		}
	}
	set("dev_fees.count", n)
	set("dev_fees.sats", sats)
	set("dev_fees.duplicates", duplicates)
	set("dev_fees.coverage", div(paid, chargeable))
	set("dev_fees.latency_p50", rank(lateness, 0.5))
	set("dev_fees.latency_p90", rank(lateness, 0.9))
	set("dev_fees.implied_volume", nil)
	set("dev_fees.implied_volume_error", nil)
	if implied > 0 {
		set("dev_fees.implied_volume", math.Round(implied))
	}
	if impliedError > 0 {
		set("dev_fees.implied_volume_error", math.Ceil(impliedError-1e-6))
	}
	set("dev_fees.implied_vs_observed", settled/settledSats-1)
}

func (o *oracle) disputeFigures(q Query, left float64, set func(string, any)) {
	if !nodeOnly(q.Filter) {
		return
	}
	var opened, closed, openNow float64
	var resolution []float64
	ends := map[string]float64{}
	for _, versions := range o.disputes {
		if len(q.Filter[ByInstance]) > 0 && !slices.Contains(q.Filter[ByInstance], versions[0].Pubkey) {
			continue
		}
		var openedAt, closedAt int64
		end := ""
		for _, v := range versions {
			t := int64(v.CreatedAt)
			if q.Clock == Witnessed {
				if t = v.received; !v.live {
					continue
				}
				if openedAt == 0 || t < openedAt {
					openedAt = t
				}
			} else if openedAt == 0 {
				openedAt = int64(v.OpenedAt)
			}
			switch v.RawState {
			case "settled", "seller-refunded", "released", "cooperatively-canceled":
				if closedAt == 0 || t < closedAt {
					closedAt, end = t, v.RawState
				}
			}
		}
		if q.Clock == Signed && openedAt == 0 {
			openedAt = int64(versions[0].CreatedAt)
		}
		if openedAt != 0 && openedAt >= q.From && openedAt < q.Until {
			opened++
		}
		if closedAt != 0 && closedAt >= q.From && closedAt < q.Until {
			closed++
			ends[end]++
			if openedAt != 0 && closedAt >= openedAt {
				resolution = append(resolution, float64(closedAt-openedAt))
			}
		}
		if openedAt != 0 && openedAt <= q.Until && (closedAt == 0 || closedAt > q.Until) {
			openNow++
		}
	}
	set("disputes.opened", opened)
	set("disputes.closed", closed)
	set("disputes.open_now", openNow)
	set("disputes.rate", div(opened, left))
	set("disputes.outcome.settled", ends["settled"])
	set("disputes.outcome.seller_refunded", ends["seller-refunded"])
	set("disputes.outcome.released", ends["released"])
	set("disputes.outcome.cooperatively_canceled", ends["cooperatively-canceled"])
	set("disputes.outcome.by_solver", ends["settled"]+ends["seller-refunded"])
	set("disputes.outcome.by_parties", ends["released"]+ends["cooperatively-canceled"])
	set("disputes.resolution_p50", rank(resolution, 0.5))
	set("disputes.resolution_p90", rank(resolution, 0.9))

	silent := 0.0
	for author, times := range o.events {
		if len(q.Filter[ByInstance]) > 0 && !slices.Contains(q.Filter[ByInstance], author) {
			continue
		}
		ever, lately := false, false
		for _, t := range times {
			ever = ever || t < q.Until
			lately = lately || t < q.Until && t >= q.Until-7*86400
		}
		if ever && !lately {
			silent++
		}
	}
	set("instances.silent", silent)
}

func popSigma(sample []float64) any {
	if len(sample) < 2 {
		return nil
	}
	mean := average(sample).(float64)
	total := 0.0
	for _, v := range sample {
		total += (v - mean) * (v - mean)
	}
	return math.Sqrt(total / float64(len(sample)))
}

func middleOf(sample []float64) any {
	if len(sample) == 0 {
		return nil
	}
	sort.Float64s(sample)
	n := len(sample)
	if n%2 == 1 {
		return sample[n/2]
	}
	return (sample[n/2-1] + sample[n/2]) / 2
}

// nodeFigures computes the metrics of section 2.2.
func (o *oracle) nodeFigures(q Query, set func(string, any)) {
	var firstFee, firstOK, last int64
	for _, f := range o.fees {
		t := int64(f.CreatedAt)
		if q.Clock == Witnessed {
			if t = f.received; !f.live {
				continue
			}
		}
		if (len(q.Filter[ByInstance]) == 0 || slices.Contains(q.Filter[ByInstance], f.Pubkey)) && t < q.Until && (firstFee == 0 || t < firstFee) {
			firstFee = t
		}
	}
	var trades, volume, week, month, term, mentions float64
	var amounts, premiums []float64
	days, fiats, labels := map[string]bool{}, map[string]float64{}, map[string]float64{}
	for _, versions := range o.orders {
		v := newest(versions)
		if v.Status != mostro.StatusSuccess || !o.matches(v, q.Filter) {
			continue
		}
		t := int64(v.CreatedAt)
		if q.Clock == Witnessed {
			t = first(versions, Witnessed, mostro.StatusSuccess)
		}
		if t == 0 || t >= q.Until {
			continue
		}
		if firstOK == 0 || t < firstOK {
			firstOK = t
		}
		last = max(last, t)
		days[time.Unix(t, 0).UTC().Format("2006-01-02")] = true
		for limit, n := range map[int64]*float64{7: &week, 30: &month, 90: &term} {
			if t >= q.Until-limit*86400 {
				*n++
			}
		}
		if t < q.From {
			continue
		}
		trades++
		fiats[v.Fiat]++
		if v.AmountSats != nil {
			amounts = append(amounts, float64(*v.AmountSats))
			volume += float64(*v.AmountSats)
		}
		if v.PremiumPct != nil {
			premiums = append(premiums, v.PremiumPct.Float())
		}
		unique := map[string]bool{}
		for _, m := range v.Methods {
			if !unique[m] {
				labels[m]++
				mentions++
			}
			unique[m] = true
		}
	}
	orNil := func(t int64) any {
		if t == 0 {
			return nil
		}
		return float64(t)
	}
	p := "instances."
	set(p+"first_seen_at", orNil(firstFee))
	start := firstFee
	if start == 0 {
		start = firstOK
	}
	set(p+"days_active", nil)
	if start != 0 {
		set(p+"days_active", float64(q.Until-start)/86400)
	}
	set(p+"total_successful_trades", trades)
	set(p+"total_volume_sats", volume)
	set(p+"min", rank(amounts, 0))
	set(p+"max", rank(amounts, 1))
	set(p+"mean", average(amounts))
	set(p+"median", middleOf(amounts))
	set(p+"std_dev", popSigma(amounts))
	set(p+"cv", nil)
	if s, m := popSigma(amounts), middleOf(amounts); s != nil && m.(float64) != 0 {
		set(p+"cv", s.(float64)/m.(float64))
	}
	set(p+"last_trade", orNil(last))
	set(p+"days_since", nil)
	if last != 0 {
		set(p+"days_since", math.Floor(float64(q.Until-last)/86400))
	}
	set(p+"trades_7d", week)
	set(p+"trades_30d", month)
	set(p+"trades_90d", term)
	active, pause, longest := 0.0, 0.0, 0.0
	for i := 29; i >= 0; i-- {
		day := time.Unix(q.Until-1, 0).UTC().AddDate(0, 0, -i).Format("2006-01-02")
		if pause++; days[day] {
			active++
			pause = 0
		}
		longest = max(longest, pause)
	}
	set(p+"active_days_last_30d", active)
	set(p+"max_consecutive_inactive_days", longest)
	for code, n := range fiats {
		set(p+"fiat."+code+".share", div(n, trades))
	}
	for m, n := range labels {
		set(p+"methods."+m+".share", div(n, mentions))
	}
	set(p+"premium_baseline", middleOf(premiums))
	set(p+"premium_dispersion", popSigma(premiums))
	if !nodeOnly(q.Filter) {
		return
	}
	var opened, resolved, active2, unknown float64
	for _, versions := range o.disputes {
		if len(q.Filter[ByInstance]) > 0 && !slices.Contains(q.Filter[ByInstance], versions[0].Pubkey) {
			continue
		}
		var at int64
		for _, v := range versions {
			if q.Clock == Signed && at == 0 {
				at = int64(v.OpenedAt)
			}
			if q.Clock == Witnessed && v.live && (at == 0 || v.received < at) {
				at = v.received
			}
		}
		if q.Clock == Signed && at == 0 {
			at = int64(versions[0].CreatedAt)
		}
		if at == 0 || at < q.From || at >= q.Until {
			continue
		}
		opened++
		switch versions[len(versions)-1].RawState {
		case "settled", "seller-refunded", "released", "cooperatively-canceled":
			resolved++
		case "initiated", "in-progress":
			active2++
		default:
			unknown++
		}
	}
	set(p+"disputes_per_100_trades", div(100*opened, trades))
	set(p+"disputes_resolved", resolved)
	set(p+"disputes_active", active2)
	set(p+"disputes_unknown", unknown)
	set(p+"bond", nil)
	if len(q.Filter[ByInstance]) == 1 {
		bond := "unknown"
		for i, info := range o.infos[q.Filter[ByInstance][0]] {
			if i == 0 || int64(info.CreatedAt) < q.Until {
				bond = "unknown"
				if info.Bond != nil && info.Bond.Enabled {
					bond = "enabled"
				} else if info.Bond != nil {
					bond = "disabled"
				}
			}
		}
		if _, known := o.events[q.Filter[ByInstance][0]]; known {
			set(p+"bond", bond)
		}
	}
}
