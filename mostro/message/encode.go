package message

import (
	"math"
	"strconv"

	"github.com/mostrodex/mostrodex/internal/jsontext"
)

// AppendJSON appends the canonical JSON of the message. These are the bytes that the
// reference implementation writes, signs and verifies. Fields keep their order. An
// absent value is null or omitted, as its field requires. Only ", \ and control
// characters are escaped. Floats have a fraction or an exponent.
func (m Message) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	dst = jsontext.AppendString(dst, string(m.Wrapper))
	dst = append(dst, `:{"version":`...)
	dst = strconv.AppendUint(dst, uint64(m.Version), 10)
	dst = append(dst, `,"request_id":`...)
	if m.RequestID == nil {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendUint(dst, *m.RequestID, 10)
	}
	dst = append(dst, `,"trade_index":`...)
	dst = appendIntOrNull(dst, m.TradeIndex)
	if m.ID != nil {
		dst = append(dst, `,"id":"`...)
		dst = m.ID.appendTo(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"action":`...)
	dst = jsontext.AppendString(dst, string(m.Action))
	dst = append(dst, `,"payload":`...)
	if m.Payload == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, '{', '"')
		dst = append(dst, m.Payload.PayloadKey()...)
		dst = append(dst, '"', ':')
		dst = m.Payload.appendBody(dst)
		dst = append(dst, '}')
	}
	return append(dst, '}', '}')
}

// JSON returns the bytes of AppendJSON in a new slice.
func (m Message) JSON() []byte { return m.AppendJSON(make([]byte, 0, 512)) }

func (o *SmallOrder) appendBody(dst []byte) []byte {
	if o == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	if o.ID != nil {
		dst = append(dst, `"id":"`...)
		dst = o.ID.appendTo(dst)
		dst = append(dst, '"', ',')
	}
	dst = append(dst, `"kind":`...)
	dst = appendWordOrNull(dst, string(o.Kind))
	dst = append(dst, `,"status":`...)
	dst = appendWordOrNull(dst, string(o.Status))
	dst = append(dst, `,"amount":`...)
	dst = strconv.AppendInt(dst, o.AmountSats, 10)
	dst = append(dst, `,"fiat_code":`...)
	dst = jsontext.AppendString(dst, o.FiatCode)
	dst = append(dst, `,"min_amount":`...)
	dst = appendIntOrNull(dst, o.MinAmount)
	dst = append(dst, `,"max_amount":`...)
	dst = appendIntOrNull(dst, o.MaxAmount)
	dst = append(dst, `,"fiat_amount":`...)
	dst = strconv.AppendInt(dst, o.FiatAmount, 10)
	dst = append(dst, `,"payment_method":`...)
	dst = jsontext.AppendString(dst, o.PaymentMethod)
	dst = append(dst, `,"premium":`...)
	dst = strconv.AppendInt(dst, o.Premium, 10)
	if o.BuyerTradePubkey != nil {
		dst = append(dst, `,"buyer_trade_pubkey":`...)
		dst = jsontext.AppendString(dst, *o.BuyerTradePubkey)
	}
	if o.SellerTradePubkey != nil {
		dst = append(dst, `,"seller_trade_pubkey":`...)
		dst = jsontext.AppendString(dst, *o.SellerTradePubkey)
	}
	if o.BuyerInvoice != nil {
		dst = append(dst, `,"buyer_invoice":`...)
		dst = jsontext.AppendString(dst, *o.BuyerInvoice)
	}
	dst = append(dst, `,"created_at":`...)
	dst = appendIntOrNull(dst, o.CreatedAt)
	dst = append(dst, `,"expires_at":`...)
	dst = appendIntOrNull(dst, o.ExpiresAt)
	if o.CashuMintURL != nil {
		dst = append(dst, `,"cashu_mint_url":`...)
		dst = jsontext.AppendString(dst, *o.CashuMintURL)
	}
	return append(dst, '}')
}

func (p PaymentRequest) appendBody(dst []byte) []byte {
	dst = append(dst, '[')
	dst = p.Order.appendBody(dst)
	dst = append(dst, ',')
	dst = jsontext.AppendString(dst, p.Invoice)
	dst = append(dst, ',')
	dst = appendIntOrNull(dst, p.Amount)
	return append(dst, ']')
}

func (t TextMessage) appendBody(dst []byte) []byte { return jsontext.AppendString(dst, string(t)) }

func (p Peer) appendBody(dst []byte) []byte {
	dst = append(dst, `{"pubkey":`...)
	dst = jsontext.AppendString(dst, p.Pubkey)
	dst = append(dst, `,"reputation":`...)
	dst = p.Reputation.appendTo(dst)
	return append(dst, '}')
}

func (u *UserInfo) appendTo(dst []byte) []byte {
	if u == nil {
		return append(dst, "null"...)
	}
	return u.appendBody(dst)
}

func (u UserInfo) appendBody(dst []byte) []byte {
	dst = append(dst, `{"rating":`...)
	dst = appendFloatRust(dst, u.Rating)
	dst = append(dst, `,"reviews":`...)
	dst = strconv.AppendInt(dst, u.Reviews, 10)
	dst = append(dst, `,"operating_days":`...)
	dst = strconv.AppendUint(dst, u.OperatingDays, 10)
	if u.Since != nil {
		dst = append(dst, `,"since":`...)
		dst = strconv.AppendUint(dst, startOfDay(*u.Since), 10)
	}
	return append(dst, '}')
}

// startOfDay returns the start of a time's day in UTC, both in unix seconds.
func startOfDay(t uint64) uint64 { return t - t%86400 }

func (r RatingUser) appendBody(dst []byte) []byte { return strconv.AppendUint(dst, uint64(r), 10) }

func (a Amount) appendBody(dst []byte) []byte { return strconv.AppendInt(dst, int64(a), 10) }

func (d DisputeRef) appendBody(dst []byte) []byte {
	dst = append(dst, '[', '"')
	dst = d.ID.appendTo(dst)
	dst = append(dst, '"', ',')
	dst = d.Info.appendTo(dst)
	return append(dst, ']')
}

func (i *SolverDisputeInfo) appendTo(dst []byte) []byte {
	if i == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"id":"`...)
	dst = i.ID.appendTo(dst)
	dst = append(dst, `","kind":`...)
	dst = jsontext.AppendString(dst, i.Kind)
	dst = append(dst, `,"status":`...)
	dst = jsontext.AppendString(dst, i.Status)
	dst = append(dst, `,"hash":`...)
	dst = appendTextOrNull(dst, i.Hash)
	dst = append(dst, `,"preimage":`...)
	dst = appendTextOrNull(dst, i.Preimage)
	dst = append(dst, `,"order_previous_status":`...)
	dst = jsontext.AppendString(dst, i.OrderPreviousStatus)
	dst = append(dst, `,"initiator_pubkey":`...)
	dst = jsontext.AppendString(dst, i.InitiatorPubkey)
	dst = append(dst, `,"buyer_pubkey":`...)
	dst = appendTextOrNull(dst, i.BuyerPubkey)
	dst = append(dst, `,"seller_pubkey":`...)
	dst = appendTextOrNull(dst, i.SellerPubkey)
	dst = append(dst, `,"initiator_full_privacy":`...)
	dst = strconv.AppendBool(dst, i.InitiatorFullPrivacy)
	dst = append(dst, `,"counterpart_full_privacy":`...)
	dst = strconv.AppendBool(dst, i.CounterpartFullPrivacy)
	dst = append(dst, `,"initiator_info":`...)
	dst = i.InitiatorInfo.appendTo(dst)
	dst = append(dst, `,"counterpart_info":`...)
	dst = i.CounterpartInfo.appendTo(dst)
	dst = append(dst, `,"premium":`...)
	dst = strconv.AppendInt(dst, i.Premium, 10)
	dst = append(dst, `,"payment_method":`...)
	dst = jsontext.AppendString(dst, i.PaymentMethod)
	dst = append(dst, `,"amount":`...)
	dst = strconv.AppendInt(dst, i.AmountSats, 10)
	dst = append(dst, `,"fiat_amount":`...)
	dst = strconv.AppendInt(dst, i.FiatAmount, 10)
	dst = append(dst, `,"fee":`...)
	dst = strconv.AppendInt(dst, i.FeeSats, 10)
	dst = append(dst, `,"routing_fee":`...)
	dst = strconv.AppendInt(dst, i.RoutingFeeSats, 10)
	dst = append(dst, `,"buyer_invoice":`...)
	dst = appendTextOrNull(dst, i.BuyerInvoice)
	dst = append(dst, `,"invoice_held_at":`...)
	dst = strconv.AppendInt(dst, i.InvoiceHeldAt, 10)
	dst = append(dst, `,"taken_at":`...)
	dst = strconv.AppendInt(dst, i.TakenAt, 10)
	dst = append(dst, `,"created_at":`...)
	dst = strconv.AppendInt(dst, i.CreatedAt, 10)
	return append(dst, '}')
}

func (c CantDo) appendBody(dst []byte) []byte { return appendWordOrNull(dst, string(c.Reason)) }

func (n NextTrade) appendBody(dst []byte) []byte {
	dst = append(dst, '[')
	dst = jsontext.AppendString(dst, n.Pubkey)
	dst = append(dst, ',')
	dst = strconv.AppendUint(dst, uint64(n.Index), 10)
	return append(dst, ']')
}

func (p PaymentFailed) appendBody(dst []byte) []byte {
	dst = append(dst, `{"payment_attempts":`...)
	dst = strconv.AppendUint(dst, uint64(p.Attempts), 10)
	dst = append(dst, `,"payment_retries_interval":`...)
	dst = strconv.AppendUint(dst, uint64(p.IntervalSeconds), 10)
	return append(dst, '}')
}

func (r RestoreData) appendBody(dst []byte) []byte {
	dst = append(dst, `{"orders":[`...)
	for i, o := range r.Orders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"order_id":"`...)
		dst = o.OrderID.appendTo(dst)
		dst = append(dst, `","trade_index":`...)
		dst = strconv.AppendInt(dst, o.TradeIndex, 10)
		dst = append(dst, `,"status":`...)
		dst = jsontext.AppendString(dst, o.Status)
		dst = append(dst, `,"counterparty_trade_pubkey":`...)
		dst = appendTextOrNull(dst, o.CounterpartyTradePubkey)
		dst = append(dst, '}')
	}
	dst = append(dst, `],"disputes":[`...)
	for i, d := range r.Disputes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"dispute_id":"`...)
		dst = d.DisputeID.appendTo(dst)
		dst = append(dst, `","order_id":"`...)
		dst = d.OrderID.appendTo(dst)
		dst = append(dst, `","trade_index":`...)
		dst = strconv.AppendInt(dst, d.TradeIndex, 10)
		dst = append(dst, `,"status":`...)
		dst = jsontext.AppendString(dst, d.Status)
		dst = append(dst, `,"initiator":`...)
		dst = appendWordOrNull(dst, string(d.Initiator))
		dst = append(dst, `,"solver_pubkey":`...)
		dst = appendTextOrNull(dst, d.SolverPubkey)
		dst = append(dst, '}')
	}
	return append(dst, ']', '}')
}

func (ids IDs) appendBody(dst []byte) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = id.appendTo(dst)
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

func (l OrderList) appendBody(dst []byte) []byte {
	dst = append(dst, '[')
	for i := range l {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = l[i].appendBody(dst)
	}
	return append(dst, ']')
}

func (b BondResolution) appendBody(dst []byte) []byte {
	dst = append(dst, `{"slash_seller":`...)
	dst = strconv.AppendBool(dst, b.SlashSeller)
	dst = append(dst, `,"slash_buyer":`...)
	dst = strconv.AppendBool(dst, b.SlashBuyer)
	return append(dst, '}')
}

func (b BondPayoutRequest) appendBody(dst []byte) []byte {
	dst = append(dst, `{"order":`...)
	dst = b.Order.appendBody(dst)
	dst = append(dst, `,"slashed_at":`...)
	dst = strconv.AppendInt(dst, b.SlashedAt, 10)
	return append(dst, '}')
}

func (c CashuLockProof) appendBody(dst []byte) []byte {
	dst = append(dst, `{"token":`...)
	dst = jsontext.AppendString(dst, c.Token)
	dst = append(dst, `,"mint_url":`...)
	dst = jsontext.AppendString(dst, c.MintURL)
	dst = append(dst, `,"buyer_pubkey":`...)
	dst = jsontext.AppendString(dst, c.BuyerPubkey)
	dst = append(dst, `,"seller_pubkey":`...)
	dst = jsontext.AppendString(dst, c.SellerPubkey)
	dst = append(dst, `,"mostro_pubkey":`...)
	dst = jsontext.AppendString(dst, c.MostroPubkey)
	if c.FeeToken != nil {
		dst = append(dst, `,"fee_token":`...)
		dst = jsontext.AppendString(dst, *c.FeeToken)
	}
	return append(dst, '}')
}

func (c CashuSignatures) appendBody(dst []byte) []byte {
	dst = append(dst, '[')
	for i, s := range c {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"secret":`...)
		dst = jsontext.AppendString(dst, s.Secret)
		dst = append(dst, `,"signature":`...)
		dst = jsontext.AppendString(dst, s.Signature)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func (p PayerDeclaration) appendBody(dst []byte) []byte {
	dst = append(dst, `{"payment_hash":`...)
	dst = jsontext.AppendString(dst, p.PaymentHash)
	return append(dst, '}')
}

func (h PaymentHistory) appendBody(dst []byte) []byte {
	dst = append(dst, `{"payment_hash":`...)
	dst = jsontext.AppendString(dst, h.PaymentHash)
	dst = append(dst, `,"buyer_mode":`...)
	dst = jsontext.AppendString(dst, string(h.BuyerMode))
	dst = append(dst, `,"successful_trades":`...)
	dst = strconv.AppendUint(dst, uint64(h.SuccessfulTrades), 10)
	dst = append(dst, `,"distinct_counterparties":`...)
	dst = strconv.AppendUint(dst, uint64(h.DistinctCounterparties), 10)
	dst = append(dst, `,"experienced_counterparties":`...)
	dst = strconv.AppendUint(dst, uint64(h.ExperiencedCounterparties), 10)
	dst = append(dst, `,"first_success_at":`...)
	dst = appendIntOrNull(dst, h.FirstSuccessAt)
	dst = append(dst, `,"last_success_at":`...)
	dst = appendIntOrNull(dst, h.LastSuccessAt)
	return append(dst, '}')
}

func (e ReputationExportRequest) appendBody(dst []byte) []byte {
	dst = append(dst, `{"destination":`...)
	dst = jsontext.AppendString(dst, e.Destination)
	dst = append(dst, `,"rebind":`...)
	dst = appendTextOrNull(dst, e.Rebind)
	return append(dst, '}')
}

func (a ReputationAttestation) appendBody(dst []byte) []byte {
	return jsontext.AppendString(dst, string(a))
}

func appendIntOrNull(dst []byte, n *int64) []byte {
	if n == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, *n, 10)
}

func appendTextOrNull(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "null"...)
	}
	return jsontext.AppendString(dst, *s)
}

func appendWordOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return jsontext.AppendString(dst, s)
}

// appendFloatRust appends a float as serde_json writes it: the shortest digits that
// parse back to the same number, always with a fraction or an exponent. An exponent has
// no plus sign and is used from 1e16 up and below 1e-5. NaN and infinity become null.
func appendFloatRust(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	abs := math.Abs(f)
	if abs == 0 || (abs >= 1e-5 && abs < 1e16) {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		for _, c := range dst[n:] {
			if c == '.' {
				return dst
			}
		}
		return append(dst, '.', '0')
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64) // "1.5e+16", "1e-07"
	e := n
	for dst[e] != 'e' {
		e++
	}
	rest := dst[e+1:]
	out := dst[:e+1]
	if rest[0] == '-' {
		out = append(out, '-')
	}
	digits := rest[1:]
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	return append(out, digits...)
}
