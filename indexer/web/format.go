package web

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// moment is a time as a page shows it. Both texts are empty if the time is unknown.
type moment struct{ RFC, Text string }

func momentAt(t time.Time, now time.Time) moment {
	if t.IsZero() || t.Unix() <= 0 {
		return moment{}
	}
	text := ago(now.Sub(t)) + " ago"
	if t.After(now) {
		text = "in " + ago(t.Sub(now))
	}
	return moment{rfc(t), t.UTC().Format("2006-01-02 15:04 UTC") + " (" + text + ")"}
}

func momentOf(unix *int64, now time.Time) moment {
	if unix == nil {
		return moment{}
	}
	return momentAt(time.Unix(*unix, 0), now)
}

// ageText returns the time since an order was signed, as text. The time is negative if
// the publisher's clock is fast.
func ageText(age time.Duration) string {
	if age < 0 {
		return "dated " + ago(age) + " ahead"
	}
	return "signed " + ago(age) + " ago"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(strconv.Itoa(n)) + " " + many
}

// amountText returns a fiat amount or range as text.
func amountText(r mostro.Range) string {
	lo, hi := decimalOrNull(r.Min), decimalOrNull(r.Max)
	switch {
	case lo == nil && hi == nil:
		return "any amount"
	case lo == nil:
		return "up to " + grouped(*hi)
	case hi == nil || *lo == *hi:
		return grouped(*lo)
	}
	return grouped(*lo) + "–" + grouped(*hi)
}

func premiumText(d *mostro.Decimal) string {
	if d == nil {
		return "–"
	}
	if d.Sign() > 0 {
		return "+" + d.String() + " %"
	}
	if d.Sign() < 0 {
		return "−" + strings.TrimPrefix(d.String(), "-") + " %"
	}
	return "±0 %"
}

// grouped inserts thin spaces between thousands.
func grouped(number string) string {
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

// orderPath returns the path of an order. The d of an order may contain slashes and dots.
func orderPath(pubkey, d string) string {
	d = url.PathEscape(d)
	if d == "." || d == ".." {
		d = strings.ReplaceAll(d, ".", "%2E")
	}
	return pubkey + "/" + d
}

// percent returns a fraction as an exact percentage.
func percent(fraction string) string {
	d, err := mostro.ParseDecimal(fraction)
	if err != nil {
		return fraction
	}
	whole, part, _ := strings.Cut(d.String(), ".")
	part += "00"
	shifted, err := mostro.ParseDecimal(whole + part[:2] + "." + part[2:])
	if err != nil {
		return fraction
	}
	return shifted.String() + " %"
}
