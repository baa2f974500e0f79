package alerts

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// Limits bounds alerts and deliveries. 0 stands for the default beside the field.
type Limits struct {
	PerKey       int           // alerts of one key; 10
	InAll        int           // alerts of all keys; 10,000
	PerAddress   int           // alerts that one address may save in a day over HTTP; 20
	PerHour      int           // orders that one alert delivers in an hour; 30
	PerMinute    int           // messages of all alerts in a minute; 600
	NewKeys      int           // keys without an alert that may write in an hour; 60
	Work         int           // NIP-13 bits with which a message needs no place among NewKeys; 16
	Lifetime     time.Duration // of an alert that is not saved again; 30 days
	Rows         int           // rows of the outbox; 20,000
	RowsPerKey   int           // rows of one key; 200
	CommandsHour int           // messages that one key may write in an hour; 30
}

func (l *Limits) setDefaults() {
	for _, f := range []struct {
		to  *int
		def int
	}{{&l.PerKey, 10}, {&l.InAll, 10_000}, {&l.PerAddress, 20}, {&l.PerHour, 30}, {&l.PerMinute, 600}, {&l.NewKeys, 60}, {&l.Work, 16}, {&l.Rows, 20_000}, {&l.RowsPerKey, 200}, {&l.CommandsHour, 30}} {
		*f.to = cmp.Or(*f.to, f.def)
	}
	l.Lifetime = cmp.Or(l.Lifetime, 30*24*time.Hour)
}

// Hook is the state of an alert's webhook.
type Hook string

const (
	HookNone        Hook = ""
	HookUnconfirmed Hook = "unconfirmed" // the challenge was not answered yet
	HookActive      Hook = "active"
	HookOff         Hook = "off" // too many calls failed
)

// Alert is a saved filter. The fields are stored as JSON.
type Alert struct {
	ID       string `json:"id"` // 16 hex digits
	Owner    string `json:"owner"`
	Filter   string `json:"filter"`
	Message  bool   `json:"message"`           // deliver by private message
	Webhook  string `json:"webhook,omitempty"` // URL
	Secret   string `json:"secret,omitempty"`  // key of the HMAC, 64 hex digits
	Hook     Hook   `json:"hook,omitempty"`
	Failures int    `json:"failures,omitempty"` // calls of the webhook that failed in a row
	Next     int64  `json:"next,omitempty"`     // unix time before which a failing webhook is not called
	From     uint64 `json:"from"`               // position of the log; only later changes are delivered
	Created  int64  `json:"created"`
	Expires  int64  `json:"expires"`
}

// Request is the content of a request to save an alert.
type Request struct {
	Filter  string `json:"filter" doc:"pairs such as fiat:VES side:sell premium:<=2"`
	Message *bool  `json:"message,omitempty" doc:"deliver by private message (NIP-17); default true"`
	Webhook string `json:"webhook,omitempty" doc:"https URL that is called for each order"`
}

// Statuses of HTTP that refusals and webhooks have.
const (
	statusBad       = 400
	statusForbidden = 403
	statusNotFound  = 404
	statusConflict  = 409
	statusGone      = 410
	statusTooMany   = 429
	statusFull      = 503
)

// Refusal is a refused request. Param names the field at fault, if any.
type Refusal struct {
	Status        int
	Param, Detail string
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

// Problem returns the fields of a problem document.
func (r *Refusal) Problem() (status int, param, detail string) { return r.Status, r.Param, r.Detail }

func refuse(status int, param, format string, args ...any) error {
	return &Refusal{status, param, fmt.Sprintf(format, args...)}
}

// check parses a request and returns its query.
func (r *Request) check() (orders.Query, error) {
	r.Filter = strings.Join(strings.Fields(r.Filter), " ")
	q, err := orders.ParseFilter(r.Filter)
	if err != nil {
		return q, refuse(statusBad, "filter", "%s", strings.TrimPrefix(err.Error(), "filter: "))
	}
	if r.Webhook != "" {
		if r.Webhook, err = checkWebhook(r.Webhook); err != nil {
			return q, refuse(statusBad, "webhook", "%s", err)
		}
	}
	if r.Message == nil {
		yes := true
		r.Message = &yes
	}
	if !*r.Message && r.Webhook == "" {
		return q, refuse(statusBad, "message", "an alert needs a message or a webhook")
	}
	return q, nil
}

const maxWebhook = 512 // bytes of a URL

// checkWebhook checks the form of a webhook's URL. The addresses behind the host are checked
// when it is called.
func checkWebhook(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || len(text) > maxWebhook || u.Opaque != "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("not an https URL of at most %d bytes without user and fragment", maxWebhook)
	case !validHost(u.Hostname()):
		return "", fmt.Errorf("the host is not a name or an IP address")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n != 443 && n != 80 && n < 1024 {
			return "", fmt.Errorf("the port is not 443 or above 1023")
		}
	}
	return u.String(), nil
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 || !strings.Contains(host, ".") && host != "localhost" {
		return false
	}
	return strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

func hostOf(webhook string) string {
	u, err := url.Parse(webhook)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
