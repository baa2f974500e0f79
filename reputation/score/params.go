package score

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// AlgoName names the method; its parameters' hash follows it in Algo.
const AlgoName = "mostrodex@2"

// Params are all constants of the score. Two programs with the same Params
// and the same facts give the same bytes. docs/reputation.md says where each
// number comes from.
type Params struct {
	// Funds are the keys whose lists confirm development fees. Empty: nothing
	// is costed, whatever nodes publish.
	Funds []string `json:"funds"`
	// Payees are the Lightning nodes of such funds: a receipt that opens a
	// payment to one of them is confirmed by that. A payment to anybody else
	// may be one to oneself.
	Payees []string `json:"payees"`

	LateSeconds     int64 `json:"late_seconds"`      // received later than this after created_at: no witness
	AheadSeconds    int64 `json:"ahead_seconds"`     // dated further ahead than this: no witness
	MinTradeSeconds int64 `json:"min_trade_seconds"` // least time from pending to success
	// NeutralSeconds is the time in which both sides of a taken order may leave
	// without a payment: two duties of 15 minutes, and a scheduler's minute for
	// each. A cancellation within it proves nothing about the node.
	NeutralSeconds int64 `json:"neutral_seconds"`
	WatchDays      int   `json:"watch_days"` // witnessed days below which no rank is shown
	FeeTimes       int64 `json:"fee_times"`  // a fee confirms at most this many times its sats

	// Weight of a rating.
	CPlain       Micro `json:"c_plain"`        // a receipt, its trade not witnessed
	CWitnessed   Micro `json:"c_witnessed"`    // a receipt, its trade witnessed
	CostFullSats int64 `json:"cost_full_sats"` // confirmed fee from which a rating weighs 1
	AgeHalfDays  int64 `json:"age_half_days"`
	AmountUnit   int64 `json:"amount_unit"` // sats at which the amount begins to weigh
	AmountTop    Micro `json:"amount_top"`  // log10 of units that weighs 1
	AmountFloor  Micro `json:"amount_floor"`
	PerOrder     int   `json:"per_order"`   // ratings of one order that count
	DayCap       Micro `json:"day_cap"`     // share of the users' evidence that one day may hold
	ClusterCap   Micro `json:"cluster_cap"` // that one cluster of amount and method may hold
	PlainCap     Micro `json:"plain_cap"`   // of ratings without witnessed trade, of all others' weight
	FreeCap      Micro `json:"free_cap"`    // weight of all that cost nothing, beyond FreeShare of what did
	FreeShare    Micro `json:"free_share"`
	TradeFree    Micro `json:"trade_free"`  // trades without confirmed cost, in C and D, beyond TradeShare of the others
	TradeShare   Micro `json:"trade_share"` // of the trades with confirmed cost
	EpochDays    int64 `json:"epoch_days"`  // of the supply check

	// Priors: pseudo-observations.
	UsersPrior    Micro `json:"users_prior"`     // k, at the median of the other nodes' means
	UsersMean     Micro `json:"users_mean"`      // where no other node has a mean
	UsersSpread   Micro `json:"users_spread"`    // most by which agreement among ratings sharpens them
	UsersMinNodes int   `json:"users_min_nodes"` // other nodes with a mean that the median needs
	UsersMeanSats int64 `json:"users_mean_sats"` // confirmed fees that UsersMean weighs as much as, in the median
	DonePrior     Micro `json:"done_prior"`
	UndonePrior   Micro `json:"undone_prior"`
	DisputePrior  Micro `json:"dispute_prior"`
	PeacePrior    Micro `json:"peace_prior"`
	SolvedPrior   Micro `json:"solved_prior"`
	UnsolvedPrior Micro `json:"unsolved_prior"`
	UpPrior       Micro `json:"up_prior"`
	DownPrior     Micro `json:"down_prior"`

	DisputeTop     Micro `json:"dispute_top"`     // share of disputed trades at which half of D is 0
	DisputeHours   int64 `json:"dispute_hours"`   // unresolved after this: a failure
	TakeHours      int64 `json:"take_hours"`      // a solver's time to take a dispute that costs nothing
	OmissionHours  int64 `json:"omission_hours"`  // a taken order without an end after this never ended, whatever its expires_at
	SilentHours    int64 `json:"silent_hours"`    // an offer without an end after its expiry and this was left without one
	OfferDays      int64 `json:"offer_days"`      // the longest life of an offer that is believed
	VolumeUnit     int64 `json:"volume_unit"`     // sats
	VolumeTop      int64 `json:"volume_top"`      // sats at which V is 1
	VolumeFree     Micro `json:"volume_free"`     // share at which volume without confirmed cost counts
	VolumeFreeTop  int64 `json:"volume_free_top"` // and at most this; from the first confirmed cost on, TradeShare of the costed volume
	LiveDays       int64 `json:"live_days"`
	LiveHalfDays   int64 `json:"live_half_days"`
	AgeFullDays    int64 `json:"longevity_half_days"`
	ExposureHalf   int64 `json:"exposure_half_days"`
	Floor          Micro `json:"floor"` // least value of a sub-score
	GateRank       int   `json:"gate_rank"`
	GateDays       int   `json:"gate_days"`
	GateNEff       Micro `json:"gate_n_eff"`
	GateCosted     Micro `json:"gate_costed"`   // n_eff of ratings of trades with confirmed cost
	GateTop        int   `json:"gate_top"`      // above it a rank needs GateTopSats
	GateTopSats    int64 `json:"gate_top_sats"` // confirmed fees, halved every ExposureHalf days
	Draws          int   `json:"draws"`
	DrawSeed       int64 `json:"draw_seed"`
	AlarmTimes     int64 `json:"alarm_times"`
	AlarmSamples   int   `json:"alarm_samples"`
	ShiftHours     int64 `json:"shift_hours"`
	ShiftSigma     int64 `json:"shift_sigma"`
	ShiftSamples   int   `json:"shift_samples"`
	InfoSlotSecond int64 `json:"info_slot_seconds"` // one info of a node is kept for each

	// Weights of the sub-scores, in the order U C D V L G; their sum is 1.
	Weights [subScores]Micro `json:"weights"`
}

// DefaultParams are the parameters of AlgoName.
func DefaultParams() Params {
	return Params{
		LateSeconds: 600, AheadSeconds: 600, MinTradeSeconds: 60, NeutralSeconds: 1920, WatchDays: 30, FeeTimes: 2000,
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

// Hash is the sha256 of the parameters' JSON, in hex.
func (p Params) Hash() string {
	p.Funds, p.Payees = slices.Sorted(slices.Values(p.Funds)), slices.Sorted(slices.Values(p.Payees))
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and strings: they encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Algo names the method and its parameters: "mostrodex@2 <sha256>".
func (p Params) Algo() string { return AlgoName + " " + p.Hash() }
