package message

import (
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// The vocabulary of 2023 in CamelCase, and its mapping to the current vocabulary. In
// 2023 several verbs had no separate acknowledgement: a node answered FiatSent with
// FiatSent. If the 2023 vocabulary has no form for a message, the error is
// RuleNoLegacyForm, and a node does not send that message to a client of 2023.

// camel converts "fiat-sent" to "FiatSent"; uncamel converts it back.
func camel(kebab string) string {
	var b strings.Builder
	for w := range strings.SplitSeq(kebab, "-") {
		if w != "" {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}

// legacyActions are the verbs of 2023 with the same name today.
var legacyActions = []Action{
	ActionNewOrder, ActionTakeSell, ActionTakeBuy, ActionPayInvoice, ActionFiatSent, ActionRelease, ActionCancel, ActionAddInvoice,
	ActionCooperativeCancelInitiatedByYou, ActionCooperativeCancelInitiatedByPeer, ActionCooperativeCancelAccepted,
	ActionDisputeInitiatedByYou, ActionDisputeInitiatedByPeer, ActionDispute, ActionBuyerInvoiceAccepted, ActionPurchaseCompleted,
	ActionHoldInvoicePaymentAccepted, ActionHoldInvoicePaymentSettled, ActionHoldInvoicePaymentCanceled, ActionWaitingSellerToPay,
	ActionWaitingBuyerInvoice, ActionBuyerTookOrder, ActionRateUser, ActionRateReceived, ActionCantDo, ActionAdminCancel,
	ActionAdminSettle, ActionAdminAddSolver, ActionAdminTakeDispute,
}

// legacySynonyms maps a current verb to the verb of 2023 that was used in its place.
var legacySynonyms = map[Action]Action{
	ActionFiatSentOk:       ActionFiatSent,
	ActionReleased:         ActionRelease,
	ActionCanceled:         ActionCancel,
	ActionRate:             ActionRateUser,
	ActionAdminCanceled:    ActionAdminCancel,
	ActionAdminSettled:     ActionAdminSettle,
	ActionAdminTookDispute: ActionAdminTakeDispute,
	// This mapping is our choice: 2023 had no verb for it, and BuyerInvoiceAccepted
	// tells the same fact.
	ActionInvoiceUpdated: ActionBuyerInvoiceAccepted,
}

// legacyActionByName indexes the verbs in CamelCase, and in the kebab-case that
// replaced CamelCase while kind 4 was still in use.
var legacyActionByName = func() map[string]Action {
	m := map[string]Action{"SaleCompleted": ActionHoldInvoicePaymentSettled, "VoteReceived": ActionRateReceived}
	for _, a := range legacyActions {
		m[string(a)] = a
		m[camel(string(a))] = a
	}
	return m
}()

// legacyAction returns the 2023 name of a verb, or "" if there is none.
func legacyAction(a Action) string {
	if same, ok := legacySynonyms[a]; ok {
		a = same
	}
	name := camel(string(a))
	if legacyActionByName[name] != a {
		return ""
	}
	return name
}

// todaysAction returns the current verb for a verb of 2023 that had two meanings, if
// the payload shows which meaning is intended.
func todaysAction(a Action, p Payload) Action {
	switch a {
	case ActionRateUser:
		if _, ok := p.(RatingUser); !ok {
			return ActionRate
		}
	case ActionFiatSent:
		if _, ok := p.(Peer); ok {
			return ActionFiatSentOk
		}
	case ActionAdminTakeDispute:
		if p != nil {
			return ActionAdminTookDispute
		}
	}
	return a
}

var legacyWrappers = []Wrapper{WrapperOrder, WrapperDispute, WrapperCantDo, WrapperRate}

var legacyWrapperByName = bothSpellings(legacyWrappers)

var form2023 = orderForm{
	sides: bothSpellings([]mostro.Side{mostro.SideBuy, mostro.SideSell}), statuses: bothSpellings(allTradeStatuses),
	buyer: "master_buyer_pubkey", seller: "master_seller_pubkey", legacy: true,
}

// bothSpellings indexes a vocabulary by its kebab-case and its CamelCase form.
func bothSpellings[T ~string](words []T) map[string]T {
	m := byName(words)
	for _, w := range words {
		m[camel(string(w))] = w
	}
	return m
}

// legacyStatus returns the 2023 name of a status. A status that was added later maps to
// the status that 2023 used for the same state.
func legacyStatus(s TradeStatus) string {
	switch s {
	case TradeWaitingTakerBond, TradeWaitingMakerBond:
		s = TradePending
	case TradeInProgress:
		s = TradeActive
	}
	return camel(string(s))
}
