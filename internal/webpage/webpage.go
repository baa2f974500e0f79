// Package webpage holds what the program's HTML pages share: the style sheet, and the forms of
// times and numbers. Pages are made on the server and need no script.
package webpage

import (
	"crypto/sha256"
	_ "embed" // the style sheet
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed style.css
var style []byte

// StylePath returns the path of the style sheet. The path has a hash of the sheet, so clients
// may cache the sheet without limit.
func StylePath() string {
	sum := sha256.Sum256(style)
	return "/assets/style-" + hex.EncodeToString(sum[:6]) + ".css"
}

// ServeStyle answers with the style sheet.
func ServeStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(style) // a write error means that the client is gone
}

// Moment is a time as a page shows it. Both texts are empty if the time is unknown.
type Moment struct{ RFC, Text string }

// MomentAt returns a time with its distance to now.
func MomentAt(t time.Time, now time.Time) Moment {
	if t.IsZero() || t.Unix() <= 0 {
		return Moment{}
	}
	text := Ago(now.Sub(t)) + " ago"
	if t.After(now) {
		text = "in " + Ago(t.Sub(now))
	}
	return Moment{t.UTC().Format(time.RFC3339), t.UTC().Format("2006-01-02 15:04 UTC") + " (" + text + ")"}
}

// Ago returns a duration, without its sign, in its largest unit.
func Ago(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}

// Plural returns a number with the word for it.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(strconv.Itoa(n)) + " " + many
}

// Grouped inserts thin spaces between thousands.
func Grouped(number string) string {
	whole, fraction, dot := strings.Cut(number, ".")
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 && whole[i-1] != '-' {
			b.WriteString("\u202f")
		}
		b.WriteRune(c)
	}
	if dot {
		b.WriteString("." + fraction)
	}
	return b.String()
}
