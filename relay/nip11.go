package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// infoDoc is the NIP-11 document. The type of go-nostr is not used, because it cannot
// leave out created_at_lower_limit, and 0 there says that no event of the past is taken.
type infoDoc struct {
	Name          string     `json:"name"`
	Description   string     `json:"description,omitempty"`
	Icon          string     `json:"icon,omitempty"`
	PubKey        string     `json:"pubkey,omitempty"`
	Self          string     `json:"self,omitempty"`
	Contact       string     `json:"contact,omitempty"`
	SupportedNIPs []int      `json:"supported_nips"`
	Software      string     `json:"software"`
	Version       string     `json:"version,omitempty"`
	Limitation    infoLimit  `json:"limitation"`
	Retention     []infoKeep `json:"retention"`
}

type infoLimit struct {
	MaxMessageLength    int   `json:"max_message_length"`
	MaxSubscriptions    int   `json:"max_subscriptions"`
	MaxFilters          int   `json:"max_filters"`
	MaxLimit            int   `json:"max_limit"`
	DefaultLimit        int   `json:"default_limit"`
	MaxSubIDLength      int   `json:"max_subid_length"`
	MaxEventTags        int   `json:"max_event_tags"`
	MaxContentLength    int   `json:"max_content_length"`
	MinPowDifficulty    int   `json:"min_pow_difficulty"`
	AuthRequired        bool  `json:"auth_required"`
	PaymentRequired     bool  `json:"payment_required"`
	RestrictedWrites    bool  `json:"restricted_writes"`
	CreatedAtUpperLimit int64 `json:"created_at_upper_limit"`
}

// infoKeep is one entry of retention. If time is null, events are kept forever; if time is
// 0, events are not kept.
type infoKeep struct {
	Kinds []any  `json:"kinds"`
	Time  *int64 `json:"time"`
}

const softwareURL = "https://github.com/mostrodex/mostrodex"

func infoDocument(cfg *Config) ([]byte, error) {
	nips := []int{1, 9, 11, 13, 40, 42, 45, 70, 77, 86}
	if cfg.Search != nil {
		nips = append(nips, 50)
	}
	slices.Sort(nips)
	kept, mail := []any{}, []any{}
	for _, k := range slices.Sorted(slices.Values(cfg.Policy.Kinds)) {
		if mostro.IsMail(k) {
			mail = append(mail, k)
		} else {
			kept = append(kept, k)
		}
	}
	never, mailSeconds := int64(0), int64(eventlog.MailLifetime/time.Second)
	doc := infoDoc{
		Name: cfg.Name, Description: cfg.Description, Icon: cfg.Icon, PubKey: cfg.PubKey, Self: cfg.Self, Contact: cfg.Contact,
		SupportedNIPs: nips, Software: softwareURL, Version: cfg.Version,
		Limitation: infoLimit{
			MaxMessageLength: cfg.MaxMessageBytes, MaxSubscriptions: cfg.MaxSubscriptions, MaxFilters: cfg.MaxFilters,
			MaxLimit: cfg.MaxLimit, DefaultLimit: cfg.DefaultLimit, MaxSubIDLength: maxSubIDLength,
			MaxEventTags: cfg.Policy.MaxTags, MaxContentLength: cfg.Policy.MaxEventBytes, MinPowDifficulty: cfg.Policy.MinPow,
			// Kinds are restricted, and retention says so. Writers are not restricted, unless the
			// server only reads.
			RestrictedWrites:    cfg.ReadOnly,
			CreatedAtUpperLimit: int64(cfg.Policy.MaxFuture / time.Second),
		},
		Retention: []infoKeep{{Kinds: kept}, {Kinds: []any{[]int{20000, 29999}}, Time: &never}},
	}
	if len(mail) > 0 {
		doc.Retention = append(doc.Retention, infoKeep{Kinds: mail, Time: &mailSeconds})
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the NIP-11 document: %w", err)
	}
	return b, nil
}

// wantsInfo reports whether Accept contains the media type of NIP-11, in any position,
// with or without parameters.
func wantsInfo(r *http.Request) bool {
	if r.Method == http.MethodOptions {
		// The preflight request (CORS) of a browser page that wants the document.
		return strings.Contains(strings.ToLower(r.Header.Get("Access-Control-Request-Headers")), "accept")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			media, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(media), "application/nostr+json") {
				return true
			}
		}
	}
	return false
}

// serveInfo answers a request for the NIP-11 document.
func serveInfo(w http.ResponseWriter, r *http.Request, doc []byte) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
	h.Add("Vary", "Accept")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Content-Type", "application/nostr+json")
	w.Write(doc)
}
