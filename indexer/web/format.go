package web

import (
	"net/url"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
)

func momentOf(l *lang.Lang, unix *int64, now time.Time) webpage.Moment {
	if unix == nil {
		return webpage.Moment{}
	}
	return l.Moment(time.Unix(*unix, 0), now)
}

// ageText returns the time since an order was signed, as text. The time is negative if
// the publisher's clock is fast.
func ageText(age time.Duration) string {
	if age < 0 {
		return "dated " + webpage.Ago(age) + " ahead"
	}
	return "signed " + webpage.Ago(age) + " ago"
}

// amountText returns a fiat amount or range as text.
func amountText(r mostro.Range) string {
	lo, hi := decimalOrNull(r.Min), decimalOrNull(r.Max)
	switch {
	case lo == nil && hi == nil:
		return "any amount"
	case lo == nil:
		return "up to " + webpage.Grouped(*hi)
	case hi == nil || *lo == *hi:
		return webpage.Grouped(*lo)
	}
	return webpage.Grouped(*lo) + "–" + webpage.Grouped(*hi)
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
