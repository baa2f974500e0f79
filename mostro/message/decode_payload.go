package message

func (r *jsonReader) paymentRequest(form *orderForm) (PaymentRequest, error) {
	var p PaymentRequest
	least := 3
	if form.legacy {
		least = 2
	}
	err := r.tupleOf(least, 3, func(i int) (err error) {
		switch i {
		case 0:
			if null, err := r.null(); null || err != nil {
				return err
			}
			p.Order = new(SmallOrder)
			err = r.order(p.Order, form)
		case 1:
			p.Invoice, err = r.string()
		default:
			p.Amount, err = r.intOrNull()
		}
		return err
	})
	return p, err
}

func (r *jsonReader) peerBody() (Peer, error) {
	var p Peer
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "pubkey":
			seen.add(0)
			p.Pubkey, err = r.string()
		case "reputation":
			p.Reputation, err = r.userInfo()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("pubkey")
	}
	return p, err
}

// userInfo returns nil for null.
func (r *jsonReader) userInfo() (*UserInfo, error) {
	if null, err := r.null(); null || err != nil {
		return nil, err
	}
	u, err := r.userInfoBody()
	return &u, err
}

func (r *jsonReader) userInfoBody() (UserInfo, error) {
	var u UserInfo
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "rating":
			seen.add(0)
			u.Rating, err = r.float()
		case "reviews":
			seen.add(1)
			u.Reviews, err = r.int64()
		case "operating_days":
			seen.add(2)
			u.OperatingDays, err = r.uint(64)
		case "since":
			if null, err := r.null(); null || err != nil {
				return err
			}
			var since uint64
			since, err = r.uint(64)
			since = startOfDay(since)
			u.Since = &since
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("rating", "reviews", "operating_days")
	}
	return u, err
}

// solverInfo returns nil for null.
func (r *jsonReader) solverInfo() (*SolverDisputeInfo, error) {
	if null, err := r.null(); null || err != nil {
		return nil, err
	}
	d := new(SolverDisputeInfo)
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "id":
			seen.add(0)
			d.ID, err = r.uuid()
		case "kind":
			seen.add(1)
			d.Kind, err = r.string()
		case "status":
			seen.add(2)
			d.Status, err = r.string()
		case "hash":
			d.Hash, err = r.stringOrNull()
		case "preimage":
			d.Preimage, err = r.stringOrNull()
		case "order_previous_status":
			seen.add(3)
			d.OrderPreviousStatus, err = r.string()
		case "initiator_pubkey":
			seen.add(4)
			d.InitiatorPubkey, err = r.string()
		case "buyer_pubkey":
			d.BuyerPubkey, err = r.stringOrNull()
		case "seller_pubkey":
			d.SellerPubkey, err = r.stringOrNull()
		case "initiator_full_privacy":
			seen.add(5)
			d.InitiatorFullPrivacy, err = r.bool()
		case "counterpart_full_privacy":
			seen.add(6)
			d.CounterpartFullPrivacy, err = r.bool()
		case "initiator_info":
			d.InitiatorInfo, err = r.userInfo()
		case "counterpart_info":
			d.CounterpartInfo, err = r.userInfo()
		case "premium":
			seen.add(7)
			d.Premium, err = r.int64()
		case "payment_method":
			seen.add(8)
			d.PaymentMethod, err = r.string()
		case "amount":
			seen.add(9)
			d.AmountSats, err = r.int64()
		case "fiat_amount":
			seen.add(10)
			d.FiatAmount, err = r.int64()
		case "fee":
			seen.add(11)
			d.FeeSats, err = r.int64()
		case "routing_fee":
			seen.add(12)
			d.RoutingFeeSats, err = r.int64()
		case "buyer_invoice":
			d.BuyerInvoice, err = r.stringOrNull()
		case "invoice_held_at":
			seen.add(13)
			d.InvoiceHeldAt, err = r.int64()
		case "taken_at":
			seen.add(14)
			d.TakenAt, err = r.int64()
		case "created_at":
			seen.add(15)
			d.CreatedAt, err = r.int64()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("id", "kind", "status", "order_previous_status", "initiator_pubkey",
			"initiator_full_privacy", "counterpart_full_privacy", "premium", "payment_method",
			"amount", "fiat_amount", "fee", "routing_fee", "invoice_held_at", "taken_at", "created_at")
	}
	return d, err
}

func (r *jsonReader) paymentFailed() (PaymentFailed, error) {
	var p PaymentFailed
	var seen fieldSet
	err := r.object(func(key string) error {
		switch key {
		case "payment_attempts":
			seen.add(0)
			n, err := r.uint(32)
			p.Attempts = uint32(n)
			return err
		case "payment_retries_interval":
			seen.add(1)
			n, err := r.uint(32)
			p.IntervalSeconds = uint32(n)
			return err
		}
		return r.skip(0)
	})
	if err == nil {
		err = seen.missing("payment_attempts", "payment_retries_interval")
	}
	return p, err
}

func (r *jsonReader) restoreData() (RestoreData, error) {
	var d RestoreData
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "orders":
			seen.add(0)
			_, err = r.array(func(int) error {
				o, err := r.restoredOrder()
				d.Orders = append(d.Orders, o)
				return err
			})
		case "disputes":
			seen.add(1)
			_, err = r.array(func(int) error {
				x, err := r.restoredDispute()
				d.Disputes = append(d.Disputes, x)
				return err
			})
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("orders", "disputes")
	}
	return d, err
}

func (r *jsonReader) restoredOrder() (RestoredOrder, error) {
	var o RestoredOrder
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "order_id":
			seen.add(0)
			o.OrderID, err = r.uuid()
		case "trade_index":
			seen.add(1)
			o.TradeIndex, err = r.int64()
		case "status":
			seen.add(2)
			o.Status, err = r.string()
		case "counterparty_trade_pubkey":
			o.CounterpartyTradePubkey, err = r.stringOrNull()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("order_id", "trade_index", "status")
	}
	return o, err
}

var initiatorByName = byName([]Initiator{InitiatorBuyer, InitiatorSeller})

func (r *jsonReader) restoredDispute() (RestoredDispute, error) {
	var d RestoredDispute
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "dispute_id":
			seen.add(0)
			d.DisputeID, err = r.uuid()
		case "order_id":
			seen.add(1)
			d.OrderID, err = r.uuid()
		case "trade_index":
			seen.add(2)
			d.TradeIndex, err = r.int64()
		case "status":
			seen.add(3)
			d.Status, err = r.string()
		case "initiator":
			d.Initiator, err = wordOrNull(r, initiatorByName)
		case "solver_pubkey":
			d.SolverPubkey, err = r.stringOrNull()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("dispute_id", "order_id", "trade_index", "status")
	}
	return d, err
}

func (r *jsonReader) bondResolution() (BondResolution, error) {
	var b BondResolution
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "slash_seller":
			seen.add(0)
			b.SlashSeller, err = r.bool()
		case "slash_buyer":
			seen.add(1)
			b.SlashBuyer, err = r.bool()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("slash_seller", "slash_buyer")
	}
	return b, err
}

func (r *jsonReader) bondPayoutRequest() (BondPayoutRequest, error) {
	var b BondPayoutRequest
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "order":
			seen.add(0)
			err = r.order(&b.Order, &formToday)
		case "slashed_at":
			seen.add(1)
			b.SlashedAt, err = r.int64()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("order", "slashed_at")
	}
	return b, err
}

func (r *jsonReader) cashuLockProof() (CashuLockProof, error) {
	var c CashuLockProof
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "token":
			seen.add(0)
			c.Token, err = r.string()
		case "mint_url":
			seen.add(1)
			c.MintURL, err = r.string()
		case "buyer_pubkey":
			seen.add(2)
			c.BuyerPubkey, err = r.string()
		case "seller_pubkey":
			seen.add(3)
			c.SellerPubkey, err = r.string()
		case "mostro_pubkey":
			seen.add(4)
			c.MostroPubkey, err = r.string()
		case "fee_token":
			c.FeeToken, err = r.stringOrNull()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("token", "mint_url", "buyer_pubkey", "seller_pubkey", "mostro_pubkey")
	}
	return c, err
}

func (r *jsonReader) cashuSignatures() (CashuSignatures, error) {
	sigs := CashuSignatures{}
	_, err := r.array(func(int) error {
		var s CashuSignature
		var seen fieldSet
		err := r.object(func(key string) (err error) {
			switch key {
			case "secret":
				seen.add(0)
				s.Secret, err = r.string()
			case "signature":
				seen.add(1)
				s.Signature, err = r.string()
			default:
				err = r.skip(0)
			}
			return err
		})
		if err == nil {
			err = seen.missing("secret", "signature")
		}
		sigs = append(sigs, s)
		return err
	})
	return sigs, err
}

func (r *jsonReader) payerDeclaration() (PayerDeclaration, error) {
	var p PayerDeclaration
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "payment_hash":
			seen.add(0)
			p.PaymentHash, err = r.string()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("payment_hash")
	}
	return p, err
}

var buyerModeByName = byName([]BuyerMode{BuyerModeReputation, BuyerModeFullPrivacy, BuyerModeUnknown})

func (r *jsonReader) paymentHistory() (PaymentHistory, error) {
	var h PaymentHistory
	var seen fieldSet
	count := func(bit int, n *uint32) error {
		seen.add(bit)
		v, err := r.uint(32)
		*n = uint32(v)
		return err
	}
	err := r.object(func(key string) (err error) {
		switch key {
		case "payment_hash":
			seen.add(0)
			h.PaymentHash, err = r.string()
		case "buyer_mode":
			seen.add(1)
			h.BuyerMode, err = wordOrOther(r, buyerModeByName, BuyerModeUnknown)
		case "successful_trades":
			err = count(2, &h.SuccessfulTrades)
		case "distinct_counterparties":
			err = count(3, &h.DistinctCounterparties)
		case "experienced_counterparties":
			err = count(4, &h.ExperiencedCounterparties)
		case "first_success_at":
			h.FirstSuccessAt, err = r.intOrNull()
		case "last_success_at":
			h.LastSuccessAt, err = r.intOrNull()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("payment_hash", "buyer_mode", "successful_trades", "distinct_counterparties", "experienced_counterparties")
	}
	return h, err
}

func (r *jsonReader) reputationExportRequest() (ReputationExportRequest, error) {
	var e ReputationExportRequest
	var seen fieldSet
	err := r.object(func(key string) (err error) {
		switch key {
		case "destination":
			seen.add(0)
			e.Destination, err = r.string()
		case "rebind":
			e.Rebind, err = r.stringOrNull()
		default:
			err = r.skip(0)
		}
		return err
	})
	if err == nil {
		err = seen.missing("destination")
	}
	return e, err
}
