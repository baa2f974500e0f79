package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

const (
	// doctorTimeout is the limit of one question of doctor.
	doctorTimeout = 10 * time.Second
	// maxFinding bounds a printed line, in characters. An error may contain words of a relay.
	maxFinding = 1200
	// maxRelayInfo bounds the description of a relay (NIP-11), in bytes.
	maxRelayInfo = 64 << 10
	// clockWarn and clockFail are differences between the clock and the clocks of relays. A
	// relay refuses events of the future, and a Mostro is taken for down if its health is late.
	clockWarn, clockFail = 30 * time.Second, 10 * time.Minute
	// certificateWarn is the time before the end of LND's certificate at which doctor warns.
	certificateWarn = 30 * 24 * time.Hour
)

func newDoctorCmd() *cobra.Command {
	var configPath string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a configuration and everything that it needs",
		Long: `Check a configuration and everything that it needs: files and their modes, the
address that clients are told, the Lightning node with its macaroon, channels and
liquidity, the clock, the disk, and the relays to which events are published.
Nothing is changed and nothing is published. serve logs the same warnings about
the configuration when it starts.

The exit code is 1 if something does not work. Warnings do not change it.`,
		Example: `  mostrodex doctor -c /etc/mostrodex.toml
  mostrodex doctor -c /etc/mostrodex.toml --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(configPath, os.Environ())
			if err != nil {
				return configError{err}
			}
			list := (&doctor{config: &cfg, client: http.DefaultClient, now: time.Now, limit: doctorTimeout}).examine(cmd.Context())
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			} else {
				err = printFindings(cmd.OutOrStdout(), list)
			}
			if n := failures(list); err == nil && n > 0 {
				err = fmt.Errorf("%d of %d checks failed", n, len(list))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "", "config file (TOML)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func failures(list []finding) (n int) {
	for _, f := range list {
		if f.State == isFail {
			n++
		}
	}
	return n
}

func printFindings(w io.Writer, list []finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.State, f.Check, clip(f.Text, maxFinding))
		if f.Do != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", clip(f.Do, maxFinding))
		}
	}
	return t.Flush()
}

// doctor asks the machine, the Lightning node and the relays.
type doctor struct {
	config *Config
	client *http.Client
	now    func() time.Time
	limit  time.Duration // of one question
}

func (d *doctor) examine(ctx context.Context) []finding {
	list := advice(d.config)
	list = append(list, d.disk())
	if d.config.Escrow.Enabled {
		list = append(list, d.lightning(ctx)...)
	}
	return append(list, d.relays(ctx)...)
}

// disk compares the free space with the reserve below which the relay accepts nothing.
func (d *doctor) disk() finding {
	dir := d.config.Data
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := diskspace.Free(dir)
	if err != nil {
		return finding{isFail, "disk", fmt.Sprintf("%s: %v", dir, err), "name a directory in data"}
	}
	reserve := int64(d.config.Relay.DiskReserveMiB) << 20
	if reserve == 0 {
		reserve = eventlog.DefaultDiskReserve
	}
	text := fmt.Sprintf("%d MiB are free for %s", free>>20, d.config.Data)
	switch {
	case reserve > 0 && free < reserve:
		return finding{isFail, "disk", text + fmt.Sprintf("; below %d MiB no event is accepted", reserve>>20), "make room"}
	case reserve > 0 && free < 4*reserve:
		return finding{isWarn, "disk", text + fmt.Sprintf("; below %d MiB no event is accepted", reserve>>20), "make room"}
	}
	return finding{isFine, "disk", text, ""}
}

// lightning asks the Lightning node.
func (d *doctor) lightning(ctx context.Context) (list []finding) {
	cfg := d.config.Escrow.LND
	add := func(state gravity, check, text, do string) { list = append(list, finding{state, check, text, do}) }
	list = append(list, d.certificate()...)
	client, err := lnd.Open(lnd.Config{Address: cfg.Address, CertFile: cfg.Cert, MacaroonFile: cfg.Macaroon, HoldExpiryDelta: cfg.HoldExpiryDelta, Timeout: d.limit})
	if err != nil {
		add(isFail, "lightning node", err.Error(), "correct escrow.lnd")
		return list
	}
	defer client.Close()
	list = append(list, d.macaroon()...)
	info, err := client.Info(ctx)
	if err != nil {
		add(isFail, "lightning node", fmt.Sprintf("LND at %s: %v", cfg.Address, err), "start LND, and compare escrow.lnd.address, cert and macaroon with its files")
		return list
	}
	if !info.Synced {
		add(isWarn, "lightning node", fmt.Sprintf("LND at %s is not synced to the chain (block %d): payouts wait", cfg.Address, info.Height), "wait for LND")
	} else {
		add(isFine, "lightning node", fmt.Sprintf("LND at %s answers: %s, block %d, synced", cfg.Address, info.Network, info.Height), "")
	}
	if err := client.CheckPermissions(ctx); err != nil {
		add(isFail, "macaroon", err.Error(), "bake one that allows these: "+bakeCommand())
	} else {
		add(isFine, "macaroon", "the macaroon allows everything that an escrow needs", "")
	}
	return append(list, d.liquidity(ctx, client)...)
}

// bakeCommand returns the command that makes a macaroon with the permissions of an escrow.
func bakeCommand() string { return bakeCommandTo("mostrodex.macaroon") }

func bakeCommandTo(file string) string {
	return "lncli bakemacaroon --save_to " + file + " " + strings.Join(slices.Concat(lnd.Permissions(), lnd.OptionalPermissions()), " ")
}

// certificate checks the dates of LND's certificate.
func (d *doctor) certificate() (list []finding) {
	text, err := os.ReadFile(d.config.Escrow.LND.Cert)
	if err != nil {
		return nil // lnd.Open reports it
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	renew := "delete tls.cert and tls.key of LND and start LND again, which makes new ones; then copy tls.cert"
	switch left := cert.NotAfter.Sub(d.now()); {
	case left <= 0:
		return []finding{{isFail, "certificate", "LND's certificate has expired on " + cert.NotAfter.UTC().Format(time.DateOnly), renew}}
	case left < certificateWarn:
		return []finding{{isWarn, "certificate", "LND's certificate expires on " + cert.NotAfter.UTC().Format(time.DateOnly), renew}}
	}
	return nil
}

// macaroon checks that the macaroon grants no more than an escrow needs: a stolen one would
// otherwise spend the funds of the node.
func (d *doctor) macaroon() []finding {
	b, err := os.ReadFile(d.config.Escrow.LND.Macaroon)
	if err != nil {
		return nil // lnd.Open reports it
	}
	granted, err := lnd.Granted(b)
	if err != nil {
		return []finding{{isFail, "macaroon", fmt.Sprintf("%s: %v", d.config.Escrow.LND.Macaroon, err), "bake one: " + bakeCommand()}}
	}
	if more := lnd.Excess(granted); len(more) > 0 {
		return []finding{{isWarn, "macaroon", "the macaroon allows more than an escrow needs: " + clipped(more, 6), "bake a smaller one: " + bakeCommand()}}
	}
	return nil
}

// clipped returns the first entries of a list.
func clipped(list []string, most int) string {
	text := strings.Join(list[:min(most, len(list))], ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text
}

// liquidity compares the channels with the largest trade.
func (d *doctor) liquidity(ctx context.Context, client *lnd.Client) (list []finding) {
	add := func(state gravity, text, do string) { list = append(list, finding{state, "channels", text, do}) }
	ch, err := client.Channels(ctx)
	if errors.Is(err, lightning.ErrPermission) {
		add(isWarn, "the macaroon does not allow to list channels, so they are not checked", "bake one with the optional permissions: "+bakeCommand())
		return list
	}
	if err != nil {
		add(isFail, err.Error(), "")
		return list
	}
	most := d.config.Escrow.MaxSats
	switch {
	case ch.Channels == 0:
		add(isFail, "LND has no channel: no seller can pay it and no buyer can be paid", "open channels, and have others open channels to this node")
		return list
	case ch.Active == 0:
		add(isFail, fmt.Sprintf("none of LND's %d channels is active", ch.Channels), "connect to the peers")
	case ch.Active < ch.Channels:
		add(isWarn, fmt.Sprintf("%d of LND's %d channels are active", ch.Active, ch.Channels), "connect to the peers")
	}
	say := func(name, who string, sats int64, do string) {
		switch {
		case sats == 0:
			add(isFail, fmt.Sprintf("no %s liquidity: %s", name, who), do)
		case sats < most:
			add(isWarn, fmt.Sprintf("%d sats of %s liquidity are less than one trade of escrow.max_sats (%d)", sats, name, most), do+", or lower escrow.max_sats")
		default:
			add(isFine, fmt.Sprintf("%d sats of %s liquidity", sats, name), "")
		}
	}
	say("inbound", "no seller can pay", ch.InboundSats, "have others open channels to this node, or spend through Lightning")
	say("outbound", "no buyer can be paid", ch.OutboundSats, "open channels")
	return list
}

// relays asks our own address and the relays to which events are published. The clock is
// compared with theirs.
func (d *doctor) relays(ctx context.Context) (list []finding) {
	type asked struct{ key, url string }
	var to []asked
	if d.config.Relay.URL != "" {
		to = append(to, asked{"relay.url", d.config.Relay.URL})
	}
	for _, u := range d.config.forwardTo() {
		to = append(to, asked{"publish", u})
	}
	answers := make([][]finding, len(to))
	skews := make([]*time.Duration, len(to))
	var wg sync.WaitGroup
	for i, a := range to {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*d.limit)
			defer cancel()
			answers[i], skews[i] = d.relay(ctx, a.key, a.url)
		})
	}
	wg.Wait()
	list = slices.Concat(answers...)
	return append(list, clockOf(skews)...)
}

// clockOf compares the clock with those of the relays. One relay may be wrong, so the median
// counts.
func clockOf(skews []*time.Duration) []finding {
	var known []time.Duration
	for _, s := range skews {
		if s != nil {
			known = append(known, *s)
		}
	}
	if len(known) == 0 {
		return []finding{{isWarn, "clock", "no relay answered, so the clock is not checked", ""}}
	}
	slices.Sort(known)
	skew := known[len(known)/2].Round(time.Second)
	state, do := isFine, ""
	switch {
	case skew.Abs() >= clockFail:
		state, do = isFail, "set the clock: use NTP"
	case skew.Abs() >= clockWarn:
		state, do = isWarn, "set the clock: use NTP"
	}
	return []finding{{state, "clock", fmt.Sprintf("the clock differs by %s from %d relays", skew, len(known)), do}}
}

// relayInfo is the part of a relay's description (NIP-11) about the events that it accepts.
type relayInfo struct {
	Name       string `json:"name"`
	Software   string `json:"software"`
	Limitation struct {
		MinPow     int  `json:"min_pow_difficulty"`
		Auth       bool `json:"auth_required"`
		Payment    bool `json:"payment_required"`
		Restricted bool `json:"restricted_writes"`
	} `json:"limitation"`
	// Retention lists kinds that are not kept: those with a time of 0.
	Retention []struct {
		Kinds []json.RawMessage `json:"kinds"`
		Time  *int64            `json:"time"`
	} `json:"retention"`
}

// relay asks a relay for its description, and for one event over a websocket. skew is the
// difference of its clock; nil if unknown.
func (d *doctor) relay(ctx context.Context, key, address string) (list []finding, skew *time.Duration) {
	add := func(state gravity, text, do string) {
		list = append(list, finding{state, "relay", fmt.Sprintf("%s %s: %s", key, address, text), do})
	}
	info, skew, err := d.relayInfo(ctx, address)
	if err != nil {
		add(isWarn, fmt.Sprintf("no description (NIP-11): %v", err), "")
	} else {
		l := info.Limitation
		if l.Auth || l.Payment || l.Restricted {
			add(isWarn, "accepts events of some keys only, according to its description", "ask its operator to admit the key of this Mostro")
		}
		if l.MinPow > 0 && key != "relay.url" {
			add(isWarn, fmt.Sprintf("asks for %d bits of proof of work, which this Mostro does not add to its events", l.MinPow), "publish to another relay")
		}
		if kinds := info.refused(); len(kinds) > 0 {
			add(isWarn, fmt.Sprintf("does not keep the kinds %v, according to its description", kinds), "publish to another relay")
		}
	}
	began := d.now()
	relay, err := nostr.RelayConnect(ctx, address)
	if err != nil {
		do := "leave it out, or try again later"
		if key == "relay.url" {
			do = "start 'mostrodex serve', and have the proxy pass websockets on"
		}
		add(isFail, fmt.Sprintf("no websocket: %v", err), do)
		return list, skew
	}
	defer relay.Close()
	orders, problem := anyEvent(ctx, relay, nostr.Filter{Kinds: []int{mostro.KindOrder}})
	if problem.Text != "" {
		add(problem.State, problem.Text, "")
		return list, skew
	}
	add(isFine, fmt.Sprintf("answers within %d ms", d.now().Sub(began).Milliseconds()), "")
	if key == "relay.url" || !d.config.Escrow.Enabled {
		return list, skew
	}
	// Nothing is published to try it, so events that the relay holds are the only evidence.
	if keys, err := loadKeys(d.config.Escrow.Key); err == nil {
		if own, _ := anyEvent(ctx, relay, nostr.Filter{Authors: []string{keys.Pubkey()}, Kinds: []int{mostro.KindOrder, mostro.KindInfo}}); own {
			add(isFine, "holds events of this Mostro", "")
			return list, skew
		}
	}
	if orders {
		add(isFine, "holds orders of other Mostros, so it takes their kind", "")
	} else {
		add(isWarn, fmt.Sprintf("holds no order of any Mostro: it may refuse kind %d in silence", mostro.KindOrder), "start serve, and run doctor again after a minute; or publish to a relay that Mostros use")
	}
	return list, skew
}

// anyEvent reports whether a relay holds an event that matches a filter. A relay that sends
// events without an end is left after the first. problem has a text if the relay gives no answer.
func anyEvent(ctx context.Context, relay *nostr.Relay, f nostr.Filter) (found bool, problem finding) {
	f.Limit = 1
	sub, err := relay.Subscribe(ctx, nostr.Filters{f})
	if err != nil {
		return false, finding{State: isFail, Text: fmt.Sprintf("does not answer a request for orders: %v", err)}
	}
	defer sub.Unsub()
	select {
	case <-sub.Events:
		return true, finding{}
	case <-sub.EndOfStoredEvents:
		// An event that was sent before the end may be waiting.
		select {
		case <-sub.Events:
			return true, finding{}
		default:
			return false, finding{}
		}
	case reason := <-sub.ClosedReason:
		return false, finding{State: isWarn, Text: fmt.Sprintf("refuses a request for orders: %q", clip(reason, 200))}
	case <-ctx.Done():
		return false, finding{State: isFail, Text: "does not answer a request for orders"}
	}
}

// refused returns the kinds of a Mostro that the relay says it does not keep.
func (i *relayInfo) refused() (kinds []int) {
	for _, r := range i.Retention {
		if r.Time == nil || *r.Time != 0 {
			continue
		}
		for _, raw := range r.Kinds {
			var one int
			var span [2]int
			if json.Unmarshal(raw, &one) == nil {
				span = [2]int{one, one}
			} else if json.Unmarshal(raw, &span) != nil {
				continue
			}
			for _, k := range []int{mostro.KindOrder, mostro.KindInfo, mostro.KindDispute, mostro.KindMessage, mostro.KindRelayList} {
				if span[0] <= k && k <= span[1] {
					kinds = append(kinds, k)
				}
			}
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func (d *doctor) relayInfo(ctx context.Context, address string) (info relayInfo, skew *time.Duration, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return info, nil, err
	}
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return info, nil, err
	}
	req.Header.Set("Accept", "application/nostr+json")
	began := d.now()
	resp, err := d.client.Do(req)
	if err != nil {
		return info, nil, err
	}
	defer resp.Body.Close()
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header has whole seconds, of a moment between the question and the answer.
		middle := began.Add(d.now().Sub(began) / 2)
		s := middle.Sub(at.Add(500 * time.Millisecond))
		skew = &s
	}
	if resp.StatusCode != http.StatusOK {
		return info, skew, fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return info, skew, json.NewDecoder(io.LimitReader(resp.Body, maxRelayInfo)).Decode(&info)
}
