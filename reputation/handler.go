package reputation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Known is the source of the scores that the Handler shows. A Service implements Known.
type Known interface {
	Score(pubkey string) (score.Score, bool)
	Scores() []score.Score
	Ratings(pubkey string) []score.RatedBy // the newest first
	Ready() bool
	Params() score.Params
	Pubkey() string // the key that signs assertions; "" if there is none
}

// Web makes rows of the route table that answer in the program's manners. name
// is the label of a route in metrics, summary its line in the list of routes.
type Web interface {
	// API answers with JSON. An error with a method Problem is the client's.
	API(path, name, summary string, get func(*http.Request) (any, error)) route.Route
	// Page answers with a page in the program's look. nav names its place in the
	// navigation.
	Page(path, name, nav, summary string, get func(*http.Request) (title string, body template.HTML, err error)) route.Route
}

// Market is the source of the open orders and of the Mostros.
type Market interface {
	// Infos returns the info event of each Mostro.
	Infos() []mostro.Info
	// Offers returns the open orders of Mostros in a currency, by the side of the maker.
	// If method is not "", Offers returns only orders with this payment method. whole is
	// false if there are more orders.
	Offers(ctx context.Context, fiat string, side mostro.Side, method string) (offers []mostro.Order, whole bool, err error)
	// Rates returns the prices of one bitcoin in a currency that nodes signed and that
	// have not expired.
	Rates(ctx context.Context, fiat string) ([]Rate, error)
}

// Rate is the price of one bitcoin, as signed by one key.
type Rate struct {
	Pubkey string
	Price  float64
	At     time.Time
}

// Handler shows scores over HTTP. Its only state is a cache of ratings. A Handler is safe for
// concurrent use.
type Handler struct {
	Known  Known
	Market Market
	Prices Prices   // nil if the operator has no sources
	Seeds  []string // keys that the operator trusts, for a personal order without keys of a visitor; nil: none
	Web    Web
	URL    string           // public http(s) address without a path; if "", the address of each request
	Now    func() time.Time // nil: time.Now

	rated cache.Cache[string, ratedAt] // by the key of the node
	walks sync.Mutex                   // see scoreAPI
}

//go:embed web
var webFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"sats": thousands, "short": shortKey, "points": points, "percentOf": percentOf, "plural": counted, "tidy": tidy,
}).ParseFS(webFiles, "web/*.html"))

// rateScript is the only script of the pages. The path of the script contains its hash, so
// that clients can cache the script for ever.
var rateScript, rateScriptPath = func() ([]byte, string) {
	script, err := webFiles.ReadFile("web/rate.js")
	if err != nil {
		panic(err) // impossible: the file is embedded
	}
	sum := sha256.Sum256(script)
	return script, "/assets/rate-" + hex.EncodeToString(sum[:6]) + ".js"
}()

func (h *Handler) scores() scoreAPI {
	about, _ := h.Market.(describer) // nil if the market describes no Mostro
	return scoreAPI{known: h.Known, rated: &h.rated, about: about, seeds: h.Seeds, walks: &h.walks}
}

func (h *Handler) chooser() chooser {
	return chooser{known: h.Known, market: h.Market, prices: h.Prices, now: room.Clock(h.Now)}
}

// Choose compares all Mostros for a wish. Choose returns the error of the Market, if there
// is one.
func (h *Handler) Choose(ctx context.Context, w Wish) (*Choice, error) {
	return h.chooser().choose(ctx, w)
}

// Section returns the part of a node's explorer page that explains the score.
func (h *Handler) Section(r *http.Request, pubkey string) (template.HTML, error) {
	return section(h.scores(), h.base(r), pubkey)
}

// Routes returns the rows of the route table.
func (h *Handler) Routes() []route.Route {
	pubkey := route.Param{Name: "pubkey", InPath: true, Doc: "public key, in hex or as npub"}
	described := func(r route.Route, answer any, params ...route.Param) route.Route {
		r.Answer, r.Params = answer, params
		return r
	}
	return []route.Route{
		described(h.Web.API("/api/v1/instances/{pubkey}/score", "score", "rank, bounds, exposure, components with what each costs, evidence claimed, witnessed and costed, proofs", h.scores().get), scoreView{}, pubkey),
		described(h.Web.API("/api/v1/instances/{pubkey}/ratings", "ratings", "every rating: receipt, counted or not and why, weight, how far it moves the value; limit cursor", h.scores().getRatings), ratingsView{}, pubkey,
			route.Param{Name: "limit", Type: "integer", Default: "50", Doc: "from 1 to 500"}, route.Param{Name: "cursor", Doc: "next_cursor of the page before"}),
		described(h.Web.API("/api/v1/coordinators", "coordinators", "coordinators of RoboSats with their own stars and the count of verified ratings; no rank follows from stars", h.scores().getCoordinators), coordinatorsView{}),
		described(h.Web.API("/api/v1/personal", "personal", "a second order of the Mostros, by the trust that flows from named keys over proven ratings (EigenTrust); no rank depends on it", h.scores().getPersonal), personalView{},
			route.Param{Name: "trust", Doc: "public keys that you trust, in hex or as npub, separated by commas; at most 2000; without it those of the operator"}),
		described(h.Web.API("/api/v1/choose", "choose", "fiat side amount sats method network exposure=auto|require|ignore limit; side is what you do: buy takes an order of a seller", h.chooser().get), Choice{},
			route.Param{Name: "fiat", Needed: true, Doc: "currency that you pay or want, such as VES"},
			route.Param{Name: "side", Needed: true, Enum: []string{"buy", "sell"}, Doc: "what you do: buy takes an order of a maker who sells"},
			route.Param{Name: "amount", Type: "number", Doc: "amount of fiat"}, route.Param{Name: "sats", Type: "integer", Doc: "amount of sats, if you name no amount of fiat"},
			route.Param{Name: "method", Doc: "payment method"}, route.Param{Name: "network", Enum: []string{"mainnet", "testnet", "signet", "regtest"}, Default: "mainnet", Doc: "network of bitcoin"},
			route.Param{Name: "exposure", Enum: []string{exposureAuto, exposureRequire, exposureIgnore}, Default: exposureAuto, Doc: "whether the evidence of a Mostro must be able to secure the amount"},
			route.Param{Name: "limit", Type: "integer", Doc: "candidates, from 1 to 500"}),
		h.Web.Page("/choose", "choose_page", "choose", "the same for people (HTML)", h.chooser().page),
		h.Web.Page("/coordinators", "coordinators_page", "instances", "the stars of RoboSats' coordinators (HTML)", h.scores().coordinatorsPage),
		h.Web.Page("/coordinators/{pubkey}", "coordinator", "instances", "one coordinator with its ratings (HTML)", h.scores().coordinatorPage),
		h.Web.Page("/method", "method", "method", "how ranks come about (HTML)", func(*http.Request) (string, template.HTML, error) { return methodPage(h.Known) }),
		{Method: http.MethodGet, Path: "/badge/{file}", Summary: `PUBKEY.svg: rank with its interval, "watched 3 of 30 days" or "unknown"`, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveBadge(h.Known, w, r) })},
		{Method: http.MethodGet, Path: rateScriptPath, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Write(rateScript) // a client that is gone needs no answer
		})},
	}
}

// refusal is an error that the client caused, or a state in which no score exists.
type refusal struct {
	status        int
	param, detail string
}

func (r *refusal) Error() string { return r.detail }

// Problem returns the HTTP status, the parameter and the text for the client.
func (r *refusal) Problem() (status int, param, detail string) { return r.status, r.param, r.detail }

func badParam(name, format string, args ...any) error {
	return &refusal{http.StatusBadRequest, name, name + ": " + fmt.Sprintf(format, args...)}
}

// parseKey parses a public key in hex or as npub.
func parseKey(s string) (string, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "npub1") {
		if kind, value, err := nip19.Decode(s); err == nil && kind == "npub" {
			return value.(string), nil
		}
	} else if s = strings.ToLower(s); nostr.IsValid32ByteHex(s) {
		return s, nil
	}
	return "", badParam("pubkey", "not a public key of 64 hex digits or an npub")
}

// ReputationSummary returns the summary of a node's score. ok is false if there is no score.
func (h *Handler) ReputationSummary(pubkey string) (mostro.ReputationSummary, bool) {
	s, ok := h.Known.Score(pubkey)
	if !ok {
		return mostro.ReputationSummary{}, false
	}
	return mostro.ReputationSummary{Borrowed: borrowedRank(h.Known, pubkey), Rank: s.Rank, Lo: s.Lo.Float(), Hi: s.Hi.Float(), Provisional: s.Provisional, Unranked: s.Unranked,
		WatchedDays: s.Evidence.WitnessedDays, WatchDays: s.WatchDays, Claim: s.Claim.Float(), Exposure: s.ExposureSats,
		Trades: mostro.Evidence(s.Evidence.Successes), VolumeSats: mostro.Evidence(s.Evidence.VolumeSats), Disputes: mostro.Evidence(s.Evidence.Disputes),
		Flags: flagNames(s.Flags)}, true
}

func flagNames(flags []score.Flag) []string {
	names := []string{}
	for _, f := range flags {
		names = append(names, f.Name)
	}
	return names
}

// base returns the address under which the visitor reaches this program.
func (h *Handler) base(r *http.Request) string {
	if h.URL != "" {
		return strings.TrimSuffix(h.URL, "/")
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host
}

// render executes a template and returns safe HTML.
func render(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("page %s: %w", name, err)
	}
	return template.HTML(b.String()), nil
}

// thousands groups the digits of a whole number with thin spaces, like the explorer.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return sign + s
}

// long matches numbers that are hard to read: many digits, or many decimals.
var long = regexp.MustCompile(`\d+(\.\d{2,})?`)

// tidy shortens and groups the numbers of a sentence.
func tidy(text string) string {
	return long.ReplaceAllStringFunc(text, func(number string) string {
		whole, fraction, dot := strings.Cut(number, ".")
		if n, err := strconv.ParseInt(whole, 10, 64); err == nil && len(whole) > 4 {
			whole = thousands(n)
		}
		if fraction = strings.TrimRight(fraction[:min(2, len(fraction))], "0"); dot && fraction != "" {
			whole += "." + fraction
		}
		return whole
	})
}

func shortKey(key string) string { return key[:min(8, len(key))] + "…" }

// points formats a number from 0 to 100 with one decimal.
func points(m score.Micro) string { return strconv.FormatFloat(m.Float(), 'f', 1, 64) }

// percentOf formats a number from 0 to 1 as 0 to 100.
func percentOf(m score.Micro) string { return strconv.FormatFloat(m.Float()*100, 'f', 0, 64) }

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}
