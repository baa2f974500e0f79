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

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Known is what the Face shows: a Service knows it.
type Known interface {
	Score(pubkey string) (score.Score, bool)
	Scores() []score.Score
	Ratings(pubkey string) []score.RatedBy // newest first
	Ready() bool
	Params() score.Params
	Pubkey() string // that signs assertions; "" none
}

// Web is the program's manners over HTTP, which the Face borrows.
type Web interface {
	// API answers with JSON. An error with a method Problem is the client's.
	API(route string, get func(*http.Request) (any, error)) http.HandlerFunc
	// Page answers with a page in the program's look.
	Page(route, nav string, get func(*http.Request) (title string, body template.HTML, err error)) http.HandlerFunc
}

// Market is what is on offer, and where.
type Market interface {
	// Infos gives what each Mostro says of itself.
	Infos() []mostro.Info
	// Offers gives the open orders of Mostros in a currency, by the maker's
	// side, of one payment method unless that is ""; whole is false when there
	// are more.
	Offers(ctx context.Context, fiat string, side mostro.Side, method string) (offers []mostro.Order, whole bool, err error)
	// Rates gives the prices of one bitcoin in a currency that nodes sign and
	// that have not expired.
	Rates(ctx context.Context, fiat string) ([]Rate, error)
}

// Rate is the price of one bitcoin, as one key says it.
type Rate struct {
	Pubkey string
	Price  float64
	At     time.Time
}

// Face shows scores to people and programs. It holds no state but ratings that
// were asked for again and again.
type Face struct {
	Known  Known
	Market Market
	Prices Prices // nil: the operator has no sources
	Web    Web
	URL    string           // public http(s) address without a path; "": as each request says
	Now    func() time.Time // nil: time.Now

	mu    sync.Mutex
	rated map[string]ratedAt // by node; guarded by mu
}

// ratedAt are a node's ratings as of one score.
type ratedAt struct {
	root string
	asOf time.Time
	list []score.RatedBy
}

// maxRated bounds the nodes whose ratings are held: to find out what each
// moves takes all facts of a node, and anybody may ask.
const maxRated = 64

// ratings gives a node's ratings as of its score; nobody changes the list.
func (f *Face) ratings(s *score.Score) []score.RatedBy {
	f.mu.Lock()
	held, ok := f.rated[s.Pubkey]
	f.mu.Unlock()
	if ok && held.root == s.Root && held.asOf.Equal(s.AsOf) {
		return held.list
	}
	list := f.Known.Ratings(s.Pubkey)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rated == nil || len(f.rated) >= maxRated {
		f.rated = map[string]ratedAt{}
	}
	f.rated[s.Pubkey] = ratedAt{s.Root, s.AsOf, list}
	return list
}

//go:embed web
var webFiles embed.FS

var faceTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"sats": thousands, "short": shortKey, "points": points, "percentOf": percentOf, "plural": counted, "tidy": tidy,
}).ParseFS(webFiles, "web/*.html"))

// rateScript is the one script, and its name, which holds its hash: it can be
// cached for ever.
var rateScript, rateScriptPath = func() ([]byte, string) {
	script, err := webFiles.ReadFile("web/rate.js")
	if err != nil {
		panic(err) // it is compiled in
	}
	sum := sha256.Sum256(script)
	return script, "/assets/rate-" + hex.EncodeToString(sum[:6]) + ".js"
}()

// Register adds the routes to mux.
func (f *Face) Register(mux *http.ServeMux) {
	mux.HandleFunc("/api/v1/instances/{pubkey}/score", f.Web.API("score", f.getScore))
	mux.HandleFunc("/api/v1/instances/{pubkey}/ratings", f.Web.API("ratings", f.getRatings))
	mux.HandleFunc("/api/v1/choose", f.Web.API("choose", f.getChoice))
	mux.HandleFunc("/choose", f.Web.Page("choose_page", "choose", f.choosePage))
	mux.HandleFunc("/method", f.Web.Page("method", "method", f.methodPage))
	mux.HandleFunc("/badge/{file}", f.serveBadge)
	mux.HandleFunc(rateScriptPath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(rateScript) // a client that is gone needs no answer
	})
}

// refusal is an error that is the client's fault, or nobody's.
type refusal struct {
	status        int
	param, detail string
}

func (r *refusal) Error() string { return r.detail }

// Problem says what to tell the client.
func (r *refusal) Problem() (status int, param, detail string) { return r.status, r.param, r.detail }

func badParam(name, format string, args ...any) error {
	return &refusal{http.StatusBadRequest, name, name + ": " + fmt.Sprintf(format, args...)}
}

// parseKey reads a public key as hex or npub.
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

// scoreOf finds the score that a path names.
func (f *Face) scoreOf(r *http.Request) (score.Score, error) {
	pubkey, err := parseKey(r.PathValue("pubkey"))
	if err != nil {
		return score.Score{}, err
	}
	s, ok := f.Known.Score(pubkey)
	if ok {
		return s, nil
	}
	if !f.Known.Ready() {
		return score.Score{}, &refusal{http.StatusServiceUnavailable, "", "The reputation has not caught up with the log yet. Try again in a moment."}
	}
	return score.Score{}, &refusal{http.StatusNotFound, "", "No score: this key never described itself as a Mostro in an event that is held here. Scores of all Mostros: /api/v1/instances?sort=rank"}
}

// Standing is a node's score in a few numbers.
func (f *Face) Standing(pubkey string) (mostro.Standing, bool) {
	s, ok := f.Known.Score(pubkey)
	if !ok {
		return mostro.Standing{}, false
	}
	return mostro.Standing{Rank: s.Rank, Lo: s.Lo.Float(), Hi: s.Hi.Float(), Provisional: s.Provisional, Unranked: s.Unranked,
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

func (f *Face) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// base is the address under which the visitor sees this program.
func (f *Face) base(r *http.Request) string {
	if f.URL != "" {
		return strings.TrimSuffix(f.URL, "/")
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host
}

// render executes a template to safe HTML.
func render(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := faceTemplates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("page %s: %w", name, err)
	}
	return template.HTML(b.String()), nil
}

// thousands groups a whole number's digits with thin spaces, as the explorer
// does.
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

// long are numbers that are hard to read: many digits, or many decimals.
var long = regexp.MustCompile(`\d+(\.\d{2,})?`)

// tidy makes the numbers of a sentence easy to read.
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

// points writes a number of 0 to 100 with one decimal.
func points(m score.Micro) string { return strconv.FormatFloat(m.Float(), 'f', 1, 64) }

// percentOf writes a number of 0 to 1 as 0 to 100.
func percentOf(m score.Micro) string { return strconv.FormatFloat(m.Float()*100, 'f', 0, 64) }

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}
