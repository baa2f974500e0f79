package main

// Tests of the packages, as "package regexp".
const (
	tradeTests   = "./escrow/trade ."
	solverTests  = "./escrow Solver|Dispute|Verdict|Overdue|Inbox|Assistant|TakingAgain|ClockAlone|CloseWithRows|OperatorDecides|Schemas"
	inboxTests   = "./escrow/disputes ."
	feeTests     = "./escrow/devfee ."
	fundTests    = "./escrow Develop|Test692|Test622|InvoiceThatIsPaid|Test584|Test1039|CopiedStorePays|FeeOfATrade|CeilingOfAtt|FundDelays|ByHand|NoFee|CopyPaysNoRefused"
	ratingTests  = "./escrow/rating ."
	votesTests   = "./escrow Rating|Reputation|ImportsAre|Revocation|WaitingVote|UserInfo|DeclarePayer|CarriedTrades"
	gateTests    = "./escrow Payout|AddressWaits"
	ledgerTests  = "./escrow/ledger ."
	suspendTests = "./escrow Suspense|Refund|Overpa|ByHand"
	auditTests   = "./escrow/audit ."
	engineTests  = "./escrow Guards|Offending|Uncommitt|Turn|Copy|Copied|Rolled|Reconcil|Maintenance|Engine|Node|Throttle|Takers|Limit|Frozen|Lanes|Refused"
	chatTests    = "./mostro/envelope Chat"
)

// guards is the table. A text may move to another file of its directory.
var guards = []guard{
	// The decision.
	{"decision", "a solver who is a party takes nothing", "escrow/trade", `s.in.Role == "" || s.concerned():`, `s.in.Role == "":`, []string{tradeTests, solverTests}},
	{"decision", "a solver who is a party decides nothing", "escrow/trade", "	case s.concerned():\n		return Refuse(message.ReasonInvalidPubkey)", "	case false:", []string{tradeTests, solverTests}},
	{"decision", "a solver decides only what the solver has taken", "escrow/trade", `case d.Solver.Identity == "" || d.Solver.Identity != s.sender().Identity:`, "case false:", []string{tradeTests, solverTests}},
	{"decision", "a read-only solver decides nothing", "escrow/trade", "case !s.in.Role.decides():", "case false:", []string{tradeTests, solverTests}},
	{"decision", "a solver takes only free disputes, or those of a reader", "escrow/trade", "return s.in.Role == RoleWrite && s.in.Holder == RoleRead", "return s.in.Role == RoleWrite", []string{tradeTests, solverTests}},
	{"decision", "a verdict needs an open dispute", "escrow/trade", "if t.Status != message.TradeDispute || t.Settling {\n		return Refuse(closed)", "if false {\n		return Refuse(closed)", []string{tradeTests, solverTests}},
	{"decision", "no settlement after the escrow is gone", "escrow/trade", "if t.EscrowGone {\n		return Refuse(message.ReasonInvalidOrderStatus)", "if false {\n		return Refuse(message.ReasonInvalidOrderStatus)", []string{tradeTests, solverTests}},
	{"decision", "a settlement of a doubtful trade freezes it", "escrow/trade", "if t.Doubtful && !t.Sighted {\n		return s.contradiction() // the hold may have been settled and paid out in the lost time\n	}\n	return s.settleBy", "if false {\n		return s.contradiction()\n	}\n	return s.settleBy", []string{tradeTests, solverTests}},
	{"decision", "a cancel of a doubtful trade freezes it", "escrow/trade", "if t.Doubtful && !t.Sighted && !t.EscrowGone {", "if false {", []string{tradeTests, solverTests}},
	{"decision", "a cancel gives the hold back", "escrow/trade", "	if !t.EscrowGone {\n		s.closeHold()\n	}\n	s.showDispute(message.DisputeStatusSellerRefunded)", "	s.showDispute(message.DisputeStatusSellerRefunded)", []string{tradeTests, solverTests}},
	{"decision", "only the node's key cancels an order that nobody took", "escrow/trade", "if s.in.Role != RoleNode {\n			return Refuse(message.ReasonNotAuthorized)", "if false {\n			return Refuse(message.ReasonNotAuthorized)", []string{tradeTests, solverTests}},
	{"decision", "the rule acts on blocks that the node has reported", "escrow/trade", "if left <= 0 && known {", "if left <= 0 {", []string{tradeTests, solverTests}},
	{"decision", "the rule waits for the margin", "escrow/trade", "if left <= 0 && known {", "if left <= 5 && known {", []string{tradeTests, solverTests}},
	{"decision", "each warning is sent once", "escrow/trade", "	d.Told = due\n", "", []string{tradeTests, solverTests}},
	{"decision", "cheap disputes are limited", "escrow/trade", "case s.rules(rules2) && s.in.Limited:", "case false:", []string{tradeTests, solverTests}},
	{"decision", "a consent to cancel ends with a dispute", "escrow/trade", `		t.CancelBy = "" // a consent from before the dispute does not count in it` + "\n", "", []string{tradeTests, solverTests, "./escrow ConsentEnds"}},
	{"decision", "a removed solver loses the dispute", "escrow/trade", `	d.Solver, d.SolverRole, d.TakenAt = Party{}, "", 0` + "\n	s.showDispute(message.DisputeStatusInitiated)\n	return nil", "	s.showDispute(message.DisputeStatusInitiated)\n	return nil", []string{tradeTests, solverTests}},
	{"decision", "only a frozen trade is closed as paid", "escrow/trade", "case s.in.Outcome == OutcomePaid && t.Frozen:", "case s.in.Outcome == OutcomePaid:", []string{tradeTests, solverTests}},
	{"decision", "only a frozen trade or one without escrow is closed", "escrow/trade", "if t.Over() || Terminal(t.Status) || !t.Frozen && !t.EscrowGone {", "if t.Over() || Terminal(t.Status) {", []string{tradeTests, solverTests}},
	{"decision", "a trade that is closed as refunded gives the hold back", "escrow/trade", "if on == OnClosedRefunded && !t.EscrowGone {", "if false {", []string{tradeTests, solverTests}},
	{"decision", "an amount in suspense is resolved once", "escrow/trade", "	case i >= 0:\n		return ErrNothing // two decisions would move the amount twice\n", "	case i >= 0:\n", []string{suspendTests, tradeTests}},
	{"decision", "an overpayment is recorded for a settled hold only", "escrow/trade", "case !Settled(t.Status), in.Hash == Hash{}, in.Hash != t.Hash, in.Hold.Phase != HoldSettled,", "case in.Hash == Hash{}, in.Hash != t.Hash,", []string{tradeTests, suspendTests}},
	{"decision", "an overpayment is recorded once", "escrow/trade", "in.Hold.PaidMsat <= t.HeldMsat(), in", "in", []string{tradeTests, suspendTests}},
	{"decision", "a development fee is recorded once", "escrow/trade", `if !t.OwesDevFee() || byHand && s.in.Reason == "" {`, `if byHand && s.in.Reason == "" {`, []string{fundTests, tradeTests}},
	{"decision", "a development fee that is settled by hand has a reason", "escrow/trade", `if !t.OwesDevFee() || byHand && s.in.Reason == "" {`, `if !t.OwesDevFee() {`, []string{fundTests, tradeTests}},

	// Solvers.
	{"solvers", "a removed solver's disputes become free at ticks", "escrow", `b.role(t.Dispute.Solver.Identity) == "" {`, "false {", []string{solverTests}},
	{"solvers", "disputes become free in parts", "escrow", "const freeAtOnce = 64", "const freeAtOnce = 6400", []string{solverTests}},
	{"solvers", "a solver that takes again makes no row", "escrow", "d.SolverRole == in.Role {", "false {", []string{solverTests}},
	{"solvers", "a verdict needs a reason", "escrow", `if action != message.ActionAdminTakeDispute && reason == "" || len(reason) > maxReason {`, "if len(reason) > maxReason {", []string{solverTests}},
	{"solvers", "only the node's key adds a solver", "escrow", "	if msg.Identity != b.NodeKey {\n		return errDrop\n	}\n	text, ok", "	text, ok", []string{solverTests}},
	{"solvers", "the node's key is no solver", "escrow", `case key == "" || key == b.NodeKey:` + "\n		return ErrSolverKey", `case key == "":` + "\n		return ErrSolverKey", []string{solverTests}},
	{"solvers", "the assistant decides nothing", "escrow", "case role == trade.RoleWrite && key == b.Assistant:", "case false:", []string{solverTests}},
	{"solvers", "no verdict before the store is compared", "escrow", "		if !e.awake || b.Reconciling {\n			return ErrUncompared\n		}\n		return b.DecideAs(", "		return b.DecideAs(", []string{solverTests}},
	{"solvers", "a trade with a call under way is not closed", "escrow", "	if len(rows) > 0 && !withheld {\n		return ErrUnderWay\n	}\n	if err := b.step(t, trade.Input{At: at, Kind: trade.InClose", "	if err := b.step(t, trade.Input{At: at, Kind: trade.InClose", []string{solverTests}},
	{"solvers", "an identity has five open disputes", "escrow", "const maxOpenDisputes = 5", "const maxOpenDisputes = 5000", []string{solverTests, "./escrow CheapDisputes"}},

	// The dispute inbox.
	{"inbox", "a form has the origin of the host", "escrow/disputes", "|| host != r.Host ||", `|| host == "x" ||`, []string{inboxTests}},
	{"inbox", "a form comes from the same site", "escrow/disputes", ` || site != "" && site != "same-origin"`, ` || site == "x"`, []string{inboxTests}},
	{"inbox", "a form has the token of its session", "escrow/disputes", `if !v.session.holds(r.PostForm.Get("token"), verb, t.ID.String(), seen) {`, "if false {", []string{inboxTests}},
	{"inbox", "a token belongs to a verb and a dispute", "escrow/disputes", `strings.Join(parts, "\x00")`, `strings.Join(parts[len(parts)-1:], "")`, []string{inboxTests}},
	{"inbox", "a verdict rests on the present state", "escrow/disputes", "if seen != fingerprint(&t) {", "if false {", []string{inboxTests}},
	{"inbox", "a party does not see its dispute", "escrow/disputes", "if err == nil && v.concerned(&t) {", "if false {", []string{inboxTests}},
	{"inbox", "the lists hide the disputes of a party", "escrow/disputes", "		t := &found.Trades[i]\n		if v.concerned(t) {", "		t := &found.Trades[i]\n		if false {", []string{inboxTests}},
	{"inbox", "a removed solver is out", "escrow/disputes", `	if v.role == "" {`, "	if false {", []string{inboxTests}},
	{"inbox", "a double click decides once", "escrow/disputes", "	if did(&t, v, action) {\n		return done() // a double click", "	if false {\n		return done()", []string{inboxTests}},
	{"inbox", "a verdict is confirmed", "escrow/disputes", `case verb != "take" && r.PostForm.Get("sure") != "yes":`, "case false:", []string{inboxTests}},
	{"inbox", "a challenge is used once", "escrow/disputes", "case used, now.After(ends):", "case used && false, now.After(ends):", []string{inboxTests}},
	{"inbox", "a challenge gets old", "escrow/disputes", "case used, now.After(ends):", "case used:", []string{inboxTests}},
	{"inbox", "a challenge is of this program", "escrow/disputes", "len(b) != 32 || !hmac.Equal(b[16:], s.prove(b[:16]))", "len(b) != 32", []string{inboxTests}},
	{"inbox", "a link is used once", "escrow/disputes", "	delete(s.links, hash)\n	return ok", "	return ok", []string{inboxTests}},
	{"inbox", "a login has a signature", "escrow/disputes", " || envelope.CheckEvent(evt) != nil", " || envelope.CheckEvent(evt) != nil && false", []string{inboxTests}},
	{"inbox", "a login is for this page", "escrow/disputes", "u.Host != r.Host || ", "", []string{inboxTests}},
	{"inbox", "logins of one key are limited", "escrow/disputes", "case logins >= maxLogins:", "case false:", []string{inboxTests}},
	{"inbox", "sessions of one key are limited", "escrow/disputes", "case held[key] >= maxSessionsOf:", "case false:", []string{inboxTests}},
	{"inbox", "a solver does not end the operator's session", "escrow/disputes", "btoi(o.key != s.node) * held[o.key]", "held[o.key]", []string{inboxTests}},
	{"inbox", "a session of the solver with the most ends", "escrow/disputes", "btoi(o.key != s.node) * held[o.key]", "btoi(o.key != s.node)", []string{inboxTests}},
	{"inbox", "requests of one key at a time are limited", "escrow/disputes", "if s.busy[key] >= maxRequests {", "if false {", []string{inboxTests}},
	{"inbox", "texts of users are shown plainly", "escrow/disputes", "<bdi>{{plain .}}</bdi></small>{{end}}</td>\n<td data-label=\"Opened\">by the {{.By}}<small class=\"wrap\">{{.Opened.Text}}</small></td>\n<td data-label=\"Who", "<bdi>{{.}}</bdi></small>{{end}}</td>\n<td data-label=\"Opened\">by the {{.By}}<small class=\"wrap\">{{.Opened.Text}}</small></td>\n<td data-label=\"Who", []string{inboxTests}},
	{"inbox", "a message of a double click is sent once", "escrow/disputes", "case slices.ContainsFunc(list, func(o letter) bool { return o.nonce == nonce }):", "case false:", []string{inboxTests}},
	{"inbox", "messages of one key are limited", "escrow/disputes", "case len(list) >= maxLetters:", "case false:", []string{inboxTests}},
	{"inbox", "only the holder of a dispute writes", "escrow/disputes", "	case t.Dispute.Solver.Identity != v.key:\n		return false, &problem", "	case false:\n		return false, &problem", []string{inboxTests}},
	{"inbox", "a solver signs with the key of the login", "escrow/disputes", "case evt.PubKey != v.key:", "case false:", []string{inboxTests}},
	{"inbox", "a solver writes into a proven conversation only", "escrow/disputes", `if side == "" || partner != "" && partner != side {`, `if side == "" {`, []string{inboxTests}},
	{"inbox", "K_conv writes nothing", "mostro/envelope", "	if _, err := r.chats[0].Open(evt, now); err != nil {\n		return nil\n	}\n", "", []string{inboxTests}},
	{"inbox", "a chat shows its parties only", "mostro/envelope", "if !slices.Contains(c.parties, inner.PubKey) {", "if false {", []string{chatTests, inboxTests}},

	// The development fee.
	{"devfee", "the last hash is looked up before another invoice is requested", "escrow/devfee", "Effect{Kind: FxInvoice, Hash: f.Hash, ", "Effect{Kind: FxInvoice, ", []string{feeTests, fundTests}},
	{"devfee", "a failure counts for its attempt only", "escrow/devfee", "	case trade.PaymentFailed:\n		if f.Phase != PhaseSent || s.in.Attempt != f.Attempt {", "	case trade.PaymentFailed:\n		if f.Phase != PhaseSent {", []string{feeTests, fundTests}},
	{"devfee", "a failure counts after the node has accepted the payment", "escrow/devfee", "	case trade.PaymentFailed:\n		if f.Phase != PhaseSent || s.in.Attempt != f.Attempt {", "	case trade.PaymentFailed:\n		if s.in.Attempt != f.Attempt {", []string{feeTests, fundTests}},
	{"devfee", "an invoice counts for its attempt only", "escrow/devfee", "if f.Phase != PhaseAsking || !current || in.Invoice == nil {", "if in.Invoice == nil {", []string{feeTests, fundTests}},
	{"devfee", "an invoice of another payment is refused", "escrow/devfee", "case d.Taken:", "case false:", []string{feeTests, fundTests}},
	{"devfee", "an invoice has the amount of the fee", "escrow/devfee", "case d.AmountMsat != f.Sats*1000:", "case false:", []string{feeTests, fundTests}},
	{"devfee", "an invoice can be paid by the terms", "escrow/devfee", "case !s.in.Payable:", "case false:", []string{feeTests, fundTests}},
	{"devfee", "a forgotten payment is parked", "escrow/devfee", "			s.park(ProblemForgotten)", "			s.failed(ProblemForgotten)", []string{feeTests, fundTests}},
	{"devfee", "an older copy of the store parks", "escrow/devfee", "		s.doubt(ProblemCopied)", "		return ErrNothing", []string{feeTests, fundTests}},
	{"devfee", "the hash is stored before the payment", "escrow/devfee", "f.Phase, f.Hash, f.Verify = PhaseClaimed, d.Hash, s.in.Verify", "f.Phase, f.Verify = PhaseClaimed, s.in.Verify", []string{feeTests, fundTests}},
	{"devfee", "attempts at a time are limited", "escrow/devfee", "f.Phase == PhaseOwed && room < 0", "false", []string{feeTests, fundTests}},
	{"devfee", "attempts of an hour are limited", "escrow/devfee", "if b.Tries >= MaxTries {", "if false {", []string{feeTests, fundTests}},
	{"devfee", "only a parked fee is tried again", "escrow/devfee", "if f.Phase != PhaseParked || f.DueAt == 0 {", "if f.DueAt == 0 {", []string{feeTests, fundTests}},
	{"devfee", "rows of a copy are removed", "escrow", "q.kind == devfee.FxInvoice || q.kind == devfee.FxPay", "q.kind == devfee.FxTrack && false", []string{fundTests}},
	{"devfee", "the hash is claimed", "escrow", "	if next.Hash != f.Hash {\n		d.book.claim(next.Hash, devFeeClaim)", "	if false {\n		d.book.claim(next.Hash, devFeeClaim)", []string{fundTests}},
	{"devfee", "an invoice that is paid already is not used", "escrow/fund", "		return none(devfee.ProblemUsed)", "		break", []string{fundTests}},
	{"devfee", "fees do not wait behind calls of trades", "escrow", "		return laneFund\n", "		return laneMint\n", []string{fundTests}},
	{"devfee", "the event is published once", "escrow", "} else if !f.Published {", "} else {", []string{fundTests}},
	{"devfee", "a fee of a trade that an operator continues is parked", "escrow", `	if byHand && f.Phase != "" {`, "	if false {", []string{fundTests}},
	{"devfee", "a frozen trade pays no fee", "escrow", "return err != nil || t.Frozen\n", "return err != nil || t.Frozen && false\n", []string{fundTests}},
	{"devfee", "nothing is paid while a copy is compared", "escrow", "if d.book.Reconciling || len", "if len", []string{fundTests}},
	{"devfee", "a fee settled by hand is of exactly the fee's amount", "escrow", "paid.Status != trade.PaymentSucceeded || paid.AmountMsat != t.DevFeeSats*1000 ||", "paid.Status != trade.PaymentSucceeded ||", []string{fundTests}},
	{"devfee", "a payment settles one fee by hand", "escrow", " || dest.Taken && h != f.Hash", "", []string{fundTests}},
	{"devfee", "only a parked fee is settled by hand", "escrow", "if !t.OwesDevFee() || ok && f.Phase != devfee.PhaseParked {", "if !t.OwesDevFee() {", []string{fundTests}},
	{"devfee", "a published payment of another amount is of another take", "escrow", "ok && p.sats == f.Sats {", "ok && f.Sats >= 0 {", []string{fundTests}},
	{"devfee", "a fee whose own payment moves is not settled by hand", "escrow", "		if paid.Status == trade.PaymentInFlight || paid.Status == trade.PaymentSucceeded {\n			return ErrFeeMoves", "		if false {\n			return ErrFeeMoves", []string{fundTests}},

	// Ratings.
	{"rating", "a party votes once", "escrow/rating", "	if _, err := get[Vote](b, orderKey(spaceVote, t.ID, v.By)); !errors.Is(err, ErrNoRow) {", "	if _, err := get[Vote](b, orderKey(spaceVote, t.ID, v.By)); err != nil && !errors.Is(err, ErrNoRow) {", []string{ratingTests, votesTests}},
	{"rating", "a vote that waits is not given twice", "escrow/rating", "	if _, waits := b.waiting[v.key()]; waits {", "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a vote needs a trade that may be rated", "escrow/rating", `	if !now && (v.By == "" || !uncertain(t)) {`, "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a stranger does not vote", "escrow/rating", `	if v.By == "" {` + "\n		return nil, trade.ErrNothing", "	if false {\n		return nil, trade.ErrNothing", []string{ratingTests, votesTests}},
	{"rating", "a vote has one to five stars", "escrow/rating", "if !ok || stars < 1 || stars > 5 {", "if !ok {", []string{ratingTests, votesTests}},
	{"rating", "an identity does not vote for itself", "escrow/rating", " || rated.Identity == rater.Identity {\n		return nil, trade.ErrNothing", " || rated.Identity == rater.Identity && false {\n		return nil, trade.ErrNothing", []string{ratingTests, votesTests}},
	{"rating", "a waiting vote ends with its trade", "escrow/rating", "		case over:\n			b.stopWaiting(v)", "		case false:\n			b.stopWaiting(v)", []string{ratingTests, votesTests}},
	{"rating", "a waiting vote is counted once", "escrow/rating", "		case Rateable(after.Status, role):\n			b.stopWaiting(v)", "		case Rateable(after.Status, role):", []string{ratingTests, votesTests}},
	{"rating", "an account of an issuer is imported once", "escrow/rating", "	if _, err := get[imported](b, index); !errors.Is(err, ErrNoRow) {", "	if _, err := get[imported](b, index); err != nil && !errors.Is(err, ErrNoRow) {", []string{ratingTests, votesTests}},
	{"rating", "an identity imports once from an issuer", "escrow/rating", "	if slices.ContainsFunc(u.Imports, func(i Import) bool { return i.Issuer == name }) {", "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a repetition of an import counts once", "escrow/rating", "	if !slices.ContainsFunc(u.Imports, func(i Import) bool { return i.Attestation == a.EventID }) {", "	if true {", []string{ratingTests, votesTests}},
	{"rating", "an expired attestation is not imported", "escrow/rating", "		if expired {\n			return nil, trade.Refuse(message.ReasonExpiredReputationAttestation)\n		}\n", "", []string{ratingTests, votesTests}},
	{"rating", "a key of an issuer keeps its name", "escrow/rating", "k.Name != issuer.Name && inUse[k.Name] > 0 {", "false {", []string{ratingTests, votesTests}},
	{"rating", "imports and exports are limited", "escrow/rating", "	if l.inHourOfAll >= requestsInHourOfAll || l.inHour[identity] >= requestsInHour || l.inDay[identity] >= requestsInDay {", "	if false {", []string{ratingTests, votesTests}},
	{"rating", "an export is of ten trades and as many votes as the protocol says", "escrow/rating", "if u.Trades < minTrades || reviews < minReviews || u.FirstTrade == 0 || !ok {", "if !ok {", []string{ratingTests, votesTests}},
	{"rating", "an exported reputation is bound", "escrow/rating", `	if u.ExportedTo != "" && u.ExportedTo != p.Destination {`, "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a rebind moves a binding once", "escrow/rating", "	if _, again := b.rebinds[r.EventID]; again {", "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a revoked import can be imported again", "escrow/rating", "		b.put(f.index, nil)\n", "", []string{ratingTests, votesTests}},
	{"rating", "revocations are committed in parts", "escrow/rating", "const RevokeMost = 200", "const RevokeMost = 200_000", []string{ratingTests, votesTests}},
	{"rating", "an event of a rating is never dated twice", "escrow/rating", "	u.StampedAt = max(at, u.StampedAt+1)", "	u.StampedAt = at", []string{ratingTests, votesTests}},
	{"rating", "a declaration ends with its trade", "escrow/rating", "	if over && before.Status != \"\" {", "	if false {", []string{ratingTests, votesTests}},
	{"rating", "a declaration is the buyer's", "escrow/rating", `	if t.Buyer.Key == "" || t.Buyer.Key != q.From.Key {`, "	if false {", []string{ratingTests, votesTests}},

	// The limits of payouts.
	{"payoutgate", "payments in flight are limited", "escrow/payoutgate", "return g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll ||", "return g.closed ||", []string{gateTests}},
	{"payoutgate", "payments to one payee are limited", "escrow/payoutgate", ` || g.ofPayee > 0 && payee != "" && g.payees[payee] >= g.ofPayee`, "", []string{gateTests}},
	{"payoutgate", "the gate is closed until the node was asked", "escrow/payoutgate", "return g.closed || g.inAll", "return g.inAll", []string{gateTests}},
	{"payoutgate", "an address is not asked without room", "escrow/payoutgate", "	if g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll {", "	if false {", []string{gateTests}},
	{"payoutgate", "a known outcome makes room", "escrow/payoutgate", "ok && !(claimed && counted.hash == o.Hash) {\n		g.leave(id)", "false && !(claimed && counted.hash == o.Hash) && ok {\n		g.leave(id)", []string{gateTests}},
	{"payoutgate", "sent payments count at a start", "escrow/payoutgate", "claimed && o.Sent && !counted {", "false && !counted {", []string{gateTests}},

	// The ledger and the daily comparison. The postings have a table of their own.
	{"ledger", "a payment counts for one trade", "escrow/ledger", "if last != nil && last.class == r.class && last.hash == r.hash {", "if false {", []string{ledgerTests}},
	{"ledger", "an overpaid hold is reported", "escrow/ledger", "	case in.PaidMsat > r.paid:", "	case false:", []string{ledgerTests}},
	{"ledger", "an underpaid hold is reported", "escrow/ledger", "	case in.PaidMsat < r.paid:", "	case false:", []string{ledgerTests}},
	{"ledger", "an invoice of this escrow without a trade is reported", "escrow/ledger", "if in.Trade != (trade.OrderID{}) || c.dedicated {", "if c.dedicated {", []string{ledgerTests}},
	{"ledger", "a paid payout that the node does not list is reported", "escrow/ledger", "			case PayoutPaid:\n				err = c.differs(r, MissingPayment", "			case PayoutPaid + 100:\n				err = c.differs(r, MissingPayment", []string{ledgerTests}},
	{"ledger", "a payment that was given up and is in flight is reported", "escrow/ledger", "		case trade.PaymentInFlight:\n			return InFlightAtNode, false", "		case trade.PaymentInFlight + 100:\n			return InFlightAtNode, false", []string{ledgerTests}},
	{"ledger", "a row that the node lists twice is reported", "escrow/ledger", "	if r.listed {\n		return c.differs(r, RepeatedRow, in.Phase", "	if false {\n		return c.differs(r, RepeatedRow, in.Phase", []string{ledgerTests}},
	{"ledger", "the fund has what it is owed", "escrow/ledger", "fund != l.DevFeesMsat {", "false {", []string{ledgerTests}},
	{"ledger", "the stored trade is compared with its journal", "escrow/ledger", "if err := stored.Check(); err != nil {", "if err := stored.Check(); false {", []string{ledgerTests}},
	{"ledger", "a passing difference that stays is a fault", "escrow/audit", "			if !before[key] {\n				continue\n			}\n", "			if before[key] || !before[key] {\n				continue\n			}\n", []string{auditTests}},
	{"ledger", "a frozen trade's difference is a fault", "escrow/ledger", "return !d.Passing || d.Frozen", "return !d.Passing", []string{ledgerTests, auditTests}},

	// The engine. docs/testing.md has another hundred from before this program.
	{"engine", "a refund in flight is not replaced", "escrow", "	if last == trade.PaymentInFlight || last == trade.PaymentSucceeded {\n		return ErrRefundMoves\n	}\n", "", []string{suspendTests}},
	{"engine", "a refund whose call waits is not replaced", "escrow", "	if len(rows) > 0 && !withheld {\n		return ErrUnderWay\n	}\n	if last ==", "	if last ==", []string{suspendTests}},
	{"engine", "no amount in suspense is resolved before the store is compared", "escrow", "		if !e.awake || b.Reconciling {\n			return ErrUncompared\n		}\n		_, withheld := e.withheld[id]\n		return b.Resolve(", "		_, withheld := e.withheld[id]\n		return b.Resolve(", []string{suspendTests, solverTests}},
	{"engine", "a trade is not closed before the store is compared", "escrow", "		if !e.awake || b.Reconciling {\n			return ErrUncompared\n		}\n		_, withheld := e.withheld[id]\n		return b.Close(", "		_, withheld := e.withheld[id]\n		return b.Close(", []string{solverTests}},
	{"engine", "memory is read again after a refused commit", "escrow", "		if err := e.readStore(); err != nil {\n			return 0, err\n		}\n		if size == 1 {", "		if size == 1 {", []string{engineTests, votesTests}},
	{"engine", "a replayed message has no effect", "escrow", "	if b.batch.seen[id] {\n		return true, nil\n	}\n	seen, err := b.store.Seen(id)", "	seen, err := false, error(nil)", []string{engineTests, "./escrow Replay|Attack"}},
	{"engine", "a late message is dated by its trade", "escrow", "	if envelope.DefaultFreshness.CheckLate(created, time.Unix(opened, 0), time.Unix(closes, 0), now) != nil {", "	if _, _ = opened, closes; false {", []string{engineTests, "./escrow Late|Fresh|Attack|Refusal"}},
	{"engine", "the payout of a copy waits for the comparison", "escrow", "	e.outbox.pause(e.Reconcile)\n", "", []string{engineTests}},
	{"engine", "a log of another past is noticed", "escrow", "		other = entry.Seq == head.Cursor && entry.Event.ID != head.CursorID\n", "", []string{engineTests, "./escrow Log|Restored|Crash"}},
}
