package message

import "github.com/mostrodex/mostrodex/mostro"

// ParseMessage parses a message as the reference implementation does: exactly one
// wrapper, known words only, tuples of their exact length, required fields present,
// integers as integers. Unknown fields are ignored, except in an order, which refuses
// unknown fields. A duplicate key is refused everywhere. An unknown reason of a refusal
// and an unknown mode of a buyer are the exceptions: they become ReasonUnknown and
// BuyerModeUnknown. The error is a WireError.
//
// ParseMessage refuses two spellings that the reference implementation accepts by
// accident of its library: an object written as an array of its fields, and a word
// written as an object that holds a null.
func ParseMessage(b []byte) (Message, error) {
	r := newReader(b)
	m, err := r.message()
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// ParseDraft is like ParseMessage, but for a message before Seal: the version may be
// absent, because Seal sets it.
func ParseDraft(b []byte) (Message, error) {
	r := newReader(b)
	r.draft = true
	m, err := r.message()
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// fieldSet is a bit set of the fields that an object contained.
type fieldSet uint32

func (s *fieldSet) add(bit int) { *s |= 1 << bit }

// missing returns an error for the first named field that was absent. "" in names
// stands for an optional field.
func (s fieldSet) missing(names ...string) error {
	for i, name := range names {
		if name != "" && s&(1<<i) == 0 {
			return InPath(name, NewError(RuleMissing, "required"))
		}
	}
	return nil
}

func (r *jsonReader) message() (m Message, err error) {
	err = r.single("wrapper", func(key string) error {
		w, ok := wrapperByName[key]
		if !ok {
			return NewError(RuleWrapper, "unknown wrapper")
		}
		m.Wrapper = w
		return r.body(&m)
	})
	return m, err
}

func (r *jsonReader) body(m *Message) error {
	var seen fieldSet
	err := r.object(func(key string) error {
		switch key {
		case "version":
			seen.add(0)
			v, err := r.uint(8)
			m.Version = uint8(v)
			return err
		case "request_id":
			if null, err := r.null(); null || err != nil {
				return err
			}
			v, err := r.uint(64)
			m.RequestID = &v
			return err
		case "trade_index":
			v, err := r.intOrNull()
			m.TradeIndex = v
			return err
		case "id":
			id, err := r.uuidOrNull()
			m.ID = id
			return err
		case "action":
			seen.add(1)
			a, err := word(r, actionByName, RuleAction)
			m.Action = a
			return err
		case "payload":
			if null, err := r.null(); null || err != nil {
				return err
			}
			p, err := r.payload()
			m.Payload = p
			return err
		}
		return r.skip(0)
	})
	if err != nil {
		return err
	}
	if r.draft {
		seen.add(0)
	}
	return seen.missing("version", "action")
}

// word parses a string of a closed vocabulary.
func word[T ~string](r *jsonReader, words map[string]T, rule Rule) (T, error) {
	s, err := r.text()
	if err != nil {
		return "", err
	}
	w, ok := words[s]
	if !ok {
		return "", NewError(rule, "unknown word "+shortKey(s))
	}
	return w, nil
}

func wordOrNull[T ~string](r *jsonReader, words map[string]T) (T, error) {
	if null, err := r.null(); null || err != nil {
		return "", err
	}
	return word(r, words, RuleValue)
}

// wordOrOther is like word for a vocabulary that later versions extend: for an unknown
// word it returns other.
func wordOrOther[T ~string](r *jsonReader, words map[string]T, other T) (T, error) {
	s, err := r.text()
	if err != nil {
		return "", err
	}
	if w, ok := words[s]; ok {
		return w, nil
	}
	return other, nil
}

func (r *jsonReader) payload() (p Payload, err error) {
	err = r.single("payload", func(key string) (err error) {
		p, err = r.payloadBody(key)
		return err
	})
	return p, err
}

func (r *jsonReader) payloadBody(key string) (Payload, error) {
	switch key {
	case "order":
		o := new(SmallOrder)
		err := r.order(o, &formToday)
		return o, err
	case "payment_request":
		return r.paymentRequest(&formToday)
	case "text_message":
		s, err := r.string()
		return TextMessage(s), err
	case "peer":
		return r.peerBody()
	case "rating_user":
		n, err := r.uint(8)
		return RatingUser(n), err
	case "amount":
		n, err := r.int64()
		return Amount(n), err
	case "dispute":
		var d DisputeRef
		err := r.tuple(2, func(i int) (err error) {
			if i == 0 {
				d.ID, err = r.uuid()
				return err
			}
			d.Info, err = r.solverInfo()
			return err
		})
		return d, err
	case "cant_do":
		if null, err := r.null(); null || err != nil {
			return CantDo{}, err
		}
		reason, err := wordOrOther(r, reasonByName, ReasonUnknown)
		return CantDo{Reason: reason}, err
	case "next_trade":
		var next NextTrade
		err := r.tuple(2, func(i int) (err error) {
			if i == 0 {
				next.Pubkey, err = r.string()
				return err
			}
			n, err := r.uint(32)
			next.Index = uint32(n)
			return err
		})
		return next, err
	case "payment_failed":
		return r.paymentFailed()
	case "restore_data":
		return r.restoreData()
	case "ids":
		ids := IDs{}
		_, err := r.array(func(int) error {
			id, err := r.uuid()
			ids = append(ids, id)
			return err
		})
		return ids, err
	case "orders":
		list := OrderList{}
		_, err := r.array(func(int) error {
			var o SmallOrder
			err := r.order(&o, &formToday)
			list = append(list, o)
			return err
		})
		return list, err
	case "bond_resolution":
		return r.bondResolution()
	case "bond_payout_request":
		return r.bondPayoutRequest()
	case "cashu_lock_proof":
		return r.cashuLockProof()
	case "cashu_signatures":
		return r.cashuSignatures()
	case "payer_declaration":
		return r.payerDeclaration()
	case "payment_history":
		return r.paymentHistory()
	case "reputation_export_request":
		return r.reputationExportRequest()
	case "reputation_attestation":
		s, err := r.string()
		return ReputationAttestation(s), err
	case "user_info":
		return r.userInfoBody()
	}
	return nil, NewError(RulePayload, "unknown payload")
}

// orderForm is the form of an order in one vocabulary.
type orderForm struct {
	sides         map[string]mostro.Side
	statuses      map[string]TradeStatus
	buyer, seller string // names of the fields of the trade keys
	// legacy marks the form of 2023: it ignores unknown fields, a time of 0 stands for
	// null, and a request to pay may lack the amount.
	legacy bool
}

var formToday = orderForm{
	sides: byName([]mostro.Side{mostro.SideBuy, mostro.SideSell}), statuses: tradeStatusByName,
	buyer: "buyer_trade_pubkey", seller: "seller_trade_pubkey",
}

func (r *jsonReader) order(o *SmallOrder, form *orderForm) error {
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "id":
			o.ID, err = r.uuidOrNull()
		case "kind":
			o.Kind, err = wordOrNull(r, form.sides)
		case "status":
			o.Status, err = wordOrNull(r, form.statuses)
		case "amount":
			seen.add(0)
			o.AmountSats, err = r.int64()
		case "fiat_code":
			seen.add(1)
			o.FiatCode, err = r.string()
		case "min_amount":
			o.MinAmount, err = r.intOrNull()
		case "max_amount":
			o.MaxAmount, err = r.intOrNull()
		case "fiat_amount":
			seen.add(2)
			o.FiatAmount, err = r.int64()
		case "payment_method":
			seen.add(3)
			o.PaymentMethod, err = r.string()
		case "premium":
			seen.add(4)
			o.Premium, err = r.int64()
		case form.buyer:
			o.BuyerTradePubkey, err = r.stringOrNull()
		case form.seller:
			o.SellerTradePubkey, err = r.stringOrNull()
		case "buyer_invoice":
			o.BuyerInvoice, err = r.stringOrNull()
		case "created_at":
			o.CreatedAt, err = r.orderTime(form)
		case "expires_at":
			o.ExpiresAt, err = r.orderTime(form)
		default:
			switch {
			case form.legacy:
				err = r.skip(0)
			case key == "cashu_mint_url":
				o.CashuMintURL, err = r.stringOrNull()
			default:
				err = NewError(RuleUnknownField, "an order has no such field")
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return seen.missing("amount", "fiat_code", "fiat_amount", "payment_method", "premium")
}

// orderTime parses a time of an order. Messages of 2023 used 0 for "not yet" and "none",
// and a current client would read an expiry of 0 as expired.
func (r *jsonReader) orderTime(form *orderForm) (*int64, error) {
	n, err := r.intOrNull()
	if form.legacy && n != nil && *n == 0 {
		n = nil
	}
	return n, err
}
