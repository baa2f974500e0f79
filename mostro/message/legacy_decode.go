package message

// ParseLegacy parses a message of 2023 and converts it to the current vocabulary.
// contact is the message's pubkey field, "" for null. contact is a claim without proof.
func ParseLegacy(b []byte) (m Message, contact string, err error) {
	r := newReader(b)
	err = r.single("wrapper", func(key string) (err error) {
		w, ok := legacyWrapperByName[key]
		if !ok {
			return NewError(RuleWrapper, "unknown wrapper")
		}
		m.Wrapper = w
		contact, err = readLegacyBody(&r, &m)
		return err
	})
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
			id, err := r.uuidOrNull()
			m.ID = id
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

func readLegacyPayload(r *jsonReader) (p Payload, err error) {
	err = r.single("content", func(key string) (err error) {
		p, err = readLegacyPayloadBody(r, key)
		return err
	})
	return p, err
}

func readLegacyPayloadBody(r *jsonReader, key string) (Payload, error) {
	switch key {
	case "Order", "order":
		o := new(SmallOrder)
		err := r.order(o, &form2023)
		return o, err
	case "PaymentRequest", "payment_request":
		return r.paymentRequest(&form2023)
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
