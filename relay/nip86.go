package relay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/hex32"
)

const maxManagementBytes = 64 << 10

// isManagement reports whether Content-Type is the media type of NIP-86, with or without
// parameters.
func isManagement(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/nostr+json+rpc"
}

// management answers the requests of NIP-86.
type management struct {
	rules  *moderation
	proofs *proofs
	log    *slog.Logger
}

// ServeHTTP answers NIP-86 requests: JSON-RPC over HTTP. Each request needs a NIP-98
// proof with a payload hash and the key of an admin, also if it comes from this machine.
func (h *management) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuseHTTP(w, http.StatusMethodNotAllowed, "management requests are POST")
		return
	}
	payload, err := h.proofs.check(r)
	if err != nil {
		refuseHTTP(w, http.StatusUnauthorized, err.Error())
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManagementBytes+1))
	if err != nil || len(body) > maxManagementBytes {
		refuseHTTP(w, http.StatusBadRequest, "the request cannot be read, or is too large")
		return
	}
	if h := sha256.Sum256(body); hex.EncodeToString(h[:]) != strings.ToLower(payload) {
		refuseHTTP(w, http.StatusUnauthorized, errPayload.Error())
		return
	}
	var req struct {
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	answer := struct {
		Result any    `json:"result"`
		Error  string `json:"error,omitempty"`
	}{}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&req); err != nil {
		answer.Error = "the request is not JSON of method and params"
	} else if call, ok := managementCalls[req.Method]; !ok {
		answer.Error = fmt.Sprintf("method %q is not offered", clip.Text(req.Method, 40))
	} else if answer.Result, err = call(h.rules, req.Params); err != nil {
		answer.Result, answer.Error = nil, err.Error()
	} else {
		h.log.Info("management request", "method", req.Method)
	}
	w.Header().Set("Content-Type", "application/nostr+json+rpc")
	json.NewEncoder(w).Encode(answer) // if the client is gone, the answer is lost
}

type managementCall func(m *moderation, params []json.RawMessage) (any, error)

// managementCalls are the methods by name. A function fills the map, because the method
// supportedmethods reads the map.
var managementCalls map[string]managementCall = newManagementCalls()

func newManagementCalls() map[string]managementCall {
	calls := map[string]managementCall{}
	list := func(put, drop, show, name string, of func(*Rules) *map[string]string, key func(string) error) {
		calls[put] = func(m *moderation, params []json.RawMessage) (any, error) {
			k, reason, err := keyAndReason(params, key)
			if err != nil {
				return nil, err
			}
			return true, m.change(func(r *Rules) error {
				list := of(r)
				if *list == nil {
					*list = map[string]string{}
				}
				(*list)[k] = reason
				return nil
			})
		}
		calls[drop] = func(m *moderation, params []json.RawMessage) (any, error) {
			k, _, err := keyAndReason(params, key)
			if err != nil {
				return nil, err
			}
			return true, m.change(func(r *Rules) error { delete(*of(r), k); return nil })
		}
		calls[show] = func(m *moderation, _ []json.RawMessage) (any, error) {
			r := m.current().Rules
			items := []map[string]string{}
			for _, k := range slices.Sorted(maps.Keys(*of(&r))) {
				items = append(items, map[string]string{name: k, "reason": (*of(&r))[k]})
			}
			return items, nil
		}
	}
	hexKey := func(k string) error {
		if !hex32.Valid(k) {
			return fmt.Errorf("%.80q is not 64 lower-case hex digits", k)
		}
		return nil
	}
	ipKey := func(k string) error { _, err := parseIPRule(k); return err }
	list("banpubkey", "unbanpubkey", "listbannedpubkeys", "pubkey", func(r *Rules) *map[string]string { return &r.BlockedKeys }, hexKey)
	list("allowpubkey", "unallowpubkey", "listallowedpubkeys", "pubkey", func(r *Rules) *map[string]string { return &r.AllowedKeys }, hexKey)
	list("banevent", "allowevent", "listbannedevents", "id", func(r *Rules) *map[string]string { return &r.BlockedEvents }, hexKey)
	list("blockip", "unblockip", "listblockedips", "ip", func(r *Rules) *map[string]string { return &r.BlockedIPs }, ipKey)
	list("quarantinepubkey", "unquarantinepubkey", "listquarantinedpubkeys", "pubkey", func(r *Rules) *map[string]string { return &r.Quarantined }, hexKey)

	word := func(set func(*Rules, string)) managementCall {
		return func(m *moderation, params []json.RawMessage) (any, error) {
			var v string
			if len(params) == 0 || json.Unmarshal(params[0], &v) != nil || len(v) > 1000 {
				return nil, fmt.Errorf("the first parameter is a string of at most 1000 bytes")
			}
			return true, m.change(func(r *Rules) error { set(r, v); return nil })
		}
	}
	calls["changerelayname"] = word(func(r *Rules, v string) { r.Name = v })
	calls["changerelaydescription"] = word(func(r *Rules, v string) { r.Description = v })
	calls["changerelayicon"] = word(func(r *Rules, v string) { r.Icon = v })

	kind := func(set func(*Rules, int)) managementCall {
		return func(m *moderation, params []json.RawMessage) (any, error) {
			var k int
			if len(params) == 0 || json.Unmarshal(params[0], &k) != nil || k < 0 || k > 65535 {
				return nil, fmt.Errorf("the first parameter is a kind")
			}
			return true, m.change(func(r *Rules) error { set(r, k); return nil })
		}
	}
	without := func(list []int, k int) []int { return slices.DeleteFunc(list, func(x int) bool { return x == k }) }
	calls["allowkind"] = kind(func(r *Rules, k int) {
		r.BlockedKinds, r.AllowedKinds = without(r.BlockedKinds, k), append(without(r.AllowedKinds, k), k)
	})
	calls["disallowkind"] = kind(func(r *Rules, k int) {
		r.AllowedKinds, r.BlockedKinds = without(r.AllowedKinds, k), append(without(r.BlockedKinds, k), k)
	})
	calls["listallowedkinds"] = func(m *moderation, _ []json.RawMessage) (any, error) {
		return m.current().policy.Kinds, nil
	}
	names := append(slices.Sorted(maps.Keys(calls)), "supportedmethods")
	calls["supportedmethods"] = func(*moderation, []json.RawMessage) (any, error) { return names, nil }
	return calls
}

// keyAndReason parses the parameters of a method that changes a list.
func keyAndReason(params []json.RawMessage, check func(string) error) (key, reason string, err error) {
	if len(params) == 0 || json.Unmarshal(params[0], &key) != nil {
		return "", "", fmt.Errorf("the first parameter is a string")
	}
	if len(params) > 1 && json.Unmarshal(params[1], &reason) != nil {
		return "", "", fmt.Errorf("the second parameter is a string")
	}
	return key, clip.Text(reason, 200), check(key)
}
