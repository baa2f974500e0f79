package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nbd-wtf/go-nostr"
)

func TestGuard(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "a", "a=b": "a=b", "5 - 3": "5 - 3",
		"=1+1": "'=1+1", "+58 412": "'+58 412", "-": "'-", "@SUM(A1)": "'@SUM(A1)", "＝1": "'＝1",
		"\t=1": "'\t'=1", "\r=1": "'\r'=1", " =1": " '=1", "\u200b=1": "\u200b'=1", "\u00a0@x": "\u00a0'@x",
		"a;=1": "a;'=1", "a\n=1": "a\n'=1", `a"=1`: `a"'=1`, "a|-1": "a|'-1", "a; +1": "a; '+1", "a\t@x": "a\t'@x",
		`["=cmd|' /C calc'!A0"]`: `["'=cmd|' /C calc'!A0"]`,
	} {
		if got := Guard(text); got != want {
			t.Errorf("Guard(%q) = %q, want %q", text, got, want)
		}
	}
}

// cellsOf splits a line as a program with another separator does.
func cellsOf(raw string, separator rune) []string {
	return strings.FieldsFunc(raw, func(r rune) bool { return r == separator || r == '\n' || r == '\r' })
}

// dangerous reports whether a spreadsheet takes a cell for a formula.
func dangerous(cell string) bool {
	cell = strings.TrimLeftFunc(cell, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '"'
	})
	return cell != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(cell)[0])
}

// FuzzCSV: no text of an event begins a cell of CSV with a formula, whichever separator a program
// takes, and every cell is read back with its text but for apostrophes.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"=1", "a;=cmd", "x\r\n=1", `"",=1`, "\"\n@", "-1,+2", "a\tb", "\u2028=1"} {
		f.Add(s, s)
	}
	set, _ := SetOf("history")
	f.Fuzz(func(t *testing.T, description, method string) {
		var out bytes.Buffer
		w := NewCSV(&out, set)
		amount := int64(-5) // numbers are no texts
		row := &HistoryRow{Offer: Offer{AmountSats: &amount, Methods: []string{clean(method)}, D: clean(description)}, Description: clean(description)}
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(bytes.NewReader(out.Bytes()))
		r.LazyQuotes = false
		all, err := r.ReadAll()
		if err != nil || len(all) != 2 || len(all[1]) != len(set.Columns) {
			t.Fatalf("%v: %d lines of %q", err, len(all), out.String())
		}
		for i, c := range set.Columns {
			if cell := all[1][i]; (c.Type == Text || c.Type == List) && dangerous(cell) {
				t.Errorf("%s is %q", c.Name, cell)
			}
			if c.Name == "description" {
				plain := func(s string) string {
					return strings.NewReplacer("'", "", "\r", "").Replace(s) // the reader of this test changes line ends
				}
				if plain(all[1][i]) != plain(row.Description) {
					t.Errorf("%q became %q", row.Description, all[1][i])
				}
			}
		}
		_, body, _ := strings.Cut(out.String(), "\r\n")
		for _, separator := range ";\t|" {
			for _, cell := range cellsOf(body, separator) {
				if dangerous(cell) && !strings.HasPrefix(cell, "-5") {
					t.Errorf("split at %q: %q", separator, cell)
				}
			}
		}
	})
}

// TestNDJSON reads a row back.
func TestNDJSON(t *testing.T) {
	set, _ := SetOf("trades")
	at := time.UnixMilli(1_790_000_000_123).UTC()
	half, amount := 0.5, int64(12)
	row := &TradeRow{Receipt: Receipt{ReceivedAt: at, Road: "live", Relay: "wss://x", Witnessed: true}, Offer: Offer{Pubkey: "ab", D: "q\"\n\u2028", CreatedAt: at, FiatMin: &half, AmountSats: &amount, Methods: []string{"a", "b,c"}}, SuccessAt: at, FirstCreatedAt: at}
	var out bytes.Buffer
	w := NewNDJSON(&out, set)
	if err := w.Write(row); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"received_at": "2026-09-21T14:13:20.123Z", "relay": "wss://x", "witnessed": true, "d": "q\"\n\u2028", "fiat_min": 0.5, "fiat_max": nil, "amount_sats": 12.0, "methods": []any{"a", "b,c"}, "layers": []any{}, "platform": nil}
	for name, v := range want {
		if fmt.Sprint(got[name]) != fmt.Sprint(v) {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if len(got) != len(set.Columns) {
		t.Errorf("%d fields, want %d", len(got), len(set.Columns))
	}
	if err := w.Write(&OrderRow{}); err == nil {
		t.Error("a row of another data set is written")
	}
}

// TestColumns: every column is described, and no name comes twice.
func TestColumns(t *testing.T) {
	for _, set := range Sets() {
		seen := map[string]bool{}
		for _, c := range set.Columns {
			if c.Name == "" || c.Doc == "" || seen[c.Name] {
				t.Errorf("%s: column %+v", set.Name, c)
			}
			seen[c.Name] = true
		}
		for _, name := range append([]string{"received_at", "road", "relay", "witnessed", "before_coverage"}, set.Key...) {
			if !seen[name] {
				t.Errorf("%s has no column %s", set.Name, name)
			}
		}
	}
}

func TestInstants(t *testing.T) {
	for _, at := range []nostr.Timestamp{-1 << 62, -1, 0, 1 << 62} {
		if y := instant(at).Year(); y < 1 || y > 9999 {
			t.Errorf("%d is in the year %d", at, y)
		}
	}
}
