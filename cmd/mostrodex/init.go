package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/newfile"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/spf13/cobra"
)

// These are the kinds of installation that init offers. The first two have no role in the
// configuration.
const (
	runsNode   = "node"   // relay, index and scores
	runsMostro = "mostro" // the same, and an escrow
)

// defaultPublish are the relays that init offers for own events: clients read them.
var defaultPublish = []string{"wss://relay.mostro.network", "wss://nos.lol"}

// maxAsked is the number of times that one question is asked.
const maxAsked = 5

// answers are what init needs to know.
type answers struct {
	config   string // file to write
	data     string
	runs     string // runsNode, runsMostro or a role
	url      string // "": not public
	proxy    bool   // a proxy on this machine is in front of the relay
	listen   string
	private  string
	publish  []string
	name     string
	imported string // file of a key to import; "": a new key
	lnd      LNDConfig
}

func (a *answers) escrow() bool { return a.runs == runsMostro || a.runs == roleEscrow }

// keyFile is the file of the Mostro's key, beside the configuration.
func (a *answers) keyFile() string { return filepath.Join(filepath.Dir(a.config), "node.key") }

// wizard asks the questions of init and writes the files.
type wizard struct {
	answers
	lang  language
	yes   bool                    // no question is asked
	given func(flag string) bool  // reports whether a flag answers a question
	lines func() (string, error)  // next line of the operator
	out   io.Writer               // of questions and results
	step  func(name string) error // called between the steps of writing; an error ends the wizard there
}

func newInitCmd() *cobra.Command {
	var w wizard
	var lang string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Ask a few questions and write a configuration",
		Long: `Ask a few questions, in English or Spanish, and write a configuration with
comments, and for a Mostro the file of its key with mode 0600. A file that exists
is never changed. Each file is written in whole or not at all.

With --yes no question is asked: flags and defaults answer all of them.`,
		Example: `  mostrodex init
  mostrodex init --lang es --config /etc/mostrodex/mostrodex.toml
  mostrodex init --yes --runs relay --url wss://relay.example.com
  mostrodex init --yes --runs mostro --name "My Mostro" --url wss://mostro.example.com \
    --lnd-cert ~/.lnd/tls.cert --lnd-macaroon ~/mostrodex.macaroon`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.lang.parse(lang, os.Getenv); err != nil {
				return usageError{err}
			}
			w.given = cmd.Flags().Changed
			w.lines = linesOf(cmd.Context(), cmd.InOrStdin())
			w.out = cmd.OutOrStdout()
			w.step = func(string) error { return nil }
			return w.run()
		},
	}
	f := cmd.Flags()
	f.StringVar(&lang, "lang", "", "en or es (default: by the environment variable LANG)")
	f.BoolVar(&w.yes, "yes", false, "ask nothing: flags and defaults answer")
	f.StringVarP(&w.config, "config", "c", "mostrodex.toml", "file to write; it must not exist")
	f.StringVar(&w.runs, "runs", "", "node (relay, index and scores), mostro (node and escrow), relay, index, or escrow (default: node, or mostro if --lnd-macaroon is set)")
	f.StringVar(&w.data, "data", "", "data directory (default: data beside the configuration)")
	f.StringVar(&w.url, "url", "", "public address, such as wss://relay.example.com; none: not public")
	f.BoolVar(&w.proxy, "proxy", true, "a proxy on this machine, such as Caddy, passes connections on")
	f.StringVar(&w.listen, "listen", "127.0.0.1:7777", "address of the relay, the API and the explorer")
	f.StringVar(&w.private, "private", "127.0.0.1:7779", "address of /metrics and the dispute inbox; none: no such listener")
	f.StringArrayVar(&w.publish, "publish", nil, "relay that own events are sent to, may be repeated; none: no relay (default: "+strings.Join(defaultPublish, ", ")+")")
	f.StringVar(&w.name, "name", "", "name of the Mostro, or of the relay")
	f.StringVar(&w.imported, "key", "", "file with the key of an existing Mostro to import: hex, nsec or seed phrase (default: a new key)")
	f.StringVar(&w.lnd.Address, "lnd-address", "127.0.0.1:10009", "gRPC listener of LND")
	f.StringVar(&w.lnd.Cert, "lnd-cert", "", "tls.cert of LND (default: ~/.lnd/tls.cert)")
	f.StringVar(&w.lnd.Macaroon, "lnd-macaroon", "", "macaroon of LND (default: mostrodex.macaroon beside the configuration)")
	return cmd
}

// linesOf returns a function that returns the next line of r, or an error if ctx or r ends.
func linesOf(ctx context.Context, r io.Reader) func() (string, error) {
	type line struct {
		text string
		ok   bool
	}
	lines := make(chan line) // a read from a terminal cannot be interrupted, so the reader ends with the program
	go func() {
		for s := bufio.NewScanner(r); ; {
			ok := s.Scan()
			select {
			case lines <- line{s.Text(), ok}:
			case <-ctx.Done():
				return
			}
			if !ok {
				return
			}
		}
	}()
	ended := false
	return func() (string, error) {
		if ended {
			return "", io.ErrUnexpectedEOF
		}
		select {
		case l := <-lines:
			if ended = !l.ok; ended {
				return "", io.ErrUnexpectedEOF
			}
			return strings.TrimSpace(l.text), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// run asks, and writes. Nothing is written before the last answer.
func (w *wizard) run() error {
	if err := w.ask(); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
			return errors.New(w.say(textEnded))
		}
		return err
	}
	text := w.render()
	cfg := defaultConfig()
	if err := decodeConfig(text, &cfg); err != nil {
		return fmt.Errorf("the configuration of init is wrong: %w", err) // a bug
	}
	if err := cfg.settle(); err != nil {
		return usageError{err}
	}
	if err := w.write(text); err != nil {
		return err
	}
	w.print(w.say(textWritten), w.config)
	if w.escrow() {
		keys, err := loadKeys(w.keyFile())
		if err != nil {
			return err
		}
		w.print(w.say(textKeyWritten), w.keyFile(), keys.Npub())
		if !exists(w.lnd.Macaroon) {
			w.print(w.say(textBake), w.lnd.Macaroon, bakeCommandTo(w.lnd.Macaroon))
		}
	}
	list := slices.DeleteFunc(advice(&cfg), func(f finding) bool { return f.State == isFine })
	if len(list) > 0 {
		w.print("%s", w.say(textAdvice))
		if err := printFindings(w.out, list); err != nil {
			return err
		}
	}
	w.print(w.say(textNext), w.config, w.config)
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (w *wizard) say(t phrase) string { return t[w.lang] }

func (w *wizard) print(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

// question asks for one value. flag is the flag that answers the question. check returns an
// error if a value is wrong. With --yes, or if the flag is set, the value in to is checked only.
func (w *wizard) question(flag string, ask phrase, to *string, check func(string) error) error {
	if w.yes || w.given(flag) {
		if err := check(*to); err != nil {
			return usagef("--%s: %w", flag, err)
		}
		return nil
	}
	w.print("\n%s", w.say(ask))
	for range maxAsked {
		if *to != "" {
			fmt.Fprintf(w.out, "[%s] ", *to)
		}
		fmt.Fprint(w.out, "> ")
		line, err := w.lines()
		if err != nil {
			return err
		}
		if line == "" {
			line = *to
		}
		if err := check(line); err != nil {
			w.print("  %v", err)
			continue
		}
		*to = line
		return nil
	}
	return errors.New(w.say(textTooOften))
}

// none returns "" for the words that stand for no value.
func none(s string) string {
	switch strings.ToLower(s) {
	case "none", "ninguno", "ninguna", "-":
		return ""
	}
	return s
}

func (w *wizard) ask() error {
	if err := w.askLanguage(); err != nil {
		return err
	}
	if !w.yes {
		w.print("\n%s", w.say(textHello))
	}
	if err := w.askPlaces(); err != nil {
		return err
	}
	if err := w.askFace(); err != nil {
		return err
	}
	if w.escrow() {
		return w.askMostro()
	}
	return nil
}

func (w *wizard) askLanguage() error {
	if w.yes || w.given("lang") {
		return nil
	}
	name := languages[w.lang]
	if err := w.question("lang", phrase{"Language / Idioma: en, es", "Idioma / Language: en, es"}, &name, func(s string) error {
		return new(language).parse(s, func(string) string { return "" })
	}); err != nil {
		return err
	}
	return w.lang.parse(name, func(string) string { return "" })
}

// askPlaces asks for the file, the data directory and the parts that run.
func (w *wizard) askPlaces() (err error) {
	if err := w.question("config", askConfig, &w.config, func(s string) error {
		if s == "" {
			return errors.New(w.say(needFile))
		}
		if exists(s) {
			return fmt.Errorf(w.say(fileExists), s)
		}
		return nil
	}); err != nil {
		return err
	}
	if w.config, err = filepath.Abs(w.config); err != nil {
		return err
	}
	if w.runs == "" {
		if w.runs = runsNode; w.given("lnd-macaroon") || w.given("key") {
			w.runs = runsMostro
		}
	}
	if err := w.question("runs", askRuns, &w.runs, func(s string) error {
		if s != runsNode && s != runsMostro && !slices.Contains(roles, s) {
			return fmt.Errorf(w.say(needRuns), s)
		}
		return nil
	}); err != nil {
		return err
	}
	if w.data == "" {
		w.data = filepath.Join(filepath.Dir(w.config), "data")
		if filepath.Dir(w.config) == "/etc/mostrodex" {
			w.data = "/var/lib/mostrodex/data"
		}
	}
	if err := w.question("data", askData, &w.data, func(s string) error {
		if info, err := os.Stat(s); s == "" || err == nil && !info.IsDir() {
			return errors.New(w.say(needDirectory))
		}
		return nil
	}); err != nil {
		return err
	}
	w.data, err = filepath.Abs(w.data)
	return err
}

// askFace asks for the addresses, and for the relays that own events are sent to.
func (w *wizard) askFace() error {
	hostPort := func(s string) error {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fmt.Errorf(w.say(needHostPort), s)
		}
		return nil
	}
	if w.runs != roleEscrow {
		if err := w.question("url", askURL, &w.url, func(s string) error {
			if none(s) == "" {
				return nil
			}
			for _, f := range publicAddress(&Config{Relay: RelayConfig{URL: s}}) {
				if f.State == isFail {
					return errors.New(f.Text)
				}
			}
			if !strings.HasPrefix(s, "wss://") && !strings.HasPrefix(s, "ws://") {
				return errors.New(w.say(needURL))
			}
			return nil
		}); err != nil {
			return err
		}
		w.url = none(w.url)
		if w.url != "" {
			proxy := map[bool]string{true: w.say(wordYes), false: w.say(wordNo)}[w.proxy]
			if err := w.question("proxy", askProxy, &proxy, func(s string) error {
				_, err := w.truth(s)
				return err
			}); err != nil {
				return err
			}
			w.proxy, _ = w.truth(proxy) // checked
		}
	}
	if err := w.question("listen", askListen, &w.listen, hostPort); err != nil {
		return err
	}
	if err := w.question("private", askPrivate, &w.private, func(s string) error {
		if none(s) == "" {
			return nil
		}
		return hostPort(s)
	}); err != nil {
		return err
	}
	w.private = none(w.private)
	if w.runs == roleRelay { // it has no events of its own
		return w.question("name", askName, &w.name, func(string) error { return nil })
	}
	list := strings.Join(w.publish, ", ")
	if list == "" {
		list = strings.Join(defaultPublish, ", ")
	}
	if err := w.question("publish", askPublish, &list, func(s string) error {
		urls := splitList(none(s))
		if len(urls) == 0 && w.runs == roleEscrow {
			return errors.New(w.say(needRelays))
		}
		cfg := Config{Relay: RelayConfig{Federation: FederationConfig{Forward: urls}}}
		return cfg.validateUpstreams()
	}); err != nil {
		return err
	}
	w.publish = splitList(none(list))
	return w.question("name", askName, &w.name, func(string) error { return nil })
}

// truth returns the meaning of yes and no.
func (w *wizard) truth(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "y", "sí", "si", "s", "true":
		return true, nil
	case "no", "n", "false":
		return false, nil
	}
	return false, fmt.Errorf(w.say(needTruth), w.say(wordYes), w.say(wordNo))
}

// askMostro asks for the key and for LND.
func (w *wizard) askMostro() error {
	checkKey := func(s string) error {
		if s = none(s); s == "" {
			return nil
		}
		_, err := loadKeys(home(s))
		return err
	}
	if exists(w.keyFile()) {
		// An init before was ended between its two files, or the operator has made the key.
		keys, err := loadKeys(w.keyFile())
		if err != nil {
			return fmt.Errorf(w.say(badKeyFile), err)
		}
		if w.imported != "" {
			if other, err := loadKeys(home(w.imported)); err != nil || other.Pubkey() != keys.Pubkey() {
				return errors.Join(fmt.Errorf(w.say(fileExists), w.keyFile()), err)
			}
		}
		w.print(w.say(textKeyFound), w.keyFile(), keys.Npub())
	} else if err := w.question("key", askKey, &w.imported, checkKey); err != nil {
		return err
	}
	w.imported = home(none(w.imported))
	if w.lnd.Cert == "" {
		w.lnd.Cert = home("~/.lnd/tls.cert")
	}
	if w.lnd.Macaroon == "" {
		w.lnd.Macaroon = filepath.Join(filepath.Dir(w.config), "mostrodex.macaroon")
	}
	if err := w.question("lnd-address", askLNDAddress, &w.lnd.Address, func(s string) error {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fmt.Errorf(w.say(needHostPort), s)
		}
		return nil
	}); err != nil {
		return err
	}
	file := func(s string) error {
		if s == "" {
			return errors.New(w.say(needFile))
		}
		return nil
	}
	if err := w.question("lnd-cert", askLNDCert, &w.lnd.Cert, file); err != nil {
		return err
	}
	if err := w.question("lnd-macaroon", askLNDMacaroon, &w.lnd.Macaroon, file); err != nil {
		return err
	}
	var err error
	for _, path := range []*string{&w.lnd.Cert, &w.lnd.Macaroon} {
		if *path, err = filepath.Abs(home(*path)); err != nil {
			return err
		}
	}
	return nil
}

// home replaces ~/ by the home directory.
func home(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if dir, err := os.UserHomeDir(); ok && err == nil {
		return filepath.Join(dir, rest)
	}
	return path
}

// write writes the key, and then the configuration that names the key. If the process is killed
// between the two, the next init finds the key and uses it.
func (w *wizard) write(text []byte) error {
	if err := os.MkdirAll(filepath.Dir(w.config), 0o700); err != nil {
		return fmt.Errorf("make the directory of the configuration: %w", err)
	}
	if err := w.step("directory"); err != nil {
		return err
	}
	if w.escrow() && !exists(w.keyFile()) {
		keys, err := envelope.NewKeys(nil)
		if w.imported != "" {
			keys, err = loadKeys(w.imported)
		}
		if err != nil {
			return err
		}
		if err := writeSecret(w.keyFile(), hexOf(keys)); err != nil {
			return err
		}
	}
	if err := w.step("key"); err != nil {
		return err
	}
	err := newfile.Write(w.config, text, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf(w.say(fileExists), w.config)
	}
	return err
}

// quoted returns a string of TOML. The escapes of JSON are a part of those of TOML.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(strings.ToValidUTF8(s, "�")) // a string is always encoded
	// JSON leaves the control character DEL as it is, and TOML does not allow it.
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

func quotedList(list []string) string {
	quotes := make([]string, len(list))
	for i, s := range list {
		quotes[i] = quoted(s)
	}
	return "[" + strings.Join(quotes, ", ") + "]"
}
