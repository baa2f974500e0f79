package testkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Browser is a tab of a real browser without a window, driven over the DevTools protocol. An
// expression runs in the page beside its policy, so pages are tested with their own headers.
type Browser struct {
	tb   testing.TB
	conn *websocket.Conn
	n    int
}

// browserPatience is the time that a browser may take on a busy machine.
const browserPatience = 90 * time.Second

// NewBrowser starts a browser. The test is skipped if there is none, or with -short.
func NewBrowser(tb testing.TB) *Browser {
	tb.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		tb.Skip("there is no chromium on this machine")
	}
	if testing.Short() {
		tb.Skip("this test starts a browser")
	}
	dir, err := os.MkdirTemp("", "browser-*")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP *.evil.example 127.0.0.1", "--remote-debugging-port=0", "--user-data-dir="+dir, "about:blank")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		// The browser's other processes end soon after, and write until then.
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	var port string
	WaitLong(tb, "the browser's port", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
		port, _, _ = strings.Cut(string(b), "\n")
		return err == nil && port != ""
	})
	var tabs []struct {
		Type string
		URL  string `json:"webSocketDebuggerUrl"`
	}
	WaitLong(tb, "the browser's tab", func() bool {
		resp, err := http.Get("http://127.0.0.1:" + port + "/json/list")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(&tabs) == nil && len(tabs) > 0 && tabs[0].URL != ""
	})
	conn, _, err := websocket.Dial(context.Background(), tabs[0].URL, nil)
	if err != nil {
		tb.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	tb.Cleanup(func() { conn.CloseNow() })
	b := &Browser{tb: tb, conn: conn}
	b.call("Page.enable", nil, nil)
	return b
}

// WaitLong waits for a condition as long as a browser may take.
func WaitLong(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(browserPatience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("condition not met within %s: %s", browserPatience, what)
		}
	}
}

// call sends one command and waits for its answer. Events in between are skipped.
func (b *Browser) call(method string, params, result any) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), browserPatience)
	defer cancel()
	b.n++
	if params == nil {
		params = map[string]any{}
	}
	text, err := json.Marshal(map[string]any{"id": b.n, "method": method, "params": params})
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := b.conn.Write(ctx, websocket.MessageText, text); err != nil {
		b.tb.Fatal(err)
	}
	for {
		_, answer, err := b.conn.Read(ctx)
		if err != nil {
			b.tb.Fatalf("%s: %v", method, err)
		}
		var m struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(answer, &m); err != nil || m.ID != b.n {
			continue
		}
		if m.Error != nil && method == "Runtime.evaluate" && (strings.Contains(m.Error.Message, "navigated or closed") || strings.Contains(m.Error.Message, "context")) {
			return // the tab changes its page
		}
		if m.Error != nil {
			b.tb.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.tb.Fatal(err)
			}
		}
		return
	}
}

// Open opens an address and waits until the page is loaded.
func (b *Browser) Open(url string) {
	b.tb.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.Loaded()
}

// Loaded waits until the page in the tab is loaded.
func (b *Browser) Loaded() {
	b.tb.Helper()
	WaitLong(b.tb, "a loaded page", func() bool { return b.Eval(`document.readyState`) == "complete" })
}

// Eval returns the value of an expression in the page as text. A promise is awaited. While the
// tab changes its page, the result is "".
func (b *Browser) Eval(expression string) string {
	b.tb.Helper()
	var r struct {
		Result struct {
			Value any
		}
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.ExceptionDetails != nil {
		return "error: " + r.ExceptionDetails.Text + " " + r.ExceptionDetails.Exception.Description
	}
	if r.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(r.Result.Value)
}

// Until waits until an expression has a value.
func (b *Browser) Until(expression, want string) {
	b.tb.Helper()
	got := ""
	deadline := time.Now().Add(browserPatience)
	for got = b.Eval(expression); got != want; got = b.Eval(expression) {
		if time.Now().After(deadline) {
			b.tb.Fatalf("%s is %q, want %q; the page says\n%s", expression, got, want, b.Eval(`document.body && document.body.innerText`))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Size sets the size of the window in CSS pixels.
func (b *Browser) Size(width, height int) {
	b.tb.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
}

// Emulate sets the colour scheme that pages see, "light" or "dark", and whether their scripts run.
func (b *Browser) Emulate(scheme string, scripts bool) {
	b.tb.Helper()
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !scripts}, nil)
}

// Before runs a script in each new page before the page's own scripts.
func (b *Browser) Before(script string) {
	b.tb.Helper()
	b.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": script}, nil)
}

// Shot writes a picture of the whole page to a file.
func (b *Browser) Shot(file string) {
	b.tb.Helper()
	var r struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true, "format": "png"}, &r)
	png, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		b.tb.Fatal(err)
	}
}
