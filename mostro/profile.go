package mostro

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Profile is a key's NIP-01 metadata. All fields are free text of the key's owner.
// ParseProfile does not check the text, including the links.
type Profile struct {
	EventID   string
	Pubkey    string
	CreatedAt nostr.Timestamp

	Name        string
	DisplayName string
	About       string
	Website     string
	Picture     string
	Banner      string
	NIP05       string
	LUD06       string
	LUD16       string // Lightning address
}

// ParseProfile parses kind 0. A field that is not text counts as absent. If the content
// is not a JSON object, ParseProfile returns an EventError.
func ParseProfile(evt *nostr.Event) (Profile, error) {
	if err := Expect(evt, ClassProfile); err != nil {
		return Profile{}, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(evt.Content), &fields); err != nil || fields == nil {
		return Profile{}, MalformedEvent(evt, "content is not a JSON object")
	}
	text := func(name string) string {
		var s string
		if json.Unmarshal(fields[name], &s) != nil {
			return ""
		}
		return strings.TrimSpace(s)
	}
	return Profile{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt,
		Name: text("name"), DisplayName: text("display_name"), About: text("about"), Website: text("website"),
		Picture: text("picture"), Banner: text("banner"), NIP05: text("nip05"), LUD06: text("lud06"), LUD16: text("lud16"),
	}, nil
}

// Event returns the metadata event, ready to be signed. Empty fields are omitted.
func (p Profile) Event() nostr.Event {
	content := struct {
		Name        string `json:"name,omitempty"`
		DisplayName string `json:"display_name,omitempty"`
		About       string `json:"about,omitempty"`
		Website     string `json:"website,omitempty"`
		Picture     string `json:"picture,omitempty"`
		Banner      string `json:"banner,omitempty"`
		NIP05       string `json:"nip05,omitempty"`
		LUD06       string `json:"lud06,omitempty"`
		LUD16       string `json:"lud16,omitempty"`
	}{p.Name, p.DisplayName, p.About, p.Website, p.Picture, p.Banner, p.NIP05, p.LUD06, p.LUD16}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Encoding a struct of strings to a Buffer cannot fail.
	_ = enc.Encode(content)
	return nostr.Event{
		PubKey: p.Pubkey, CreatedAt: p.CreatedAt, Kind: KindProfile, Tags: nostr.Tags{},
		Content: strings.TrimSuffix(b.String(), "\n"),
	}
}
