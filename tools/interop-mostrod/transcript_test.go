package interopmostrod

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// transcript is the normalised record of a script: one line for each field of each message
// and for each tag of each event, ordered within a step.
type transcript struct {
	script, node string
	steps        []step
}

type step struct {
	title string
	lines []string
}

func (x *transcript) begin(title string) { x.steps = append(x.steps, step{title: title}) }

// step returns the title of the present step.
func (x *transcript) step() string { return x.steps[len(x.steps)-1].title }

func (x *transcript) add(line string) {
	s := &x.steps[len(x.steps)-1]
	s.lines = append(s.lines, line)
}

// message adds the lines of one message.
func (x *transcript) message(n *normaliser, to string, raw []byte, at int64) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var m map[string]map[string]any
	if err := d.Decode(&m); err != nil {
		x.add(to + " < unreadable: " + err.Error())
		return
	}
	for wrapper, fields := range m {
		action := fmt.Sprint(fields["action"])
		x.add(fmt.Sprintf("%s < %s %s", to, wrapper, action))
		for _, key := range sortedKeys(fields) {
			if key == "action" {
				continue
			}
			n.flatten(key, fields[key], at, func(path, value string) {
				x.add(fmt.Sprintf("%s < %s %s = %s", to, action, path, value))
			})
		}
	}
}

// event adds the lines of one public event.
func (x *transcript) event(n *normaliser, evt *nostr.Event) {
	name := fmt.Sprint(evt.Kind)
	if s := evt.Tags.Find("s"); s != nil {
		name += " " + s[1]
	}
	var order []string
	for _, tag := range evt.Tags {
		order = append(order, tag[0])
		value := n.tag(tag[1:], int64(evt.CreatedAt))
		if tag[0] == "seq" { // the number of the event, which grows with the time
			value = "N"
		}
		x.add(fmt.Sprintf("public %s tag %s = %s", name, tag[0], value))
	}
	x.add(fmt.Sprintf("public %s tags %s", name, strings.Join(order, " ")))
	if evt.Content != "" {
		x.add(fmt.Sprintf("public %s content %d bytes", name, len(evt.Content)))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// normaliser replaces the values that differ from one run to the next: ids, keys,
// invoices, hashes, times.
type normaliser struct {
	requests map[string]string // sender and action by the id of a request
	pairs    []string          // text and its replacement
}

var (
	invoiceText = regexp.MustCompile(`\blnbcrt[0-9a-z]{50,}`)
	hexText     = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	uuidText    = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	timeText    = regexp.MustCompile(`\b1[0-9]{9}\b`)
)

// text normalises a value. at is the time of the event. A time is written as its distance
// in hours from that time, so that a lifetime is compared and the clock is not.
func (n *normaliser) text(s string, at int64) string {
	s = strings.NewReplacer(n.pairs...).Replace(s)
	s = invoiceText.ReplaceAllString(s, "INVOICE")
	s = hexText.ReplaceAllString(s, "HEX")
	s = uuidText.ReplaceAllString(s, "UUID")
	return timeText.ReplaceAllStringFunc(s, func(digits string) string {
		t, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return digits
		}
		hours := (t - at + 1800)
		if hours < 0 {
			hours -= 3599
		}
		return fmt.Sprintf("T%+dh", hours/3600)
	})
}

// tag normalises the values of a tag.
func (n *normaliser) tag(values []string, at int64) string {
	var list []string
	for _, v := range values {
		list = append(list, n.text(v, at))
	}
	return strings.Join(list, " | ")
}

// flatten calls fn for each scalar in a JSON value, with its path.
func (n *normaliser) flatten(path string, v any, at int64, fn func(path, value string)) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			fn(path, "{}")
		}
		for _, key := range sortedKeys(v) {
			n.flatten(path+"."+key, v[key], at, fn)
		}
	case []any:
		if len(v) == 0 {
			fn(path, "[]")
		}
		for i, item := range v {
			n.flatten(fmt.Sprintf("%s[%d]", path, i), item, at, fn)
		}
	case nil:
		fn(path, "null")
	case string:
		fn(path, n.text(v, at))
	case json.Number:
		if path == "request_id" {
			fn(path, "of "+cmp.Or(n.requests[v.String()], "no request"))
			return
		}
		fn(path, n.text(v.String(), at))
	default:
		fn(path, fmt.Sprint(v))
	}
}

// String returns the transcript as text, with the lines of each step in order.
func (x *transcript) String() string {
	var b strings.Builder
	for _, s := range x.steps {
		fmt.Fprintf(&b, "## %s\n", s.title)
		lines := slices.Clone(s.lines)
		sort.Strings(lines)
		for _, l := range lines {
			fmt.Fprintln(&b, l)
		}
	}
	return b.String()
}

// difference is a line that only one of two transcripts has.
type difference struct{ script, step, only, line string }

func (d difference) String() string {
	return fmt.Sprintf("| %s | %s | %s | `%s` |", d.script, d.step, d.only, d.line)
}

// compare returns the lines that only one transcript has. Lines are compared as
// multisets within a step, because the order in which messages arrive at different keys
// has no meaning.
func compare(a, b *transcript) (list []difference) {
	for i := range max(len(a.steps), len(b.steps)) {
		var left, right step
		if i < len(a.steps) {
			left = a.steps[i]
		}
		if i < len(b.steps) {
			right = b.steps[i]
		}
		title := left.title
		if title == "" {
			title = right.title
		}
		count := make(map[string]int)
		for _, l := range left.lines {
			count[l]++
		}
		for _, l := range right.lines {
			count[l]--
		}
		for _, l := range sortedKeys(count) {
			for n := count[l]; n > 0; n-- {
				list = append(list, difference{a.script, title, a.node, l})
			}
			for n := count[l]; n < 0; n++ {
				list = append(list, difference{a.script, title, b.node, l})
			}
		}
	}
	return list
}

// allowed is one row of the table of allowed differences. A star in a cell stands for
// any text.
type allowed struct {
	script, step, only, line *regexp.Regexp
	reason, row              string
	met                      bool
}

// parityPath is the document with the table of allowed differences.
const parityPath = "../../docs/parity.md"

// differencesHeading is the heading of the section with the table.
const differencesHeading = "## Differences of the transcripts"

// allowedDifferences reads the table of docs/parity.md.
func allowedDifferences(t *testing.T) (list []*allowed) {
	t.Helper()
	for _, cells := range tableOf(t, differencesHeading) {
		if len(cells) != 5 || cells[4] == "" {
			t.Fatalf("a row of the table has %d cells, want script, step, only, line and reason: %v", len(cells), cells)
		}
		list = append(list, allowedOf(cells))
	}
	return list
}

// allowedOf parses one row.
func allowedOf(cells []string) *allowed {
	a := &allowed{reason: cells[4], row: strings.Join(cells, " | ")}
	for i, to := range []**regexp.Regexp{&a.script, &a.step, &a.only, &a.line} {
		cell := strings.ReplaceAll(strings.Trim(cells[i], "`"), `\|`, "|")
		*to = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(cell), `\*`, ".*") + "$")
	}
	return a
}

// tableOf returns the cells of the rows of the first table below a heading of
// docs/parity.md.
func tableOf(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(parityPath)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/parity.md has no section %q", heading)
	}
	n := 0
	for line := range strings.SplitSeq(section, "\n") {
		if strings.HasPrefix(line, "#") || n > 0 && !strings.HasPrefix(line, "|") {
			break
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		if n++; n <= 2 { // header and rule
			continue
		}
		rows = append(rows, cellsOf(line))
	}
	if len(rows) == 0 {
		t.Fatalf("the section %q has no table", heading)
	}
	return rows
}

// cellsOf splits a row of a table. A backslash before a bar keeps the bar in its cell.
func cellsOf(line string) (cells []string) {
	var cell strings.Builder
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == '|':
			cell.WriteString(`\|`)
			i++
		case line[i] == '|':
			cells = append(cells, strings.TrimSpace(cell.String()))
			cell.Reset()
		default:
			cell.WriteByte(line[i])
		}
	}
	return cells
}

// allows reports whether a row allows the difference.
func (a *allowed) allows(d difference) bool {
	return a.script.MatchString(d.script) && a.step.MatchString(d.step) && a.only.MatchString(d.only) && a.line.MatchString(d.line)
}

// unlisted returns the differences that no row allows, and marks the rows that are met.
func unlisted(list []difference, rows []*allowed) (rest []difference) {
	for _, d := range list {
		ok := false
		for _, a := range rows {
			if a.allows(d) {
				a.met, ok = true, true
			}
		}
		if !ok {
			rest = append(rest, d)
		}
	}
	return rest
}

// judge fails the test for each difference that the table does not list.
func judge(t *testing.T, list []difference, rows []*allowed) {
	t.Helper()
	for _, d := range unlisted(list, rows) {
		t.Errorf("docs/parity.md does not allow: %s", d)
	}
}

// keep writes a transcript to the directory of envTranscripts.
func keep(t *testing.T, x *transcript) {
	t.Helper()
	dir := os.Getenv(envTranscripts)
	if dir == "" {
		return
	}
	path := filepath.Join(dir, strings.ReplaceAll(x.script, " ", "-")+"."+x.node+".txt")
	if err := os.WriteFile(path, []byte(x.String()), 0o600); err != nil {
		t.Error(err)
	}
}
