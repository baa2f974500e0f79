package reputation

import (
	"html/template"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// starred is an optional interface of a Known that holds the ratings of hosts that are no
// Mostro. A Service implements starred.
type starred interface {
	Stars(pubkey string) score.HostStars
	Coordinators() []score.HostStars
}

// starLists holds the last list of coordinators. Anybody can make hosts with verified
// ratings, so the list is built at most once in starsEvery.
type starLists struct {
	mu   sync.Mutex // guards the fields below; held while the list is built
	list []score.HostStars
	at   time.Time
}

const starsEvery = time.Minute

// Coordinators returns the hosts that are no Mostro and have verified ratings of RoboSats,
// those with the most ratings first. The list may be a minute old. The caller must not
// change the list.
func (s *Service) Coordinators() []score.HostStars {
	c := &s.stars
	c.mu.Lock()
	defer c.mu.Unlock()
	now := s.cfg.Now()
	if age := now.Sub(c.at); c.at.IsZero() || age < 0 || age >= starsEvery {
		c.list, c.at = withDeriving(s, func(at int64) []score.HostStars { return s.ledger.Coordinators(at) }), now
	}
	return c.list
}

// Stars returns the plain stars of a host, which need not be a Mostro.
func (s *Service) Stars(pubkey string) score.HostStars {
	return withDeriving(s, func(at int64) score.HostStars { return s.ledger.Stars(pubkey, at) })
}

// withDeriving calls fn with the locks that a method of the ledger needs if it caches
// results.
func withDeriving[T any](s *Service, fn func(at int64) T) T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.deriving.Lock()
	defer s.deriving.Unlock()
	return fn(s.cfg.Now().Unix())
}

// coordinatorsView lists the coordinators with their stars.
type coordinatorsView struct {
	Items []coordinatorView `json:"items" doc:"the most rated first"`
	Total int               `json:"total"`
}

type coordinatorView struct {
	Pubkey    string  `json:"pubkey"`
	Alias     *string `json:"alias" null:"no rating names one" doc:"name that the ratings use; the host does not sign it"`
	Stars     float64 `json:"stars" doc:"plain mean of the verified ratings, 0 to 5; no rank follows from it"`
	Count     int     `json:"count" doc:"ratings whose token the host signed; of each rater and order the newest"`
	Newest    int64   `json:"newest" unit:"unix seconds" doc:"created_at of the newest of these ratings"`
	NewestRFC string  `json:"newest_rfc3339"`
	Ratings   string  `json:"ratings" doc:"path of the ratings"`
	Page      string  `json:"page" doc:"path of the page"`
}

// maxCoordinators is the largest number of coordinators in one answer. Anybody can make a
// host with a rating.
const maxCoordinators = 200

func coordinatorOf(s *score.HostStars) coordinatorView {
	return coordinatorView{Pubkey: s.Pubkey, Alias: wordsOrNull(clip.Text(s.Alias, 40)), Stars: starsOf(s.Mean), Count: s.Count, Newest: s.Newest.Unix(), NewestRFC: s.Newest.Format(time.RFC3339),
		Ratings: "/api/v1/instances/" + s.Pubkey + "/ratings", Page: "/coordinators/" + s.Pubkey}
}

// starsOf returns stars from 0 to 5, to the hundredth.
func starsOf(mean score.Micro) float64 { return float64(int64(mean.Float()*500+.5)) / 100 }

func (f scoreAPI) getCoordinators(r *http.Request) (any, error) {
	for name := range r.URL.Query() {
		return nil, badParam(name, "unknown parameter; this resource takes none")
	}
	v := coordinatorsView{Items: []coordinatorView{}}
	if from, ok := f.known.(starred); ok {
		list := from.Coordinators()
		v.Total = len(list)
		for i := range list[:min(len(list), maxCoordinators)] {
			v.Items = append(v.Items, coordinatorOf(&list[i]))
		}
	}
	return v, nil
}

// hostPage is the page of a coordinator.
type hostPage struct {
	coordinatorView
	Title, Mean, Count, When string
	List                     []ratingRow
}

func (f scoreAPI) coordinatorsPage(*http.Request) (string, template.HTML, error) {
	var rows []hostPage
	if from, ok := f.known.(starred); ok {
		list := from.Coordinators()
		for i := range list[:min(len(list), maxCoordinators)] {
			rows = append(rows, hostPageOf(&list[i]))
		}
	}
	body, err := render("coordinators", rows)
	return "RoboSats coordinators", body, err
}

func hostPageOf(s *score.HostStars) hostPage {
	v := coordinatorOf(s)
	p := hostPage{coordinatorView: v, Title: shortKey(s.Pubkey), Mean: strconv.FormatFloat(v.Stars, 'f', 2, 64), Count: counted(s.Count, "rating", "ratings"), When: s.Newest.Format("2 Jan 2006")}
	if v.Alias != nil {
		p.Title = *v.Alias
	}
	return p
}

func (f scoreAPI) coordinatorPage(r *http.Request) (string, template.HTML, error) {
	pubkey, err := parseKey(r.PathValue("pubkey"))
	if err != nil {
		return "", "", err
	}
	var stars score.HostStars
	if from, ok := f.known.(starred); ok {
		stars = from.Stars(pubkey)
	}
	if _, isMostro := f.known.Score(pubkey); isMostro || stars.Count == 0 {
		return "", "", &refusal{http.StatusNotFound, "", "No verified rating of a coordinator with this key is held here. All coordinators: /coordinators"}
	}
	p := hostPageOf(&stars)
	list := f.known.Ratings(pubkey)
	for i := range list[:min(len(list), shownRatings)] {
		p.List = append(p.List, ratingRowOf(&list[i]))
	}
	body, err := render("coordinator", p)
	return p.Title, body, err
}
