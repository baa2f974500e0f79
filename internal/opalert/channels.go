package opalert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Address is where a channel delivers. It is read from a file, because both parts are secrets:
// who knows the URL of a webhook or the topic of an ntfy server can write to it.
type Address struct {
	URL    string
	Secret string // "": none
}

// maxAddressFile bounds the file of an address, in bytes.
const maxAddressFile = 4 << 10

// ReadAddress reads a file with a URL in its first line and an optional secret in its second. No
// error contains a part of the content.
func ReadAddress(file string) (a Address, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return a, err
	}
	lines := strings.Fields(string(text))
	if len(text) > maxAddressFile || len(lines) < 1 || len(lines) > 2 {
		return a, fmt.Errorf("%s: the file has to hold a URL, and a secret in the second line if there is one", file)
	}
	u, err := url.Parse(lines[0])
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return a, fmt.Errorf("%s: the first line is no http or https URL, or names a user", file)
	}
	a.URL = lines[0]
	if len(lines) == 2 {
		a.Secret = lines[1]
	}
	return a, nil
}

// client follows no redirect, so that a message goes to the address that the operator has named.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post sends a request and returns an error without the URL if the answer is not 2xx.
func post(req *http.Request) error {
	resp, err := client().Do(req)
	var named *url.Error
	if errors.As(err, &named) {
		err = named.Err // the text of a url.Error holds the URL
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the server answers with status %d", resp.StatusCode)
	}
	return nil
}

// webhookBody is the body of a webhook call.
type webhookBody struct {
	Type string `json:"type"` // "operator-alert"
	Message
	Level   string `json:"level"`
	Program string `json:"program"`
	Title   string `json:"title"`
	Body    string `json:"body"`
}

// Webhook returns a channel that posts JSON. sign returns the value of the header
// Mostrodex-Signature, which is sent if the address has a secret.
func Webhook(a Address, program string, now func() time.Time, sign func(secret string, at time.Time, body []byte) string) Channel {
	return Channel{Name: "webhook", Send: func(ctx context.Context, m Message) error {
		body, err := json.Marshal(webhookBody{"operator-alert", m, m.Level.String(), program, m.Title(program), m.Body()})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
		if err != nil {
			return errors.New("the URL is not valid")
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "mostrodex")
		req.Header.Set("Mostrodex-Delivery", strconv.FormatUint(m.ID, 10))
		if a.Secret != "" {
			req.Header.Set("Mostrodex-Signature", sign(a.Secret, now(), body))
		}
		return post(req)
	}}
}

// Ntfy returns a channel that publishes to a topic of an ntfy server: the URL ends with the
// topic, and the secret is an access token.
func Ntfy(a Address, program string) Channel {
	return Channel{Name: "ntfy", Send: func(ctx context.Context, m Message) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, strings.NewReader(m.Body()))
		if err != nil {
			return errors.New("the URL is not valid")
		}
		priority, tags := "3", "warning"
		switch {
		case m.State == Over:
			priority, tags = "2", "white_check_mark"
		case m.Level == Critical:
			priority, tags = "5", "rotating_light"
		}
		req.Header.Set("Title", mime.QEncoding.Encode("utf-8", m.Title(program)))
		req.Header.Set("Priority", priority)
		req.Header.Set("Tags", tags)
		req.Header.Set("User-Agent", "mostrodex")
		if a.Secret != "" {
			req.Header.Set("Authorization", "Bearer "+a.Secret)
		}
		return post(req)
	}}
}
