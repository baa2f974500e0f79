package web

import (
	"net/url"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/clip"
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

// amountText returns a fiat amount or range as text.
func amountText(l *lang.Lang, r mostro.Range) string {
	lo, hi := decimalOrNull(r.Min), decimalOrNull(r.Max)
	switch {
	case lo == nil && hi == nil:
		return l.T("book.any_amount")
	case lo == nil:
		return l.T("book.up_to", l.Number(*hi))
	case hi == nil || *lo == *hi:
		return l.Number(*lo)
	}
	return l.Number(*lo) + "–" + l.Number(*hi)
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

// plainLine returns a text of a publisher as one line that cannot change how the page around it
// reads.
func plainLine(s string) string {
	return strings.Join(strings.Fields(webpage.Plain(clip.Text(s, maxLine))), " ")
}

// maxLine bounds the bytes of a text in a line of a page.
const maxLine = 240
