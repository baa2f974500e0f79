package message

// ParseLegacy parses a message of 2023 and converts it to the current vocabulary.
// contact is the message's pubkey field, "" for null. contact is a claim without proof.
func ParseLegacy(b []byte) (m Message, contact string, err error) {
	r := newReader(b)
	n := 0
	err = r.object(func(key string) (err error) {
		n++
		w, ok := legacyWrapperByName[key]
		if !ok {
			return NewError(RuleWrapper, "unknown wrapper")
		}
		if n > 1 {
			return NewError(RuleArity, "a second wrapper")
		}
		m.Wrapper = w
		contact, err = readLegacyBody(&r, &m)
		return err
	})
	if err == nil && n == 0 {
		err = NewError(RuleArity, "no wrapper")
	}
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return Message{}, "", err
	}
	return m, contact, nil
}

func readLegacyBody(r *jsonReader, m *Message) (contact string, err error) {
	var seen fieldSet
	err = r.object(func(key string) error {
		switch key {
		case "version":
			seen.add(0)
			v, err := r.uint(8)
			m.Version = uint8(v)
			return err
		case "id":
			if null, err := r.null(); null || err != nil {
				return err
			}
			id, err := r.uuid()
			m.ID = &id
			return err
		case "pubkey":
			s, err := r.stringOrNull()
			if err != nil || s == nil {
				return err
			}
			contact, err = ParsePubkey(*s)
			return err
		case "action":
			seen.add(1)
			a, err := word(r, legacyActionByName, RuleAction)
			m.Action = a
			return err
		case "content":
			if null, err := r.null(); null || err != nil {
				return err
			}
			p, err := readLegacyPayload(r)
			m.Payload = p
			return err
		case "payload":
			// If this field were ignored, a request to pay an order would become an
			// empty message.
			return NewError(RuleUnknownField, "a message of 2023 has content, not payload")
		}
		return r.skip(0)
	})
	if err != nil {
		return "", err
	}
	if seen&2 == 0 {
		// A node's acknowledgement of a new order was printed without an action.
		if _, ok := m.Payload.(*SmallOrder); !ok {
			return "", InPath("action", NewError(RuleMissing, "required"))
		}
		m.Action = ActionNewOrder
		seen.add(1)
	}
	m.Action = todaysAction(m.Action, m.Payload)
	if text, ok := m.Payload.(TextMessage); ok && m.Action == ActionCantDo {
		if reason, ok := reasonByName[string(text)]; ok {
			m.Payload = CantDo{Reason: reason}
		}
	}
	return contact, seen.missing("version")
}

func readLegacyPayload(r *jsonReader) (Payload, error) {
	var p Payload
	n := 0
	err := r.object(func(key string) (err error) {
		n++
		if n > 1 {
			return NewError(RuleArity, "a second content")
		}
		p, err = readLegacyPayloadBody(r, key)
		return err
	})
	if err == nil && n == 0 {
		err = NewError(RuleArity, "no content inside")
	}
	return p, err
}

func readLegacyPayloadBody(r *jsonReader, key string) (Payload, error) {
	switch key {
	case "Order", "order":
		o := new(SmallOrder)
		err := readLegacyOrder(r, o)
		return o, err
	case "PaymentRequest", "payment_request":
		var p PaymentRequest
		err := r.tupleOf(2, 3, func(i int) (err error) {
			switch i {
			case 0:
				if null, err := r.null(); null || err != nil {
					return err
				}
				p.Order = new(SmallOrder)
				err = readLegacyOrder(r, p.Order)
			case 1:
				p.Invoice, err = r.string()
			default:
				p.Amount, err = r.intOrNull()
			}
			return err
		})
		return p, err
	case "TextMessage", "text_message":
		s, err := r.string()
		return TextMessage(s), err
	case "Peer", "peer":
		return r.peerBody()
	case "RatingUser", "rating_user":
		n, err := r.uint(8)
		return RatingUser(n), err
	case "Dispute", "dispute":
		// The value is a bare id, later [id, token] and [id, token, info]. The token
		// was a shared secret of user and solver and is no longer used.
		var d DisputeRef
		if r.scan.Next() == '"' {
			id, err := r.uuid()
			d.ID = id
			return d, err
		}
		err := r.tupleOf(1, 3, func(i int) (err error) {
			switch i {
			case 0:
				d.ID, err = r.uuid()
			default:
				err = r.skip(0)
			}
			return err
		})
		return d, err
	}
	return nil, NewError(RulePayload, "unknown content")
}

func readLegacyOrder(r *jsonReader, o *SmallOrder) error {
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "id":
			if null, err := r.null(); null || err != nil {
				return err
			}
			id, err := r.uuid()
			o.ID = &id
			return err
		case "kind":
			o.Kind, err = wordOrNull(r, legacySideByName)
		case "status":
			o.Status, err = wordOrNull(r, legacyStatusByName)
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
		case "master_buyer_pubkey":
			o.BuyerTradePubkey, err = r.stringOrNull()
		case "master_seller_pubkey":
			o.SellerTradePubkey, err = r.stringOrNull()
		case "buyer_invoice":
			o.BuyerInvoice, err = r.stringOrNull()
		case "created_at":
			o.CreatedAt, err = intOrZero(r)
		case "expires_at":
			// Zero meant "none". A current client would read zero as expired.
			o.ExpiresAt, err = intOrZero(r)
		default:
			err = r.skip(0)
		}
		return err
	})
	if err != nil {
		return err
	}
	return seen.missing("amount", "fiat_code", "fiat_amount", "payment_method", "premium")
}

// intOrZero returns nil for null and for 0. Messages of 2023 used 0 for "not yet".
func intOrZero(r *jsonReader) (*int64, error) {
	n, err := r.intOrNull()
	if n != nil && *n == 0 {
		n = nil
	}
	return n, err
}
