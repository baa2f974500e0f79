package score

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// AlgoName is the name of the method. In Algo the hash of the parameters follows.
const AlgoName = "mostrodex@3"

// algoBefore is the name of the method without the rules that DefaultParams has set since.
// Bundles of that method are verified with their own parameters.
const algoBefore = "mostrodex@2"

// Params are all constants of the score. Two programs with the same Params and the same
// facts compute the same bytes. docs/reputation.md explains the source of each number.
type Params struct {
	// Funds are the pubkeys of the development funds. The lists of these funds confirm
	// development fees. If Funds is empty, no fee is confirmed, whatever nodes publish.
	Funds []string `json:"funds"`
	// Payees are the Lightning nodes of these funds. If a receipt opens a payment to one
	// of the payees, the receipt confirms that payment. A payment to any other Lightning
	// node may be a payment of the node to itself.
	Payees []string `json:"payees"`

	// FeeDescriptions are the SHA-256 hashes of the LNURL metadata of the fee addresses, hex.
	// An invoice with such a hash, of one of Payees, is an invoice of the address. A node that
	// discloses the invoice and the preimage confirms the fee. If FeeDescriptions is empty, no
	// disclosure and no answer confirms a fee.
	FeeDescriptions []string `json:"fee_descriptions,omitempty"`
	// FeeAddresses are Lightning addresses whose service is believed about payments (LUD-21).
	// FeeAskers are the keys whose record of the answers is believed: the own key.
	FeeAddresses []string `json:"fee_addresses,omitempty"`
	FeeAskers    []string `json:"fee_askers,omitempty"`

	LateSeconds     int64 `json:"late_seconds"`      // an event received later than this after created_at is not witnessed
	AheadSeconds    int64 `json:"ahead_seconds"`     // an event received earlier than this before created_at is not witnessed
	MinTradeSeconds int64 `json:"min_trade_seconds"` // shortest time from pending to success
	// NeutralSeconds is the time in which both sides of a taken order may leave without a
	// payment. The time consists of two duties of 15 minutes, and one minute of the
	// daemon's scheduler for each. A cancellation within this time proves nothing about
	// the node.
	NeutralSeconds int64 `json:"neutral_seconds"`
	WatchDays      int   `json:"watch_days"` // number of witnessed days below which no rank is shown
	FeeTimes       int64 `json:"fee_times"`  // a fee of n sats confirms at most n times this amount

	// Weight of a rating.
	CPlain       Micro `json:"c_plain"`        // a receipt, if the trade was not witnessed
	CWitnessed   Micro `json:"c_witnessed"`    // a receipt, if the trade was witnessed
	CostFullSats int64 `json:"cost_full_sats"` // confirmed fee from which a rating has weight 1
	AgeHalfDays  int64 `json:"age_half_days"`
	AmountUnit   int64 `json:"amount_unit"` // sats from which the amount has weight
	AmountTop    Micro `json:"amount_top"`  // log10 of the units at which the amount has weight 1
	AmountFloor  Micro `json:"amount_floor"`
	PerOrder     int   `json:"per_order"`   // number of ratings of one order that count
	DayCap       Micro `json:"day_cap"`     // largest share of one day in the weight of all ratings
	ClusterCap   Micro `json:"cluster_cap"` // largest share of one cluster of amount and method
	PlainCap     Micro `json:"plain_cap"`   // largest share of ratings without a witnessed trade, in the weight of the others
	FreeCap      Micro `json:"free_cap"`    // largest weight of all ratings without cost, beyond FreeShare of those with cost
	FreeShare    Micro `json:"free_share"`
	TradeFree    Micro `json:"trade_free"`  // largest number of trades without confirmed cost in C and D, beyond TradeShare
	TradeShare   Micro `json:"trade_share"` // share of the trades with confirmed cost
	EpochDays    int64 `json:"epoch_days"`  // length of an epoch of the supply check

	// Priors, in pseudo-observations.
	UsersPrior    Micro `json:"users_prior"`     // k, at the median of the means of the other nodes
	UsersMean     Micro `json:"users_mean"`      // the prior mean if no other node has a mean
	UsersSpread   Micro `json:"users_spread"`    // largest factor by which agreement among ratings sharpens the posterior
	UsersMinNodes int   `json:"users_min_nodes"` // number of other nodes with a mean that the median needs
	UsersMeanSats int64 `json:"users_mean_sats"` // weight of UsersMean in the median, as confirmed fees
	DonePrior     Micro `json:"done_prior"`
	UndonePrior   Micro `json:"undone_prior"`
	DisputePrior  Micro `json:"dispute_prior"`
	PeacePrior    Micro `json:"peace_prior"`
	SolvedPrior   Micro `json:"solved_prior"`
	UnsolvedPrior Micro `json:"unsolved_prior"`
	UpPrior       Micro `json:"up_prior"`
	DownPrior     Micro `json:"down_prior"`

	DisputeTop     Micro `json:"dispute_top"`     // share of disputed trades at which half of D is 0
	DisputeHours   int64 `json:"dispute_hours"`   // a dispute that is unresolved after this time is a failure
	TakeHours      int64 `json:"take_hours"`      // time in which a solver may take a dispute without a loss
	OmissionHours  int64 `json:"omission_hours"`  // a taken order without an end after this time is an omission, whatever its expires_at
	SilentHours    int64 `json:"silent_hours"`    // an offer without an end, this long after its expiry, is silent
	OfferDays      int64 `json:"offer_days"`      // longest lifetime of an offer that is accepted
	VolumeUnit     int64 `json:"volume_unit"`     // sats
	VolumeTop      int64 `json:"volume_top"`      // sats at which V is 1
	VolumeFree     Micro `json:"volume_free"`     // share of the volume without confirmed cost that counts
	VolumeFreeTop  int64 `json:"volume_free_top"` // largest such volume; from the first confirmed cost on the limit is TradeShare of the costed volume
	LiveDays       int64 `json:"live_days"`
	LiveHalfDays   int64 `json:"live_half_days"`
	AgeFullDays    int64 `json:"longevity_half_days"`
	ExposureHalf   int64 `json:"exposure_half_days"`
	Floor          Micro `json:"floor"` // smallest value of a sub-score
	GateRank       int   `json:"gate_rank"`
	GateDays       int   `json:"gate_days"`
	GateNEff       Micro `json:"gate_n_eff"`
	GateCosted     Micro `json:"gate_costed"`   // n_eff of the ratings of trades with confirmed cost
	GateTop        int   `json:"gate_top"`      // a rank above this needs GateTopSats
	GateTopSats    int64 `json:"gate_top_sats"` // confirmed fees, halved every ExposureHalf days
	Draws          int   `json:"draws"`
	DrawSeed       int64 `json:"draw_seed"`
	AlarmTimes     int64 `json:"alarm_times"`
	AlarmSamples   int   `json:"alarm_samples"`
	ShiftHours     int64 `json:"shift_hours"`
	ShiftSigma     int64 `json:"shift_sigma"`
	ShiftSamples   int   `json:"shift_samples"`
	InfoSlotSecond int64 `json:"info_slot_seconds"` // one info event of a node is kept per slot

	// DisputeReceipts counts a dispute that the node opened by a message to a user (R0) and
	// did not publish. mostrodex@2 did not count such disputes.
	DisputeReceipts bool `json:"dispute_receipts,omitempty"`

	// Weights are the weights of the sub-scores in the order U C D V L G. The sum is 1.
	Weights [subScores]Micro `json:"weights"`
}

// DefaultParams returns the parameters of AlgoName.
func DefaultParams() Params {
	return Params{
		LateSeconds: 600, AheadSeconds: 600, MinTradeSeconds: 60, NeutralSeconds: 1920, WatchDays: 30, FeeTimes: 2000, DisputeReceipts: true,
		CPlain: 50_000, CWitnessed: 250_000, CostFullSats: 25, AgeHalfDays: 90,
		AmountUnit: 1000, AmountTop: 3 * One, AmountFloor: 200_000,
		PerOrder: 2, DayCap: 200_000, ClusterCap: 100_000, PlainCap: 50_000, FreeCap: 4 * One, FreeShare: 50_000,
		TradeFree: 30 * One, TradeShare: 50_000, EpochDays: 30,
		UsersPrior: 5 * One, UsersMean: 750_000, UsersSpread: 4 * One, UsersMinNodes: 3, UsersMeanSats: 10_000,
		DonePrior: 4 * One, UndonePrior: One, DisputePrior: One, PeacePrior: 29 * One,
		SolvedPrior: 3 * One, UnsolvedPrior: One, UpPrior: 4 * One, DownPrior: One,
		DisputeTop: 100_000, DisputeHours: 72, TakeHours: 24, OmissionHours: 72, SilentHours: 24, OfferDays: 30,
		VolumeUnit: 100_000, VolumeTop: 1_000_000_000, VolumeFree: 50_000, VolumeFreeTop: 1_000_000,
		LiveDays: 30, LiveHalfDays: 10, AgeFullDays: 15, ExposureHalf: 365,
		Floor: 20_000, GateRank: 70, GateDays: 90, GateNEff: 20 * One, GateCosted: 20 * One, GateTop: 79, GateTopSats: 10_000,
		Draws: 2000, DrawSeed: 38383, AlarmTimes: 3, AlarmSamples: 20,
		ShiftHours: 48, ShiftSigma: 3, ShiftSamples: 5, InfoSlotSecond: 3600,
		Weights: [subScores]Micro{300_000, 200_000, 200_000, 100_000, 100_000, 100_000},
	}
}

// Hash returns the SHA-256 of the JSON of the parameters, in hex.
func (p Params) Hash() string {
	p.Funds, p.Payees = slices.Sorted(slices.Values(p.Funds)), slices.Sorted(slices.Values(p.Payees))
	for _, list := range []*[]string{&p.FeeDescriptions, &p.FeeAddresses, &p.FeeAskers} {
		*list = slices.Sorted(slices.Values(*list))
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // impossible: numbers and strings always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Algo returns the name of the method and the hash of the parameters: "mostrodex@3
// <sha256>".
func (p Params) Algo() string {
	if !p.DisputeReceipts {
		return algoBefore + " " + p.Hash()
	}
	return AlgoName + " " + p.Hash()
}

// confirmedSats returns the part of a trade's amount that its fee confirms. The amount is
// only a claim of the node, and a fee of one sat is no proof of millions.
func (p *Params) confirmedSats(sats, cost int64) int64 {
	return min(sats, mulDiv(min(cost, 1_000_000_000), p.FeeTimes, 1))
}
