package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
	"rsc.io/qr"
)

// historyRow is one version of an order.
type historyRow struct {
	Status, Raw, Via, Sats, ID, Short string
	Created, Received                 webpage.Moment
	Delay                             string // from the signature to the receipt, "" if it is not known or short
	Archived, Withdrawn               bool
}

// publisherRow is the record of the publisher of an order.
type publisherRow struct {
	Trades, Disputes, Orders int
	Volume                   string
	First                    webpage.Moment
}

// orderData is the page of an order.
type orderData struct {
	frame
	Row                 orderRow
	Methods             []string
	Description, Layers string
	Pubkey, D, EventID  string
	Rate                string // reference price of one bitcoin and its source, "" if it is unknown
	Fee                 string // taker's half of the fee in sats, "" if it is unknown
	Expires, FirstSeen  webpage.Moment
	Expired             bool
	QR                  *qrCode       // of the link with which the order is taken; nil: there is none
	Publisher           *publisherRow // nil: the publisher is no instance
	History             []historyRow
	Count               string
	Older, Newest       string // URLs of other pages of the history; "" if there are none
}

func (x *explorer) orderPage(r *http.Request) (string, any, error) {
	l := lang.Of(r)
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return "", nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	record, versions, next, err := x.shownOrder(r, pubkey)
	if err != nil {
		return "", nil, err
	}
	now, o := x.index.Now(), &record.Order
	end, ends := record.Ends()
	row := x.row(l, record, math.NaN(), now)
	title := l.T("order.title."+cmp.Or(row.Want, "other"), row.Pay, row.Get)
	d := &orderData{
		frame: frame{Title: title, Page: "order"}, Row: row, Description: strings.TrimSpace(webpage.Plain(o.Description)),
		Layers: plainLine(strings.Join(o.Layers, ", ")), Pubkey: o.Pubkey, D: plainLine(o.D), EventID: o.EventID,
		Expires: l.Moment(o.ExpiresAt.Time(), now), FirstSeen: l.Moment(record.FirstSeenAt, now),
		Expired: o.Status == mostro.StatusPending && ends && end.Unix() <= now.Unix(), QR: qrOf(string(row.Take)),
	}
	d.Methods = row.Methods
	if p := x.priceOf(o, math.NaN(), now); p != nil {
		if p.Rate != nil {
			from := l.T("order.rate_operator")
			if p.Rate.Nodes > 0 {
				from = l.T("order.rate_nodes", p.Rate.Nodes)
			}
			d.Rate = l.Number(shortDecimal(p.Rate.BTC)) + " " + plainLine(o.Fiat) + " · " + from
		}
		if p.FeeSats != nil {
			d.Fee = l.T("book.sats", l.Int(*p.FeeSats))
		}
	}
	if x.index.IsInstance(o.Pubkey) {
		v, err := x.instance(r.Context(), o.Pubkey, wantsSpam(r))
		if err == nil { // else the rules hide the publisher, and the page shows no record of it
			d.Publisher = &publisherRow{Trades: v.Trades, First: momentOf(l, v.FirstSeenAt, now)}
			for _, n := range v.Disputes {
				d.Publisher.Disputes += n
			}
			for _, n := range v.Orders {
				d.Publisher.Orders += n
			}
			if v.VolumeSats != nil {
				d.Publisher.Volume = l.T("book.sats", l.Int(*v.VolumeSats))
			}
		}
	}
	d.Count = l.T("order.versions", record.Versions)
	if next != "" {
		d.Older = row.Link + "?cursor=" + url.QueryEscape(next)
	}
	if r.URL.Query().Get("cursor") != "" {
		d.Newest = row.Link
	}
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		h := historyRow{Status: cmp.Or(string(v.Order.Status), "unknown"), Via: v.Source.String(), ID: v.Order.EventID, Short: v.Order.EventID[:8],
			Created: l.Moment(v.Order.CreatedAt.Time(), now), Received: l.Moment(v.ReceivedAt, now), Archived: v.Archived, Withdrawn: v.Withdrawn}
		if late := v.ReceivedAt.Sub(v.Order.CreatedAt.Time()); late > time.Minute {
			h.Delay = l.T("order.late", l.Span(late))
		} else if late < -time.Minute {
			h.Delay = l.T("order.early", l.Span(late))
		}
		if v.Order.RawStatus != string(v.Order.Status) {
			h.Raw = plainLine(v.Order.RawStatus)
		}
		if n := satsOrNull(v.Order.AmountSats); n != nil {
			h.Sats = l.Int(*n)
		}
		d.History = append(d.History, h)
	}
	return "order", d, nil
}

// shortDecimal returns a decimal with at most two places.
func shortDecimal(s string) string {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 1 {
		return s
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// qrCode is a QR code as the path of a drawing of Size by Size modules.
type qrCode struct {
	Size int
	Path string
}

// maxQR bounds the bytes of a link that is drawn. A longer link makes a code that a phone cannot
// read from a screen.
const maxQR = 600

// qrOf returns a link as a QR code, nil if there is no link or it is too long.
func qrOf(link string) *qrCode {
	if link == "" || len(link) > maxQR {
		return nil
	}
	code, err := qr.Encode(link, qr.L)
	if err != nil {
		return nil // longer than the largest code
	}
	const quiet = 4
	var b strings.Builder
	for y := range code.Size {
		for from := 0; from < code.Size; from++ {
			if !code.Black(from, y) {
				continue
			}
			until := from
			for until < code.Size && code.Black(until, y) {
				until++
			}
			b.WriteString("M" + strconv.Itoa(from+quiet) + " " + strconv.Itoa(y+quiet) + "h" + strconv.Itoa(until-from) + "v1h-" + strconv.Itoa(until-from) + "z")
			from = until
		}
	}
	return &qrCode{code.Size + 2*quiet, b.String()}
}
