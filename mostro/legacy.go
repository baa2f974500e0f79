package mostro

import "strings"

// The vocabulary of 2023, in CamelCase, and how it maps to today's. It lacks
// acknowledgements of their own for several verbs: a node answers FiatSent
// with FiatSent. What 2023 cannot say is RuleNoLegacyForm, and a node that
// speaks to such a client leaves that message out.

// camel turns "fiat-sent" into "FiatSent"; uncamel turns it back.
func camel(kebab string) string {
	var b strings.Builder
	for w := range strings.SplitSeq(kebab, "-") {
		if w != "" {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}

// legacyActions are the verbs of 2023 that have the same name today.
var legacyActions = []Action{
	ActionNewOrder, ActionTakeSell, ActionTakeBuy, ActionPayInvoice, ActionFiatSent, ActionRelease, ActionCancel, ActionAddInvoice,
	ActionCooperativeCancelInitiatedByYou, ActionCooperativeCancelInitiatedByPeer, ActionCooperativeCancelAccepted,
	ActionDisputeInitiatedByYou, ActionDisputeInitiatedByPeer, ActionDispute, ActionBuyerInvoiceAccepted, ActionPurchaseCompleted,
	ActionHoldInvoicePaymentAccepted, ActionHoldInvoicePaymentSettled, ActionHoldInvoicePaymentCanceled, ActionWaitingSellerToPay,
	ActionWaitingBuyerInvoice, ActionBuyerTookOrder, ActionRateUser, ActionRateReceived, ActionCantDo, ActionAdminCancel,
	ActionAdminSettle, ActionAdminAddSolver, ActionAdminTakeDispute,
}

// legacySynonyms are today's verbs that 2023 said with another one's name.
var legacySynonyms = map[Action]Action{
	ActionFiatSentOk:       ActionFiatSent,
	ActionReleased:         ActionRelease,
	ActionCanceled:         ActionCancel,
	ActionRate:             ActionRateUser,
	ActionAdminCanceled:    ActionAdminCancel,
	ActionAdminSettled:     ActionAdminSettle,
	ActionAdminTookDispute: ActionAdminTakeDispute,
	// Our choice: 2023 had no word for it, and this is what it tells.
	ActionInvoiceUpdated: ActionBuyerInvoiceAccepted,
}

// legacyActionByName knows the verbs in CamelCase, and in the kebab-case that
// replaced it while kind 4 was still in use.
var legacyActionByName = func() map[string]Action {
	m := map[string]Action{"SaleCompleted": ActionHoldInvoicePaymentSettled, "VoteReceived": ActionRateReceived}
	for _, a := range legacyActions {
		m[string(a)] = a
		m[camel(string(a))] = a
	}
	return m
}()

// legacyAction gives the 2023 name of a verb, "" where there is none.
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

// todaysAction undoes the doubling of names as far as the payload tells.
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

var legacySideByName = bothSpellings([]Side{SideBuy, SideSell})

var legacyStatusByName = bothSpellings(allTradeStatuses)

// bothSpellings indexes a vocabulary by its kebab and its CamelCase form.
func bothSpellings[T ~string](words []T) map[string]T {
	m := byName(words)
	for _, w := range words {
		m[camel(string(w))] = w
	}
	return m
}

// legacyStatus gives the 2023 name of a status. Statuses that came later show
// as what 2023 made of the same state.
func legacyStatus(s TradeStatus) string {
	switch s {
	case TradeWaitingTakerBond, TradeWaitingMakerBond:
		s = TradePending
	case TradeInProgress:
		s = TradeActive
	}
	return camel(string(s))
}
