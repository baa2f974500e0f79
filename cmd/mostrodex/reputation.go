package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mostrodex/mostrodex/internal/publicnet"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/simulate"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/spf13/cobra"
)

// ReputationConfig is section [reputation].
type ReputationConfig struct {
	Enabled bool   `toml:"enabled"`
	Key     string `toml:"key"`   // file of the key that signs published scores; "": DATA/keys/reputation, created at the first start
	Every   string `toml:"every"` // interval between complete computations of all scores, e.g. "10m"
	Publish bool   `toml:"publish"`
	// Funds are the public keys of development funds whose lists of payments are trusted.
	// Payees are the Lightning nodes of the funds. If they are empty, no fee is confirmed.
	Funds  []string `toml:"funds"`
	Payees []string `toml:"payees"`
	// FeeAddresses are Lightning addresses of development funds, and FeeDescriptions the
	// SHA-256 of the LNURL metadata of each, hex. With Payees they confirm fees without a list
	// of a fund: by invoice and preimage, or by the answer of the service (LUD-21). If they
	// are empty, no service is asked.
	FeeAddresses    []string `toml:"fee_addresses"`
	FeeDescriptions []string `toml:"fee_descriptions"`
	// SignReceiveLog publishes which event this relay received when, signed by Key. Other
	// relays can name Key in Witnesses. The statements add about 5 % to the log.
	SignReceiveLog bool `toml:"sign_receive_log"`
	// Witnesses are the keys of relays whose signed receive logs are read, at most 5. Each
	// becomes a column of its own, "seen by". Own ranks do not change.
	Witnesses []string `toml:"witnesses"`
	// Seeds are keys that the operator trusts. They give the personal order of a visitor who
	// names no keys (GET /api/v1/personal). No rank depends on them.
	Seeds []string `toml:"seeds"`
	// Prices are sources of prices for choose: yadio, coingecko, currency_api or blockchain,
	// each as a name or as name=URL. If Prices is empty, the sources of the escrow are used
	// if it runs, else prices that Mostros sign.
	Prices []string `toml:"prices"`
}

func (c *ReputationConfig) validate() error {
	if d, err := time.ParseDuration(c.Every); err != nil || d < time.Minute {
		return fmt.Errorf("every: %q is not a duration of at least a minute, such as \"10m\"", c.Every)
	}
	for name, list := range map[string]struct {
		keys   []string
		digits int
	}{"funds": {c.Funds, 64}, "payees": {c.Payees, 66}, "witnesses": {c.Witnesses, 64}, "fee_descriptions": {c.FeeDescriptions, 64}, "seeds": {c.Seeds, 64}} {
		for _, k := range list.keys {
			if len(k) != list.digits || strings.Trim(k, "0123456789abcdef") != "" {
				return fmt.Errorf("%s: %q is not a public key of %d lower-case hex digits", name, k, list.digits)
			}
		}
	}
	for _, a := range c.FeeAddresses {
		user, host, ok := strings.Cut(a, "@")
		if !ok || user == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || !strings.Contains(host, ".") {
			return fmt.Errorf("fee_addresses: %q is not a Lightning address in lower case, such as dev@example.com", a)
		}
	}
	if len(c.FeeDescriptions) > 0 && len(c.Payees) == 0 || len(c.FeeAddresses) > 0 && len(c.FeeDescriptions) == 0 {
		return errors.New("fee_addresses: fee_addresses need fee_descriptions, and both need payees, the Lightning nodes of the fund")
	}
	if len(c.Witnesses) > reputation.MaxWitnesses {
		return fmt.Errorf("witnesses: %d keys, at most %d", len(c.Witnesses), reputation.MaxWitnesses)
	}
	for _, p := range c.Prices {
		if _, err := priceSource(p); err != nil {
			return fmt.Errorf("prices: %w", err)
		}
	}
	return nil
}

// params returns the parameters of the algorithm, including the funds that the operator
// trusts.
func (c *ReputationConfig) params() score.Params {
	p := score.DefaultParams()
	p.Funds, p.Payees = c.Funds, c.Payees
	p.FeeAddresses, p.FeeDescriptions = c.FeeAddresses, c.FeeDescriptions
	return p
}

// paramsOf returns the parameters with the key of a data directory. The records that this
// key signs about answers of payment services are believed.
func (c *ReputationConfig) paramsOf(data string) (score.Params, error) {
	p := c.params()
	if len(c.FeeAddresses) == 0 {
		return p, nil
	}
	by, err := bundleSigner(c, data)
	if err != nil || by == nil {
		return p, err
	}
	p.FeeAskers = []string{by.Pubkey()}
	return p, nil
}

// openReputation opens the reputation of a data directory. If publisher is not nil, the
// reputation publishes scores with a key of its own.
func openReputation(c *ReputationConfig, s *stores, publisher reputation.Publisher, with ambient) (*reputation.Service, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	every, _ := time.ParseDuration(c.Every) // validate has checked the value
	cfg := reputation.Config{Dir: filepath.Join(s.data, "reputation"), Log: evidence{s.store}, Every: every,
		Logger: with.logger, Metrics: with.registry, Now: with.now, Witnesses: c.Witnesses, Finder: s.store}
	if publisher != nil && c.Publish {
		keys, err := ownKeys(c.Key, s.data, "reputation")
		if err != nil {
			return nil, err
		}
		cfg.Getter = &publicnet.Net{}
		cfg.Publisher, cfg.Signer, cfg.Pairs, cfg.Testify = publisher, signer{keys}, pairs{s.store}, c.SignReceiveLog
	}
	var err error
	if cfg.Params, err = c.paramsOf(s.data); err != nil { // after ownKeys, which makes the key
		return nil, err
	}
	return reputation.Open(cfg)
}

// evidence is the log with the facts of events that their authors deleted.
type evidence struct{ *eventlog.Store }

func (e evidence) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return e.Store.ReadEvidence(ctx, after, fn)
}

// ownKeys reads a key. If file is "", it is the key DATA/keys/NAME, which is created at the first start.
func ownKeys(file, data, name string) (*envelope.Keys, error) {
	if file == "" {
		file = filepath.Join(data, "keys", name)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			keys, err := envelope.NewKeys(rand.Reader)
			if err != nil {
				return nil, err
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return nil, fmt.Errorf("make the key's directory: %w", err)
			}
			return keys, writeSecret(file, hexOf(keys))
		}
	}
	return loadKeys(file)
}

// signer signs with one key.
type signer struct{ keys *envelope.Keys }

func (s signer) Pubkey() string { return s.keys.Pubkey() }

func (s signer) Sign(evt *nostr.Event) error { return evt.Sign(hexOf(s.keys)) }

// pairs lets the reputation read the relay's proofs of equivocation.
type pairs struct{ store *eventlog.Store }

func (p pairs) Equivocations(ctx context.Context, fn func(first, second *nostr.Event) error) error {
	return p.store.Equivocations(ctx, func(e eventlog.Equivocation) error { return fn(e.First, e.Second) })
}

func newReputationCmd() *cobra.Command {
	return groupOf("reputation", "How Mostros behave: scores, their evidence, and proof of both",
		newReputationShowCmd(), newReputationAuditCmd(), newReputationVerifyCmd(), newReputationSimulateCmd())
}

// pubkeyOf parses a public key in hex or as npub.
func pubkeyOf(text string) (string, error) {
	if strings.HasPrefix(text, "npub1") {
		kind, value, err := nip19.Decode(text)
		if key, ok := value.(string); err == nil && kind == "npub" && ok {
			return key, nil
		}
		return "", usagef("%q is no public key", text)
	}
	if len(text) != 64 || strings.Trim(text, "0123456789abcdef") != "" {
		return "", usagef("%q is no public key: give 64 lower-case hex digits or an npub", text)
	}
	return text, nil
}

func newReputationShowCmd() *cobra.Command {
	var from target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show PUBKEY",
		Short: "Show a Mostro's score, its parts and its ratings",
		Example: `  mostrodex reputation show 82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390
  mostrodex reputation show npub1... --data ./data --json`,
		Args: exactly(1, "one PUBKEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pubkey, err := pubkeyOf(args[0])
			if err != nil {
				return err
			}
			base := "/api/v1/instances/" + pubkey
			var score, ratings json.RawMessage
			if err := from.get(cmd.Context(), cmd.ErrOrStderr(), base+"/score", nil, &score); err != nil {
				return err
			}
			if err := from.get(cmd.Context(), cmd.ErrOrStderr(), base+"/ratings", nil, &ratings); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"score": score, "ratings": ratings})
			}
			return printScore(cmd.OutOrStdout(), score, ratings)
		},
	}
	from.flags(cmd, defaultURL)
	cmd.Flags().StringVarP(&from.config, "config", "c", "", "config file, for [reputation]; with --data")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printScore prints the API's answer about a Mostro.
func printScore(w io.Writer, score, ratings json.RawMessage) error {
	var s struct {
		Name, Pubkey  string
		Rank          *int
		Lo, Hi, Value json.Number
		Provisional   bool
		ReasonText    string      `json:"reason_text"`
		ClaimedValue  json.Number `json:"claimed_value"`
		ExposureSats  int64       `json:"exposure_sats"`
		Evidence      struct{ Successes struct{ Claimed int64 } }
		Gates         []string
		Flags         []struct{ Name, Text string }
		Components    []struct {
			Name, Why            string
			Weight, Mean, Lo, Hi json.Number
		}
		AsOf string `json:"as_of_rfc3339"`
		Algo string
	}
	var list struct {
		Items []struct {
			Rating, Weight, Moves json.Number
			Receipt, Reason       string
			ReceivedAt            string `json:"received_at_rfc3339"`
		}
		Total int
	}
	if err := errors.Join(json.Unmarshal(score, &s), json.Unmarshal(ratings, &list)); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	p := &printer{w: w}
	p.f("%s  %s\n", clip(firstOf(s.Name, "(no name)"), 40), s.Pubkey)
	switch {
	case s.Rank == nil && !s.Provisional:
		p.f("no rank yet: %s; exposure %d sats\n", clip(s.ReasonText, 200), s.ExposureSats)
	case s.Rank == nil:
		says := "it claims no trade"
		if s.Evidence.Successes.Claimed > 0 {
			says = "what it claims would give " + s.ClaimedValue.String()
		}
		p.f("provisional: nothing of this node was witnessed yet; %s\n", says)
	default:
		p.f("rank %d of 100, exposure %d sats; value %s, nine times in ten within %s and %s\n", *s.Rank, s.ExposureSats, s.Value, s.Lo, s.Hi)
	}
	for _, g := range s.Gates {
		p.f("gate: %s\n", clip(g, 200))
	}
	for _, f := range s.Flags {
		p.f("flag: %s: %s\n", clip(f.Name, 40), clip(f.Text, 200))
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "PART\tWEIGHT\tMEAN\tFROM\tTO\tWHY")
	for _, sub := range s.Components {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", sub.Name, sub.Weight, sub.Mean, sub.Lo, sub.Hi, clip(sub.Why, 200))
	}
	if len(list.Items) > 0 {
		fmt.Fprintln(t, "\nRATING\tWEIGHT\tMOVES\tRECEIPT\tRECEIVED\tREASON")
		for _, r := range list.Items {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Rating, r.Weight, r.Moves, firstOf(r.Receipt, "-"), r.ReceivedAt, clip(r.Reason, 60))
		}
	}
	if err := errors.Join(p.err, t.Flush()); err != nil {
		return err
	}
	if len(list.Items) < list.Total {
		p.f("the newest %d of %d ratings\n", len(list.Items), list.Total)
	}
	p.f("as of %s by %s\n", s.AsOf, s.Algo)
	return p.err
}

func newReputationAuditCmd() *cobra.Command {
	var data, config, only string
	cmd := &cobra.Command{
		Use:   "audit [PUBKEY]",
		Short: "Write a bundle from which anybody can compute the scores again",
		Long: `Write to stdout, one JSON object a line: the parameters, every event that is
evidence with the time at which this relay received it, and the scores. With a
PUBKEY only what that Mostro's score hangs on. 'mostrodex reputation verify'
reads it. The server is to be stopped.`,
		Example: `  mostrodex reputation audit --data ./data > bundle.ndjson
  mostrodex reputation audit 82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390 > one.ndjson`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("audit takes at most one PUBKEY, %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 1 {
				if only, err = pubkeyOf(args[0]); err != nil {
					return err
				}
			}
			from := target{data: data}
			if err := from.mustExist(); err != nil {
				return err
			}
			cfg, err := loadConfig(config, os.Environ())
			if err != nil {
				return err
			}
			return from.withStores(cmd.Context(), cmd.ErrOrStderr(), false, func(s *stores, _ ambient) error {
				by, err := bundleSigner(&cfg.Reputation, data)
				if err != nil {
					return err
				}
				params, err := cfg.Reputation.paramsOf(data)
				if err != nil {
					return err
				}
				scores, err := score.WriteSignedBundle(cmd.Context(), cmd.OutOrStdout(), evidence{s.store}, params, time.Now(), only, by, nil)
				if err == nil {
					_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%d scores\n", len(scores))
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", defaultConfig().Data, "data directory of a stopped server")
	cmd.Flags().StringVarP(&config, "config", "c", "", "config file, for [reputation]")
	return cmd
}

// bundleSigner returns the signer of the scores, or nil if no score was published yet: then
// there is no key.
func bundleSigner(c *ReputationConfig, data string) (score.BundleSigner, error) {
	file := cmp.Or(c.Key, filepath.Join(data, "keys", "reputation"))
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && c.Key == "" {
		return nil, nil
	}
	keys, err := loadKeys(file)
	if err != nil {
		return nil, err
	}
	return signer{keys}, nil
}

func newReputationVerifyCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify BUNDLE|-",
		Short: "Compute a bundle's scores again, and name the first difference",
		Long: `Check id and signature of every event of a bundle, compute its scores again and
compare them to the byte. Exit code 1: something differs, and it is named.

That the times of receipt are true is the word of who wrote the bundle.`,
		Example: "  mostrodex reputation verify bundle.ndjson --json",
		Args:    exactly(1, "one BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			v, err := score.VerifyBundle(in, nil, nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			p := &printer{w: cmd.OutOrStdout()}
			p.f("sound: %d scores follow from %d events, as of %s\nroot %s\n", len(v.Scores), v.Events, v.AsOf.Format(time.RFC3339), v.Root)
			if v.Signer == "" {
				p.f("not signed\n")
			} else {
				p.f("signed by %s\n", v.Signer)
			}
			for _, o := range v.Omits {
				p.f("leaves out %s", clip(o.What, 40))
				if o.Count > 0 {
					p.f(" (%d)", o.Count)
				}
				p.f(": %s\n", clip(o.Text, 300))
			}
			return p.err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the scores as JSON")
	return cmd
}

func newReputationSimulateCmd() *cobra.Command {
	var asJSON bool
	var scenario string
	var seed uint64
	var seeds int
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Play markets of honest and cheating Mostros against the score",
		Long: `Play markets of honest and cheating Mostros through the whole path from signed
events to ranks, and measure what the cheating achieved, beside a plain mean,
Wilson's lower bound and a score by age, volume and count. Exit code 1: a
target was missed.

Scenarios: ` + strings.Join(simulate.Names(), ", ") + ".",
		Example: `  mostrodex reputation simulate --scenario stuffing --seed 7
  mostrodex reputation simulate --seeds 5 --json > measured.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if seeds < 1 {
				return usagef("--seeds is at least 1")
			}
			all := []simulate.Result{}
			for i := range seeds {
				s := seed + uint64(i)
				results, err := simulate.Run(cmd.Context(), simulate.Options{Scenario: scenario, Seed: s, Progress: func(name string) {
					if isTerminal(cmd.ErrOrStderr()) {
						fmt.Fprintf(cmd.ErrOrStderr(), "\r\033[Kseed %d: %s", s, name)
					}
				}})
				if err != nil {
					return err
				}
				all = append(all, results...)
			}
			if isTerminal(cmd.ErrOrStderr()) {
				fmt.Fprint(cmd.ErrOrStderr(), "\r\033[K")
			}
			if err := printResults(cmd.OutOrStdout(), all, asJSON); err != nil {
				return err
			}
			missed := 0
			for _, r := range all {
				if r.Met != nil && !*r.Met {
					missed++
				}
			}
			if missed > 0 {
				return fmt.Errorf("%d targets missed", missed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&scenario, "scenario", "", "play this one alone")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "first seed")
	cmd.Flags().IntVar(&seeds, "seeds", 1, "how many seeds")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printResults(w io.Writer, all []simulate.Result, asJSON bool) error {
	if asJSON {
		return printJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tSCENARIO\tSEED\tMETRIC\tVALUE\tTARGET\tMET\tOTHERS")
	for _, r := range all {
		met := "-"
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*r.Met]
		}
		others := ""
		if r.Comparators != nil {
			b, err := json.Marshal(r.Comparators)
			if err != nil {
				return err
			}
			others = string(b)
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%g\t%s\t%s\t%s\n", r.Row, r.Scenario, r.Seed, r.Metric, r.Value, firstOf(r.Target, "-"), met, others)
	}
	return t.Flush()
}
