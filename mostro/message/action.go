package message

// Action is the verb of a message, in kebab-case as on the wire.
type Action string

// The actions of the protocol. The comment names the sender.
const (
	ActionNewOrder                         Action = "new-order"                            // maker; the node's acknowledgement
	ActionTakeSell                         Action = "take-sell"                            // buyer takes a sell order
	ActionTakeBuy                          Action = "take-buy"                             // seller takes a buy order
	ActionPayInvoice                       Action = "pay-invoice"                          // node: pay this hold invoice
	ActionPayBondInvoice                   Action = "pay-bond-invoice"                     // node: pay this bond
	ActionFiatSent                         Action = "fiat-sent"                            // buyer
	ActionFiatSentOk                       Action = "fiat-sent-ok"                         // node, to both
	ActionRelease                          Action = "release"                              // seller
	ActionReleased                         Action = "released"                             // node, to the buyer
	ActionCancel                           Action = "cancel"                               // a party
	ActionCanceled                         Action = "canceled"                             // node
	ActionCooperativeCancelInitiatedByYou  Action = "cooperative-cancel-initiated-by-you"  // node
	ActionCooperativeCancelInitiatedByPeer Action = "cooperative-cancel-initiated-by-peer" // node
	ActionCooperativeCancelAccepted        Action = "cooperative-cancel-accepted"          // node
	ActionDisputeInitiatedByYou            Action = "dispute-initiated-by-you"             // node
	ActionDisputeInitiatedByPeer           Action = "dispute-initiated-by-peer"            // node
	ActionBuyerInvoiceAccepted             Action = "buyer-invoice-accepted"               // node; not emitted today
	ActionBondInvoiceAccepted              Action = "bond-invoice-accepted"                // node
	ActionPurchaseCompleted                Action = "purchase-completed"                   // node: the buyer is paid
	ActionBondPayoutCompleted              Action = "bond-payout-completed"                // node
	ActionBondSlashed                      Action = "bond-slashed"                         // node
	ActionHoldInvoicePaymentAccepted       Action = "hold-invoice-payment-accepted"        // node, to the buyer: the trade is active
	ActionHoldInvoicePaymentSettled        Action = "hold-invoice-payment-settled"         // node, to the seller
	ActionHoldInvoicePaymentCanceled       Action = "hold-invoice-payment-canceled"        // node
	ActionWaitingSellerToPay               Action = "waiting-seller-to-pay"                // node, to the buyer
	ActionWaitingBuyerInvoice              Action = "waiting-buyer-invoice"                // node, to the seller
	ActionAddInvoice                       Action = "add-invoice"                          // buyer; the node asks for one with it
	ActionAddBondInvoice                   Action = "add-bond-invoice"                     // winner of a bond; the node asks with it
	ActionBuyerTookOrder                   Action = "buyer-took-order"                     // node, to the seller: the trade is active
	ActionRate                             Action = "rate"                                 // node asks for a rating
	ActionRateUser                         Action = "rate-user"                            // a party rates the other
	ActionRateReceived                     Action = "rate-received"                        // node
	ActionCantDo                           Action = "cant-do"                              // node refuses
	ActionDispute                          Action = "dispute"                              // a party
	ActionAdminCancel                      Action = "admin-cancel"                         // solver
	ActionAdminCanceled                    Action = "admin-canceled"                       // node
	ActionAdminSettle                      Action = "admin-settle"                         // solver
	ActionAdminSettled                     Action = "admin-settled"                        // node
	ActionAdminAddSolver                   Action = "admin-add-solver"                     // operator
	ActionAdminTakeDispute                 Action = "admin-take-dispute"                   // solver
	ActionAdminTookDispute                 Action = "admin-took-dispute"                   // node
	ActionPaymentFailed                    Action = "payment-failed"                       // node, to the buyer
	ActionInvoiceUpdated                   Action = "invoice-updated"                      // node
	ActionSendDM                           Action = "send-dm"                              // between users
	ActionTradePubkey                      Action = "trade-pubkey"                         // maker changes its trade key
	ActionRestoreSession                   Action = "restore-session"                      // client, and the answer
	ActionLastTradeIndex                   Action = "last-trade-index"                     // client, and the answer
	ActionOrders                           Action = "orders"                               // client asks by ids, node answers
	ActionAddCashuEscrow                   Action = "add-cashu-escrow"                     // seller
	ActionCashuEscrowLocked                Action = "cashu-escrow-locked"                  // node
	ActionCashuPmSignature                 Action = "cashu-pm-signature"                   // node
	ActionUserInfo                         Action = "user-info"                            // client asks for its own reputation; the answer
	ActionDeclarePayer                     Action = "declare-payer"                        // buyer commits to the account that pays the fiat
	ActionPayerDeclared                    Action = "payer-declared"                       // node, to both
	ActionPaymentHistory                   Action = "payment-history"                      // seller asks, node answers; also sent without a request
	ActionExportReputation                 Action = "export-reputation"                    // client asks for an attestation
	ActionReputationExported               Action = "reputation-exported"                  // node
	ActionImportReputation                 Action = "import-reputation"                    // client
	ActionReputationImported               Action = "reputation-imported"                  // node
)

// Actions returns the whole vocabulary.
func Actions() []Action {
	return append([]Action(nil), allActions...)
}

var allActions = []Action{
	ActionNewOrder,
	ActionTakeSell,
	ActionTakeBuy,
	ActionPayInvoice,
	ActionPayBondInvoice,
	ActionFiatSent,
	ActionFiatSentOk,
	ActionRelease,
	ActionReleased,
	ActionCancel,
	ActionCanceled,
	ActionCooperativeCancelInitiatedByYou,
	ActionCooperativeCancelInitiatedByPeer,
	ActionCooperativeCancelAccepted,
	ActionDisputeInitiatedByYou,
	ActionDisputeInitiatedByPeer,
	ActionBuyerInvoiceAccepted,
	ActionBondInvoiceAccepted,
	ActionPurchaseCompleted,
	ActionBondPayoutCompleted,
	ActionBondSlashed,
	ActionHoldInvoicePaymentAccepted,
	ActionHoldInvoicePaymentSettled,
	ActionHoldInvoicePaymentCanceled,
	ActionWaitingSellerToPay,
	ActionWaitingBuyerInvoice,
	ActionAddInvoice,
	ActionAddBondInvoice,
	ActionBuyerTookOrder,
	ActionRate,
	ActionRateUser,
	ActionRateReceived,
	ActionCantDo,
	ActionDispute,
	ActionAdminCancel,
	ActionAdminCanceled,
	ActionAdminSettle,
	ActionAdminSettled,
	ActionAdminAddSolver,
	ActionAdminTakeDispute,
	ActionAdminTookDispute,
	ActionPaymentFailed,
	ActionInvoiceUpdated,
	ActionSendDM,
	ActionTradePubkey,
	ActionRestoreSession,
	ActionLastTradeIndex,
	ActionOrders,
	ActionAddCashuEscrow,
	ActionCashuEscrowLocked,
	ActionCashuPmSignature,
	ActionUserInfo,
	ActionDeclarePayer,
	ActionPayerDeclared,
	ActionPaymentHistory,
	ActionExportReputation,
	ActionReputationExported,
	ActionImportReputation,
	ActionReputationImported,
}

var actionByName = byName(allActions)

// byName indexes a vocabulary by name. A parser returns the constant from the index, so
// it keeps no reference to its input.
func byName[T ~string](words []T) map[string]T {
	m := make(map[string]T, len(words))
	for _, w := range words {
		m[string(w)] = w
	}
	return m
}

// Known reports whether the action is part of the vocabulary.
func (a Action) Known() bool { _, ok := actionByName[string(a)]; return ok }

// needsID reports whether a request with this action must name an order or a dispute.
func (a Action) needsID() bool {
	switch a {
	case ActionNewOrder, ActionLastTradeIndex, ActionRestoreSession, ActionRateUser, ActionCantDo, ActionOrders:
		return false
	}
	return !a.refusesID()
}

// refusesID reports whether a request with this action must not name an order or a
// dispute. The actions about a user's reputation are no part of a trade.
func (a Action) refusesID() bool {
	switch a {
	case ActionUserInfo, ActionExportReputation, ActionReputationExported, ActionImportReputation, ActionReputationImported:
		return true
	}
	return false
}

// mayOmitRequestID reports whether a node may send the action without a request id to a
// client that waits for an answer, because the action also reports what another party did.
func (a Action) mayOmitRequestID() bool {
	switch a {
	case ActionBuyerTookOrder, ActionHoldInvoicePaymentAccepted, ActionHoldInvoicePaymentSettled, ActionHoldInvoicePaymentCanceled,
		ActionWaitingSellerToPay, ActionWaitingBuyerInvoice, ActionBuyerInvoiceAccepted, ActionPurchaseCompleted, ActionReleased,
		ActionFiatSentOk, ActionCanceled, ActionCooperativeCancelInitiatedByPeer, ActionCooperativeCancelAccepted,
		ActionDisputeInitiatedByPeer, ActionAdminSettled, ActionAdminCanceled, ActionAdminTookDispute, ActionPaymentFailed,
		ActionInvoiceUpdated, ActionRate, ActionRateReceived, ActionSendDM, ActionBondSlashed, ActionCashuEscrowLocked,
		ActionCashuPmSignature, ActionPayerDeclared, ActionPaymentHistory:
		return true
	}
	return false
}

// Reason is the reason of a refusal, in snake_case as on the wire.
type Reason string

// The reasons of refusal.
const (
	ReasonInvalidSignature               Reason = "invalid_signature"
	ReasonInvalidTradeIndex              Reason = "invalid_trade_index"
	ReasonInvalidAmount                  Reason = "invalid_amount"
	ReasonInvalidInvoice                 Reason = "invalid_invoice"
	ReasonInvalidPaymentRequest          Reason = "invalid_payment_request"
	ReasonInvalidPeer                    Reason = "invalid_peer"
	ReasonInvalidRating                  Reason = "invalid_rating"
	ReasonInvalidTextMessage             Reason = "invalid_text_message"
	ReasonInvalidOrderKind               Reason = "invalid_order_kind"
	ReasonInvalidOrderStatus             Reason = "invalid_order_status"
	ReasonInvalidPubkey                  Reason = "invalid_pubkey"
	ReasonInvalidParameters              Reason = "invalid_parameters"
	ReasonInvalidPayload                 Reason = "invalid_payload"
	ReasonOrderAlreadyCanceled           Reason = "order_already_canceled"
	ReasonCantCreateUser                 Reason = "cant_create_user"
	ReasonIsNotYourOrder                 Reason = "is_not_your_order"
	ReasonNotAllowedByStatus             Reason = "not_allowed_by_status"
	ReasonOutOfRangeFiatAmount           Reason = "out_of_range_fiat_amount"
	ReasonOutOfRangeSatsAmount           Reason = "out_of_range_sats_amount"
	ReasonPriceTooStale                  Reason = "price_too_stale"
	ReasonIsNotYourDispute               Reason = "is_not_your_dispute"
	ReasonDisputeTakenByAdmin            Reason = "dispute_taken_by_admin"
	ReasonNotAuthorized                  Reason = "not_authorized"
	ReasonDisputeCreationError           Reason = "dispute_creation_error"
	ReasonNotFound                       Reason = "not_found"
	ReasonInvalidDisputeStatus           Reason = "invalid_dispute_status"
	ReasonInvalidAction                  Reason = "invalid_action"
	ReasonPendingOrderExists             Reason = "pending_order_exists"
	ReasonInvalidFiatCurrency            Reason = "invalid_fiat_currency"
	ReasonTooManyRequests                Reason = "too_many_requests"
	ReasonInvalidCashuToken              Reason = "invalid_cashu_token"
	ReasonCashuMintUnavailable           Reason = "cashu_mint_unavailable"
	ReasonInvalidMintURL                 Reason = "invalid_mint_url"
	ReasonCashuEscrowNotLocked           Reason = "cashu_escrow_not_locked"
	ReasonCashuSignatureMissing          Reason = "cashu_signature_missing"
	ReasonMaintenanceMode                Reason = "maintenance_mode"
	ReasonInvalidPaymentHash             Reason = "invalid_payment_hash"
	ReasonPayerNotDeclared               Reason = "payer_not_declared"
	ReasonReputationIdentityRequired     Reason = "reputation_identity_required"
	ReasonNotEligibleForReputationExport Reason = "not_eligible_for_reputation_export"
	ReasonReputationBoundToOtherIdentity Reason = "reputation_bound_to_other_identity"
	ReasonInvalidReputationRebind        Reason = "invalid_reputation_rebind"
	ReasonInvalidReputationAttestation   Reason = "invalid_reputation_attestation"
	ReasonUntrustedReputationIssuer      Reason = "untrusted_reputation_issuer"
	ReasonExpiredReputationAttestation   Reason = "expired_reputation_attestation"
	ReasonReputationIdentityMismatch     Reason = "reputation_identity_mismatch"
	ReasonReputationAlreadyImported      Reason = "reputation_already_imported"

	// ReasonUnknown stands for every reason that this package does not know. Only the
	// parser returns it: a node must not send it.
	ReasonUnknown Reason = "unknown"
)

// Reasons returns the whole vocabulary.
func Reasons() []Reason { return append([]Reason(nil), allReasons...) }

var allReasons = []Reason{
	ReasonInvalidSignature,
	ReasonInvalidTradeIndex,
	ReasonInvalidAmount,
	ReasonInvalidInvoice,
	ReasonInvalidPaymentRequest,
	ReasonInvalidPeer,
	ReasonInvalidRating,
	ReasonInvalidTextMessage,
	ReasonInvalidOrderKind,
	ReasonInvalidOrderStatus,
	ReasonInvalidPubkey,
	ReasonInvalidParameters,
	ReasonInvalidPayload,
	ReasonOrderAlreadyCanceled,
	ReasonCantCreateUser,
	ReasonIsNotYourOrder,
	ReasonNotAllowedByStatus,
	ReasonOutOfRangeFiatAmount,
	ReasonOutOfRangeSatsAmount,
	ReasonPriceTooStale,
	ReasonIsNotYourDispute,
	ReasonDisputeTakenByAdmin,
	ReasonNotAuthorized,
	ReasonDisputeCreationError,
	ReasonNotFound,
	ReasonInvalidDisputeStatus,
	ReasonInvalidAction,
	ReasonPendingOrderExists,
	ReasonInvalidFiatCurrency,
	ReasonTooManyRequests,
	ReasonInvalidCashuToken,
	ReasonCashuMintUnavailable,
	ReasonInvalidMintURL,
	ReasonCashuEscrowNotLocked,
	ReasonCashuSignatureMissing,
	ReasonMaintenanceMode,
	ReasonInvalidPaymentHash,
	ReasonPayerNotDeclared,
	ReasonReputationIdentityRequired,
	ReasonNotEligibleForReputationExport,
	ReasonReputationBoundToOtherIdentity,
	ReasonInvalidReputationRebind,
	ReasonInvalidReputationAttestation,
	ReasonUntrustedReputationIssuer,
	ReasonExpiredReputationAttestation,
	ReasonReputationIdentityMismatch,
	ReasonReputationAlreadyImported,
	ReasonUnknown,
}

var reasonByName = byName(allReasons)

// TradeStatus is the private status of a trade, as messages name it. Status is the
// public bucket of an order.
type TradeStatus string

// The statuses of a trade.
const (
	TradeActive                TradeStatus = "active"
	TradeCanceled              TradeStatus = "canceled"
	TradeCanceledByAdmin       TradeStatus = "canceled-by-admin"
	TradeSettledByAdmin        TradeStatus = "settled-by-admin"
	TradeCompletedByAdmin      TradeStatus = "completed-by-admin"
	TradeDispute               TradeStatus = "dispute"
	TradeExpired               TradeStatus = "expired"
	TradeFiatSent              TradeStatus = "fiat-sent"
	TradeSettledHoldInvoice    TradeStatus = "settled-hold-invoice"
	TradePending               TradeStatus = "pending"
	TradeSuccess               TradeStatus = "success"
	TradeWaitingBuyerInvoice   TradeStatus = "waiting-buyer-invoice"
	TradeWaitingPayment        TradeStatus = "waiting-payment"
	TradeWaitingTakerBond      TradeStatus = "waiting-taker-bond"
	TradeCooperativelyCanceled TradeStatus = "cooperatively-canceled"
	TradeInProgress            TradeStatus = "in-progress"
	TradeWaitingMakerBond      TradeStatus = "waiting-maker-bond"
)

// TradeStatuses returns the whole vocabulary.
func TradeStatuses() []TradeStatus { return append([]TradeStatus(nil), allTradeStatuses...) }

var allTradeStatuses = []TradeStatus{
	TradeActive,
	TradeCanceled,
	TradeCanceledByAdmin,
	TradeSettledByAdmin,
	TradeCompletedByAdmin,
	TradeDispute,
	TradeExpired,
	TradeFiatSent,
	TradeSettledHoldInvoice,
	TradePending,
	TradeSuccess,
	TradeWaitingBuyerInvoice,
	TradeWaitingPayment,
	TradeWaitingTakerBond,
	TradeCooperativelyCanceled,
	TradeInProgress,
	TradeWaitingMakerBond,
}

var tradeStatusByName = byName(allTradeStatuses)

// DisputeStatus is the status of a dispute, as messages name it.
type DisputeStatus string

// The statuses of a dispute.
const (
	DisputeStatusInitiated      DisputeStatus = "initiated"
	DisputeStatusInProgress     DisputeStatus = "in-progress"
	DisputeStatusSellerRefunded DisputeStatus = "seller-refunded" // a solver's decision
	DisputeStatusSettled        DisputeStatus = "settled"         // a solver's decision
	DisputeStatusReleased       DisputeStatus = "released"        // the seller released the sats

	// DisputeStatusCooperativelyCanceled means that both parties cancelled the trade.
	DisputeStatusCooperativelyCanceled DisputeStatus = "cooperatively-canceled"
)

// DisputeStatuses returns the whole vocabulary.
func DisputeStatuses() []DisputeStatus { return append([]DisputeStatus(nil), allDisputeStatuses...) }

var allDisputeStatuses = []DisputeStatus{
	DisputeStatusInitiated,
	DisputeStatusInProgress,
	DisputeStatusSellerRefunded,
	DisputeStatusSettled,
	DisputeStatusReleased,
	DisputeStatusCooperativelyCanceled,
}

// Initiator is the party that opened a dispute; "" unknown.
type Initiator string

// The possible initiators of a dispute.
const (
	InitiatorBuyer  Initiator = "buyer"
	InitiatorSeller Initiator = "seller"
)
