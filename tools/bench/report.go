package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// resultBook holds the newest result of each figure, subject and number of clients. If
// results have different scales, the one with the largest scale is kept.
type resultBook map[string]result

func keyOf(scenario, figure, subject string, clients int) string {
	return fmt.Sprintf("%s|%s|%s|%d", scenario, figure, subject, clients)
}

func newResultBook(all []result) resultBook {
	book := make(resultBook)
	for _, r := range all {
		key := keyOf(r.Scenario, r.Figure, r.Subject, r.Clients)
		if was, ok := book[key]; ok && cmp.Or(cmp.Compare(r.Scale, was.Scale), r.Time.Compare(was.Time)) < 0 {
			continue
		}
		book[key] = r
	}
	return book
}

// find returns the result of a figure. ok is false if the figure was not measured.
func (b resultBook) find(scenario, figure, subject string, clients int) (result, bool) {
	r, ok := b[keyOf(scenario, figure, subject, clients)]
	return r, ok
}

// beside returns another subject's result of the same run, because only results of one
// run may be divided by each other.
func beside(all []result, r result, subject, scenario, figure string, clients int) (result, bool) {
	var last result
	ok := false
	for _, c := range all {
		if c.Run == r.Run && c.Subject == subject && c.Scenario == scenario && c.Figure == figure && c.Clients == clients {
			last, ok = c, true
		}
	}
	return last, ok
}

// limitOf returns the signature limit that was measured in the same run.
func limitOf(all []result, r result) (result, bool) {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Run == r.Run && all[i].Scenario == "signatures" {
			return all[i], true
		}
	}
	return result{}, false
}

// goal is a line of the summary.
type goal struct {
	figure, target string
	value          string
	met            bool
	measured       bool
	stock, limit   string
	from           []result // results that the value is computed from
}

func ratio(a, b float64) string {
	if b == 0 || math.IsNaN(a/b) {
		return "–"
	}
	return fmt.Sprintf("%.3g ×", a/b)
}

func percent(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*a/b)
}

func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case math.Abs(x) >= 1000:
		s := fmt.Sprintf("%.0f", x)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	}
	return fmt.Sprintf("%.3g", x)
}

// goals compares the results with the targets.
func goals(all []result, book resultBook) []goal {
	var list []goal
	add := func(g goal) { list = append(list, g) }

	for _, g := range ingestGoals(all, book, "mostrodex", "ingest") {
		add(g)
	}
	for _, g := range ingestGoals(all, book, "relay", "ingest, the relay alone")[:2] {
		add(g)
	}
	syncs, ok := book.find("durable", "syncs", "mostrodex", 1)
	g := goal{figure: "ingest: sync calls per OK, one event in flight", target: "≥ 1", measured: ok}
	if ok {
		g.value, g.met, g.from = number(syncs.Values["syncs_per_ok"]), syncs.Values["syncs_per_ok"] >= 1, []result{syncs}
		if s, ok := beside(all, syncs, "stock", "durable", "syncs", 1); ok {
			g.stock = "stock: " + number(s.Values["syncs_per_ok"])
		}
	}
	add(g)

	for _, g := range queryGoals(all, book) {
		add(g)
	}
	g = goal{figure: "COUNT: worst p50 of kind, author, #s, #s+#f", target: "exact, < 1 ms", measured: true, met: true}
	worst := 0.0
	for _, name := range []string{"kind", "author", "#s", "#s+#f"} {
		r, ok := book.find("count", name, "mostrodex", 1)
		g.measured = g.measured && ok
		if ok {
			g.from = append(g.from, r)
			worst = max(worst, r.Values["p50_ms"])
			g.met = g.met && r.Values["right"] == r.Values["asked"] && r.Values["p50_ms"] < 1
			if s, ok := beside(all, r, "stock", "count", name, 1); ok && r.Values["p50_ms"] == worst {
				g.stock = ratio(r.Values["p50_ms"], s.Values["p50_ms"])
			}
		}
	}
	g.value = number(worst) + " ms"
	add(g)

	below := func(figure, target string, most float64, unit, value, scenario string, clients int, names ...string) {
		g := goal{figure: figure, target: target, measured: true}
		worst := 0.0
		for _, name := range names {
			r, ok := book.find(scenario, name, "mostrodex", clients)
			g.measured = g.measured && ok
			if ok {
				g.from = append(g.from, r)
				worst = max(worst, r.Values[value])
			}
		}
		g.value, g.met = number(worst)+" "+unit, worst < most
		add(g)
	}
	below("NIP-50: p99, 8 clients", "< 20 ms", 20, "ms", "p99_ms", "search", connections, "NIP-50")
	below("GET /api/v1/orders: worst p99, 8 clients", "< 20 ms", 20, "ms", "p99_ms", "search", connections, searchFigures...)
	below("book lag at 1,000 events a second: longest", "< 100 ms", 100, "ms", "book_max_ms", "lag", 0, "steady")
	below("book lag during a burst of 100,000: longest", "< 100 ms", 100, "ms", "book_max_ms", "burst", connections, "burst")
	below("text-index lag at 1,000 events a second: longest", "< 1 s", 1000, "ms", "text_max_ms", "lag", 0, "steady")
	below("text-index lag after a burst of 100,000", "< 30 s", 30, "s", "text_after_s", "burst", connections, "burst")

	for _, figure := range []string{"load", "book"} {
		r, ok := book.find("import", figure, "mostrodex", 0)
		g := goal{figure: "import (" + figure + "): events a second", target: "≥ 60 % of signature checking", measured: ok}
		if ok {
			g.value, g.from = number(r.Values["per_s"]), []result{r}
			if l, ok := limitOf(all, r); ok {
				g.limit, g.met = fmt.Sprintf("%s (per CPU second %s)", percent(r.Values["per_s"], l.Values["per_s"]), percent(r.Values["per_cpu_s"], l.Values["per_cpu_s"])), r.Values["per_s"] >= .6*l.Values["per_s"]
			} else {
				g.measured = false
			}
		}
		if ok || figure == "load" {
			add(g)
		}
	}
	for _, g := range socketGoals(all, book) {
		add(g)
	}
	below("memory: peak RssAnon, 1,000,000 live orders of 5 versions", "< 2 GiB", 2048, "MiB", "rss_anon_peak_mib", "memory", 0, "start")
	below("memory: the same while the indexes are first built", "< 2 GiB", 2048, "MiB", "rss_anon_peak_mib", "memory", 0, "first start")
	below("start with them: until the first answer", "< 15 s", 15, "s", "answered_s", "memory", 0, "start")
	below("reputation: all scores of 1,000,000 parsed events, 100,000 receipts checked", "< 10 s", 10, "s", "s_all", "reputation", 0, "all anew")
	below("reputation: memory of that", "< 1 GiB", 1024, "MiB", "mib_peak", "reputation", 0, "all anew")
	below("reputation: one new event of the node with a tenth of all orders", "< 50 ms", 50, "ms", "ms", "reputation", 0, "largest node, an order", "largest node, a rating")
	below("statistics: one metric of any window over HTTP, p99", "< 50 ms", 50, "ms", "p99_ms", "market", 1, "one metric, any window")
	below("statistics: the whole document over HTTP, p50", "< 500 ms", 500, "ms", "p50_ms", "market", 1, "whole document")
	below("statistics: the whole document by ETag, p99", "< 2 ms", 2, "ms", "p99_ms", "market", 1, "document by ETag")
	below("statistics: memory an order", "< 150 B", 150, "B", "B_order", "statistics", 0, "build")
	below("statistics: share of the CPU time of ingest", "< 10 %", 10, "%", "cpu_percent", "statistics", connections, "share of ingest")
	below("GET /api/v1/orders with price and rank: worst p99, 8 clients", "< 20 ms", 20, "ms", "p99_ms", "market", connections, "GET book with prices", "GET book by cost")
	below("stream: 100 readers of 200 changes a second, p99", "< 100 ms", 100, "ms", "p99_ms", "market", 100, "stream")
	below("rebuild of everything from 5,000,000 events", "< 10 min", 10, "min", "minutes_of_5000000", "market", 0, "rebuild")
	below("reputation: one new event of a usual node", "< 50 ms", 50, "ms", "ms", "reputation", 0, "usual node, an order")
	below("backup of 1,000,000 events beside clients: seconds for 1,000 MB", "< 20 s (50 MB/s)", 20, "s", "s_of_1000_mb", "backup", backupClients, "with clients")
	below("backup: p99 of an OK beside it, to the p99 before", "< 2", 2, "", "p99_ratio", "backup", backupClients, "with clients")
	below("restore of 1,000,000 events until /readyz", "< 180 s", 180, "s", "ready_s", "backup", 0, "restore")
	below("backup --follow: longest time behind a commit", "< 2 s", 2, "s", "max_s", "backup", 0, "follow")
	return append(list, tradeGoals(book)...)
}

func ingestGoals(all []result, book resultBook, subject, name string) []goal {
	load, ok := book.find("ingest", "load", subject, connections)
	stock, beStock := beside(all, load, "stock", "ingest", "load", connections)
	limit, beLimit := limitOf(all, load)
	rate := goal{figure: name + ": acknowledged a second", target: "≥ 6,000", measured: ok}
	perCPU := goal{figure: name + ": events per CPU second of the server", target: "≥ 2.5 × stock", measured: ok && beStock}
	wrong := goal{figure: name + ": wrong addresses after a restart, and refusals", target: "0", measured: ok}
	if ok {
		v := load.Values
		bad := v["missing"] + v["stale"] + v["doubled"] + v["foreign"] + v["refused"]
		rate.value, rate.met, rate.from = number(v["acked_per_s"]), v["acked_per_s"] >= 6000, []result{load}
		wrong.value, wrong.met, wrong.from = number(bad), bad == 0, []result{load}
		perCPU.value, perCPU.from = number(v["events_per_cpu_s"]), []result{load}
		if beLimit {
			rate.limit = percent(v["acked_per_s"], limit.Values["per_s"])
			perCPU.limit = percent(v["events_per_cpu_s"], limit.Values["per_cpu_s"])
		}
		if beStock {
			rate.stock = ratio(v["acked_per_s"], stock.Values["acked_per_s"])
			perCPU.stock, perCPU.met = ratio(v["events_per_cpu_s"], stock.Values["events_per_cpu_s"]), v["events_per_cpu_s"] >= 2.5*stock.Values["events_per_cpu_s"]
			wrong.stock = fmt.Sprintf("stock: %s wrong, %s refused", number(stock.Values["missing"]+stock.Values["stale"]+stock.Values["doubled"]+stock.Values["foreign"]), number(stock.Values["refused"]))
		}
	}
	return []goal{rate, perCPU, wrong}
}

// fanGoals returns the goals of one case of live delivery.
func fanGoals(all []result, book resultBook, fan, name string) []goal {
	const clients = 100
	r, ok := book.find("fanout", fan, "mostrodex", clients)
	stock, beStock := beside(all, r, "stock", "fanout", fan, clients)
	beStock = ok && beStock
	v, s := r.Values, stock.Values
	late := goal{figure: name + ", 200 events a second to 1,000 subscriptions: p99 of delivery", target: "< 10 ms", measured: ok}
	lost := goal{figure: name + ": missing and repeated", target: "0", measured: ok}
	each := goal{figure: name + ": CPU a delivery, the events' own cost apart", target: "≤ 0.5 × stock", measured: beStock}
	whole := goal{figure: name + ": CPU a delivery, the events' own cost included", target: "≤ 0.5 × stock", measured: beStock}
	if ok {
		late.value, late.met, late.from = number(v["p99_ms"])+" ms", v["p99_ms"] < 10, []result{r}
		bad := v["missing"] + v["repeated"]
		lost.value, lost.met, lost.from = number(bad), bad == 0, []result{r}
	}
	if beStock {
		late.stock = ratio(v["p99_ms"], s["p99_ms"])
		for name, g := range map[string]*goal{"delivery_cpu_us": &each, "cpu_us": &whole} {
			g.value, g.met, g.stock, g.from = number(v[name])+" µs", v[name] <= .5*s[name], ratio(v[name], s[name]), []result{r, stock}
		}
	}
	return []goal{late, lost, each, whole}
}

// socketGoals returns the goals of live delivery, idle connections and federation.
func socketGoals(all []result, book resultBook) []goal {
	list := append(fanGoals(all, book, "200/s to 1,000", "fan-out"), fanGoals(all, book, "200/s to 1,000, 10 an event", "fan-out, 10 an event")...)
	one := func(scenario, figure, subject string, clients int, title, target string, value func(map[string]float64) (string, bool)) {
		g := goal{figure: title, target: target}
		var r result
		if r, g.measured = book.find(scenario, figure, subject, clients); g.measured {
			g.value, g.met = value(r.Values)
			g.from = []result{r}
		}
		list = append(list, g)
	}
	one("reconcile", "apart", "mostrodex", 2, "negentropy: two relays of 1,000,000 events, 1,000 apart, until both hold the same", "< 10 s", func(v map[string]float64) (string, bool) {
		return number(v["seconds"]) + " s", v["seconds"] < 10
	})
	one("reconcile", "apart", "mostrodex", 2, "negentropy: traffic of that", "< 8 MB", func(v map[string]float64) (string, bool) {
		return number(v["traffic_mb"]) + " MB", v["traffic_mb"] < 8
	})
	return list
}

var searchFigures = []string{"GET book", "GET history", "GET q", "GET q+fiat+range", "GET whole book"}

// rowNames are the rows of the query table, in order.
var rowNames = []string{"ids 1", "ids 20", "kinds+#d", "author+#d", "author", "author+#z+since, limit 50", "author+#s pending", "40 authors+since", "#s pending",
	"#s+#f", "#s+#f+#k", "#s + rare #f", "#s + 8 values of #f", "#y+#z+#s", "30-minute window", "newest 100", "newest 500", "nothing matches (#s+#f)"}

func queryGoals(all []result, book resultBook) []goal {
	right := goal{figure: "queries: rows with every answer identical", target: "18 of 18", measured: true}
	one := goal{figure: "queries: p50, one connection, worst row", target: "< 1 ms", measured: true, met: true}
	p50 := goal{figure: "queries: p50, eight connections, over the floor's, worst row", target: "≤ 2 ×", measured: true, met: true}
	p99 := goal{figure: "queries: p99, eight connections, over the floor's, worst row", target: "≤ 4 ×", measured: true, met: true}
	identical := 0
	var worstOne, worst50, worst99 float64
	for _, name := range rowNames {
		r, ok := book.find("query", name, "mostrodex", 1)
		eight, ok8 := book.find("query", name, "mostrodex", connections)
		floor, okFloor := beside(all, eight, "canned", "query", name, connections)
		right.measured, one.measured = right.measured && ok, one.measured && ok
		p50.measured, p99.measured = p50.measured && ok8 && okFloor, p99.measured && ok8 && okFloor
		if ok {
			if r.Values["right"] == r.Values["asked"] {
				identical++
			}
			one.from = append(one.from, r)
			if v := r.Values["p50_ms"]; v > worstOne {
				worstOne, one.value = v, number(v)+" ms ("+name+")"
				if s, ok := beside(all, r, "stock", "query", name, 1); ok {
					one.stock = ratio(v, s.Values["p50_ms"])
				}
			}
			one.met = one.met && r.Values["p50_ms"] < 1
		}
		if ok8 && okFloor {
			p50.from, p99.from = append(p50.from, eight, floor), append(p99.from, eight, floor)
			if v := eight.Values["p50_ms"] / floor.Values["p50_ms"]; v > worst50 {
				worst50, p50.value = v, fmt.Sprintf("%.2f × (%s)", v, name)
				if s, ok := beside(all, eight, "stock", "query", name, connections); ok {
					p50.stock = ratio(eight.Values["p50_ms"], s.Values["p50_ms"])
				}
			}
			if v := eight.Values["p99_ms"] / floor.Values["p99_ms"]; v > worst99 {
				worst99, p99.value = v, fmt.Sprintf("%.2f × (%s)", v, name)
				if s, ok := beside(all, eight, "stock", "query", name, connections); ok {
					p99.stock = ratio(eight.Values["p99_ms"], s.Values["p99_ms"])
				}
			}
		}
	}
	right.value, right.met, right.from = fmt.Sprintf("%d of %d", identical, len(rowNames)), identical == len(rowNames), one.from
	p50.met, p99.met = worst50 <= 2, worst99 <= 4
	return []goal{right, one, p50, p99}
}

// report writes docs/performance.md.
func report(w io.Writer, all []result) error {
	book := newResultBook(all)
	var b strings.Builder
	b.WriteString(reportHead)
	b.WriteString("## Targets\n\n| figure | measured | target | met | to stock | to signature limit | noise | date | scale |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, g := range goals(all, book) {
		value, met := g.value, "**no**"
		switch {
		case !g.measured:
			value, met = "not measured", "–"
		case g.met:
			met = "yes"
		}
		var noise, wall float64
		scale, date := 1.0, "–"
		for _, r := range g.from {
			noise, wall, scale = noise+r.Noise, wall+r.Wall, min(scale, r.Scale)
			date = r.Time.Format("2006-01-02")
		}
		if scale < 1 && met == "yes" {
			met = "at this scale"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", g.figure, value, g.target, met, cmp.Or(g.stock, "–"), cmp.Or(g.limit, "–"), noiseShare(noise, wall), date, number(scale))
	}
	b.WriteString("\nNoise is the share of the machine's CPU time that other processes used during the measurement.\n")
	writeIngest(&b, all, book)
	writeQueries(&b, all, book)
	writeRest(&b, "Search, lag, import, memory", book, "search", "lag", "burst", "import", "memory", "durable")
	writeRest(&b, "Reputation", book, "reputation")
	b.WriteString(reputationText)
	writeRest(&b, "Trades", book, "trades")
	b.WriteString(tradesText)
	writeRest(&b, "Statistics, market, stream", book, "statistics", "market")
	writeRest(&b, "Fan-out, idle connections, flood, federation", book, "fanout", "idle", "flood", "reconcile", "fill")
	b.WriteString(socketText)
	writeRuns(&b, book)
	_, err := io.WriteString(w, b.String())
	return err
}

func noiseShare(noise, wall float64) string {
	if wall == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*noise/wall/machineCores)
}

// machineCores is the number of cores for the noise share. Each result names its
// machine.
const machineCores = 2

func writeIngest(b *strings.Builder, all []result, book resultBook) {
	b.WriteString("\n## Ingest\n\n| relay | acknowledged/s | OK p50 / p99 ms | CPU µs/event | events/CPU-s | refused | wrong orders | missing, stale, doubled | written MB | data MB | RssAnon MB | noise |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	ours, ok := book.find("ingest", "load", "mostrodex", connections)
	if !ok {
		b.WriteString("\nNot measured.\n")
		return
	}
	rows := []result{ours}
	for _, subject := range []string{"relay", "stock"} {
		if s, ok := beside(all, ours, subject, "ingest", "load", connections); ok {
			rows = append(rows, s)
		}
	}
	for _, r := range rows {
		v := r.Values
		fmt.Fprintf(b, "| %s | %s | %s / %s | %s | %s | %s | %s of %s | %s, %s, %s | %s | %s | %s | %s |\n", r.Subject, number(v["acked_per_s"]), number(v["p50_ms"]), number(v["p99_ms"]), number(v["cpu_us_per_event"]), number(v["events_per_cpu_s"]),
			number(v["refused"]), number(v["wrong_orders"]), number(v["orders"]), number(v["missing"]), number(v["stale"]), number(v["doubled"]), number(v["written_mb"]), number(v["data_mb"]), number(v["rss_anon_mb"]), noiseShare(r.Noise, r.Wall))
	}
	if l, ok := limitOf(all, ours); ok {
		fmt.Fprintf(b, "\nSignature checking alone, same run: %s events a second on all cores,\n%s per CPU second (%s µs each).\n", number(l.Values["per_s"]), number(l.Values["per_cpu_s"]), number(l.Values["cpu_us"]))
	}
}

func writeQueries(b *strings.Builder, all []result, book resultBook) {
	b.WriteString("\n## Queries\n\n" + queryText + "\n| filter | one: p50 ms | stock | eight: p50 / p99 ms | floor p50 / p99 ms | ratio p50 / p99 | stock p50 / p99 ms | CPU µs | floor CPU | stock CPU | identical | stock identical (+ order of ties) | strfry† p50 / p99 ms, CPU µs | noise |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, name := range rowNames {
		one, ok1 := book.find("query", name, "mostrodex", 1)
		r, ok := book.find("query", name, "mostrodex", connections)
		if !ok || !ok1 {
			fmt.Fprintf(b, "| %s | not measured | | | | | | | | | | | | |\n", name)
			continue
		}
		stock1, _ := beside(all, one, "stock", "query", name, 1)
		stock, _ := beside(all, r, "stock", "query", name, connections)
		floor, _ := beside(all, r, "canned", "query", name, connections)
		v, f, s := r.Values, floor.Values, stock.Values
		p := peers[name]
		fmt.Fprintf(b, "| %s | %s | %s | %s / %s | %s / %s | %.2f / %.2f | %s / %s | %s | %s | %s | %s of %s | %s (+%s) | %s / %s, %s | %s |\n", name, number(one.Values["p50_ms"]), number(stock1.Values["p50_ms"]),
			number(v["p50_ms"]), number(v["p99_ms"]), number(f["p50_ms"]), number(f["p99_ms"]), v["p50_ms"]/f["p50_ms"], v["p99_ms"]/f["p99_ms"], number(s["p50_ms"]), number(s["p99_ms"]),
			number(v["cpu_us"]), number(f["cpu_us"]), number(s["cpu_us"]), number(v["right"]), number(v["asked"]), number(s["right"]), number(s["right_but_ties"]), number(p.p50), number(p.p99), number(p.cpu), noiseShare(r.Noise, r.Wall))
	}
	b.WriteString("\n† measured earlier on the same kind of machine and load, not in this run.\n")
	b.WriteString("\n## COUNT\n\n| filter | one: p50 / p99 ms | eight: p50 / p99 ms | CPU µs | exact | stock p50 ms, one | stock exact |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, name := range []string{"kind", "author", "#s", "#s+#f"} {
		one, ok := book.find("count", name, "mostrodex", 1)
		eight, ok8 := book.find("count", name, "mostrodex", connections)
		if !ok || !ok8 {
			fmt.Fprintf(b, "| %s | not measured | | | | | |\n", name)
			continue
		}
		s, _ := beside(all, one, "stock", "count", name, 1)
		fmt.Fprintf(b, "| %s | %s / %s | %s / %s | %s | %s of %s | %s | %s |\n", name, number(one.Values["p50_ms"]), number(one.Values["p99_ms"]), number(eight.Values["p50_ms"]), number(eight.Values["p99_ms"]),
			number(eight.Values["cpu_us"]), number(one.Values["right"]), number(one.Values["asked"]), number(s.Values["p50_ms"]), number(s.Values["right"]))
	}
}

func writeRest(b *strings.Builder, title string, book resultBook, scenarios ...string) {
	b.WriteString("\n## " + title + "\n\n| scenario | figure | clients | values | noise | scale |\n| --- | --- | --- | --- | --- | --- |\n")
	var keys []string
	for key, r := range book {
		if slices.Contains(scenarios, r.Scenario) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		r := book[key]
		var values []string
		for k, v := range r.Values {
			values = append(values, k+" "+number(v))
		}
		slices.Sort(values)
		fmt.Fprintf(b, "| %s | %s (%s) | %d | %s | %s | %s |\n", r.Scenario, r.Figure, r.Subject, r.Clients, strings.Join(values, ", "), noiseShare(r.Noise, r.Wall), number(r.Scale))
	}
}

const reputationText = "\nThese are the benchmarks of package reputation, in one process. Events are parsed before, and no\nfigure includes their generation. Noise is that of the whole run. cpu is the sum over all cores.\n"

// writeRuns writes the run, version, command and machine of the results.
func writeRuns(b *strings.Builder, book resultBook) {
	type run struct{ id, line string }
	var runs []run
	for _, r := range book {
		line := fmt.Sprintf("run %s, version %s, %s\n  %s\n", r.Run, r.Version, r.Machine, r.Command)
		if !slices.ContainsFunc(runs, func(x run) bool { return x.line == line }) {
			runs = append(runs, run{r.Run, line})
		}
	}
	slices.SortFunc(runs, func(a, c run) int { return strings.Compare(a.line, c.line) })
	b.WriteString("\n## Runs\n\n```\n")
	for _, r := range runs {
		b.WriteString(r.line)
	}
	b.WriteString("```\n")
}

const reportHead = `# Performance

` + "`make bench-report`" + ` writes this file from tools/bench/results.jsonl. No figure is typed by hand, and
a missed target is shown as missed. ` + "`make bench`" + ` repeats the measurements.

**Method.** The server and the load generator are separate processes on one machine and share its
cores. CPU is utime + stime of the server from /proc. Memory is RssAnon of the server. Each relay
runs with its fastest signature check (libsecp256k1).

* **mostrodex** is the whole program: relay, book, text index and reputation. **relay** is the same
  program with only the relay enabled.
* **stock** is khatru v0.19.1 with eventstore v0.17.8's badger, configured as their documentation
  shows, and a guard against malformed d tags. It does not sync before it sends OK.
* **floor** is a server with prepared answers. For each REQ it reads a frame, unmasks it, looks up
  the payload in a map and writes the prepared frames with one write call. One goroutine serves one
  connection. The floor does not parse or filter.
* **signature limit** is go-nostr's CheckSignature with libsecp256k1 over the parsed events of the
  load, on all cores. Ratios are relative to the limit, stock and floor of the same run.

The load is 100,000 signed events of 40 instances (Zipf), orders with histories over 72 hours, about
41,000 of them live at the end. It is sent on 8 connections with 32 unacknowledged events each. All
versions of one order are sent on one connection. The oracle scans all events with go-nostr's
Filter.Matches and shares no code with the relays. At ingest each relay takes three turns, and the
turn with the median CPU is kept. If other processes use more than a tenth of the machine, a
measurement is repeated (-tries; the section Runs has the command), and the least disturbed result
is kept. The remaining noise is shown beside each figure. Noise distorts rates and latencies. It has
little effect on CPU figures and on ratios between subjects that took turns.

`

const socketText = `
**Fan-out**: 100 sockets have ten subscriptions each. 20 authors publish 200 events a second, so
each event has 50 deliveries, each to a different socket. In the second case 100 authors publish,
and each event has 10 deliveries. mostrodex has one more subscriber that never reads.
delivery_cpu_us is cpu_us minus the cost of as many events without subscribers, measured just
before, because a stock relay does not sync.

**reconcile**: two processes follow each other. Each holds events_each events, and apart/2 of them
are missing in the other. seconds is the time from the first connection until the slower relay
serves all events. Traffic is all bytes of both connections in both directions, with the events and
HTTP. Indexes are disabled.

**fill**: an empty relay receives all events of the other.
`

const tradesText = `
**over sockets**: a process of ` + "`mostrodex demo`" + ` with all rooms, and traders in another
process. A trade is a sell order with its take, hold invoice, fiat-sent, release and payout. Each
trade has two new trade keys and subscriptions, and a trader keeps the connections of both sides.
Every message is sealed, signed, published, opened and checked. The network is lnsim, whose file has
every change before a caller learns of it. cpu_ms_per_trade is the processor time of the demo.

**engine**: the decisions of the engine in one process, without sockets. A decision is one input of
a trade, a message or an answer of the node, that was decided, and whose journal row, trade and
effects were sealed, signed and committed with a sync. 64 trades share a commit. Opening of the
messages is not included.

**LND**: whole trades through the engine on three real LND nodes, beside the bare calls of such
trades in the same run: add a hold invoice, pay, wait until accepted, settle, pay out, wait until
paid. Both take turns. percent is the rate of trades relative to the bare calls. Ten bare trades run
in step, so their ten updates of a channel fill LND's commitment batch (ten updates or 50 ms), and
the nodes use 27 ms of processor time a trade. Whole trades are in different steps, and the nodes
use 37 ms. With a batch of four updates on these nodes, the share rose from 73 % to 84 %.
`

const queryText = `Each row has up to 30 different filters, with limit 100 unless another limit is named. First every
answer is compared with the oracle's: the same events with identical signed bytes, in the same
order. Then clients send the filters in closed loops. The relay and the floor take four turns each,
the stock relay takes one. Latency is the time from REQ to EOSE.
`
