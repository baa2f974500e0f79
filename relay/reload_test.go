package relay

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestReload puts other settings in force on an open connection, together with a rule of the
// operator. Settings that do not fit the rules change nothing.
func TestReload(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.Name = "first" })
	c := r.Dial()
	c.MustPublish(testkit.Order(t, "1", testkit.Now(), "pending"))
	if err := r.srv.moderation.change(func(rules *Rules) error { rules.AllowedKinds = []int{7}; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.srv.Reload(Settings{Name: "second", Policy: Policy{Kinds: []int{mostro.KindMessage}, MaxEventBytes: 3000}}); err != nil {
		t.Fatal(err)
	}
	c.MustRefuse(testkit.Order(t, "2", testkit.Now(), "pending"), "blocked: kind 38383 is not kept here")
	c.MustPublish(testkit.Signed(t, 7, testkit.Now()))
	c.MustRefuse(testkit.Signed(t, 7, testkit.Now(), nostr.Tag{"x", strings.Repeat("x", 3000)}), "invalid: the event is larger than 3000 bytes")
	if kinds := r.srv.Kinds(); len(kinds) != 2 {
		t.Errorf("the kinds are %v", kinds)
	}
	description := func() string {
		req, err := http.NewRequest(http.MethodGet, "http"+strings.TrimPrefix(r.URL(), "ws"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/nostr+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := description(); !strings.Contains(got, `"second"`) || !strings.Contains(got, `"max_content_length":3000`) {
		t.Errorf("the description is %s", got)
	}
	// A later change of the rules keeps the settings.
	if err := r.srv.moderation.change(func(rules *Rules) error { rules.AllowedKinds = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	c.MustRefuse(testkit.Signed(t, 7, testkit.Now(), nostr.Tag{"y"}), "blocked: kind 7 is not kept here")
	c.MustRefuse(testkit.Order(t, "4", testkit.Now(), "pending"), "blocked: kind 38383 is not kept here")
	if err := r.srv.Reload(Settings{}); err != nil {
		t.Fatal(err)
	}
	c.MustPublish(testkit.Order(t, "3", testkit.Now(), "pending"))
	if got := description(); !strings.Contains(got, `"`+defaultName+`"`) {
		t.Errorf("the description is %s", got)
	}
}

// TestReadOnly: a server that only reads refuses every event of a client, also from this machine
// and also ephemeral events, and takes its own.
func TestReadOnly(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.ReadOnly = true })
	c := r.Dial()
	c.MustRefuse(testkit.Order(t, "1", testkit.Now(), "pending"), reasonReadOnly)
	c.MustRefuse(testkit.Signed(t, 20001, testkit.Now()), reasonReadOnly)
	if err := r.srv.Publish(context.Background(), testkit.Order(t, "2", testkit.Now(), "pending")); err != nil {
		t.Error(err)
	}
}
