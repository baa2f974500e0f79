package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// backupVerb holds the flags of the verb backup.
type backupVerb struct {
	config, data, to           string
	recipients                 []string
	recipientsFile, passphrase string
	public, follow             bool
	keep                       int
	every                      time.Duration
	stderr                     io.Writer
	stdout                     io.Writer
}

func newBackupCmd() *cobra.Command {
	v := new(backupVerb)
	cmd := &cobra.Command{
		Use:   "backup --to DIR|- (--recipient KEY... | --passphrase-file FILE | --public)",
		Short: "Back up the log, the escrow, the alerts and the keys",
		Long: `Back up the log, the escrow, the alerts, the keys and the rules, while the server
runs or while it is stopped. Everything in the backup is of one moment.

A directory holds many backups: only what changed is written again. With --to - one
complete backup is written to standard output as a tar file.

The escrow, the alerts and the keys are encrypted with age, for the recipients or
with the passphrase; only they can be restored with the identity of a recipient. Keep
the identity away from this machine. --public leaves these parts out.

With --follow the verb stays, and writes every commit of the escrow within two
seconds, and a new backup every --every. An older copy of the escrow costs money, so
an escrow needs this. It begins anew by itself when the server restarts.

The witness file of the escrow is never part of a backup. Exit code 0: the backup is
complete and durable. Any other: it is not, and no earlier backup was changed.`,
		Example: `  mostrodex backup -c /etc/mostrodex/mostrodex.toml --to /backup/mostrodex --recipient age1...
  mostrodex backup --data ./data --to - --passphrase-file pass.txt | ssh other 'cat > mostrodex.tar'
  mostrodex backup -c /etc/mostrodex/mostrodex.toml --to /backup/mostrodex --recipients-file recipients.txt --follow`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v.stdout, v.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return v.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&v.config, "config", "c", "", "config file of the server; it is part of the backup")
	f.StringVar(&v.data, "data", "", "data directory (default: that of the config, or ./data)")
	f.StringVar(&v.to, "to", "", "directory of backups, or - for standard output")
	f.StringArrayVar(&v.recipients, "recipient", nil, "public key of age that can open the secret part, may be repeated")
	f.StringVar(&v.recipientsFile, "recipients-file", "", "file with public keys of age, one a line")
	f.StringVar(&v.passphrase, "passphrase-file", "", "file with a passphrase that opens the secret part")
	f.BoolVar(&v.public, "public", false, "leave the escrow, the alerts and the keys out")
	f.BoolVar(&v.follow, "follow", false, "stay, and write the commits of the escrow as they come")
	f.DurationVar(&v.every, "every", time.Hour, "interval between complete backups with --follow")
	f.IntVar(&v.keep, "keep", 0, "newest backups of the directory to keep; 0: all, and 24 with --follow")
	markRequired(cmd, "to")
	cmd.AddCommand(newBackupVerifyCmd())
	return cmd
}

// recipientsOf returns the recipients that the flags name.
func (v *backupVerb) recipientsOf() (list []age.Recipient, err error) {
	named := 0
	for _, is := range []bool{len(v.recipients) > 0 || v.recipientsFile != "", v.passphrase != "", v.public} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return nil, usagef("name one of --recipient (or --recipients-file), --passphrase-file and --public: without a recipient the escrow and the keys cannot be in the backup")
	case v.follow && (v.to == "-" || v.public || v.passphrase != ""):
		return nil, usagef("--follow takes a directory and a recipient: a passphrase costs a second of work for each file")
	case v.follow && v.every < time.Minute || v.keep < 0:
		return nil, usagef("--every is at least a minute, and --keep at least 0")
	case v.keep > 0 && v.to == "-":
		return nil, usagef("--keep is for a directory")
	}
	text := strings.Join(v.recipients, "\n")
	if v.recipientsFile != "" {
		more, err := readSecret(v.recipientsFile)
		if err != nil {
			return nil, err
		}
		text += "\n" + more
	}
	switch {
	case v.public:
		return nil, nil
	case v.passphrase != "":
		passphrase, err := passphraseOf(v.passphrase)
		if err != nil {
			return nil, err
		}
		r, err := backup.PassphraseRecipient(passphrase)
		return []age.Recipient{r}, err
	}
	if list, err = backup.Recipients(text); err != nil {
		return nil, usageError{err}
	}
	return list, nil
}

func passphraseOf(file string) (string, error) {
	text, err := readSecret(file)
	if err != nil {
		return "", err
	}
	passphrase, err := backup.Passphrase(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return passphrase, nil
}

func (v *backupVerb) run(ctx context.Context) error {
	to, err := v.recipientsOf()
	if err != nil {
		return err
	}
	cfg := defaultConfig()
	if v.config != "" {
		if cfg, err = loadConfig(v.config, os.Environ()); err != nil {
			return err
		}
	}
	if v.data != "" {
		cfg.Data = v.data
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "events")); err != nil {
		return fmt.Errorf("%s is no data directory: name it with --data, or its config with -c", cfg.Data)
	}
	if v.to == "-" {
		// The writer of a stream is told the recipients, and keeps no state.
		m, err := v.once(ctx, &cfg, backupRequest{Public: v.public}, backup.NewStream(v.stdout), nil, to, nil)
		if err != nil {
			return v.explain(err)
		}
		fmt.Fprintln(v.stderr, describe(m))
		return nil
	}
	dir, err := backup.OpenDir(v.to)
	if err != nil {
		return v.explain(err)
	}
	defer dir.Close()
	if v.follow {
		return v.explain(v.keepFollowing(ctx, &cfg, dir, to))
	}
	m, err := v.intoDir(ctx, &cfg, dir, to)
	if err == nil && v.keep > 0 {
		err = dir.Prune(v.keep)
	}
	if err != nil {
		return v.explain(err)
	}
	_, err = fmt.Fprintln(v.stdout, describe(m))
	return err
}

// explain adds to an error what the operator can do.
func (v *backupVerb) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the backup is not complete, and earlier ones are as they were: %w: free some disk space at %s, then run backup again", err, v.to)
	case errors.Is(err, eventlog.ErrLocked), errors.Is(err, badgerfiles.ErrInUse):
		return fmt.Errorf("%w; if that process is a server, its control socket does not answer: wait until it serves", err)
	}
	return err
}

func describe(m *backup.Manifest) string {
	var bytes int64
	for _, p := range m.Parts {
		bytes += p.Bytes
	}
	text := fmt.Sprintf("backup %s of %s: %d entries of the log", m.ID(), time.Unix(m.At, 0).UTC().Format(time.RFC3339), m.Head)
	if m.Escrow != nil {
		text += fmt.Sprintf(", escrow %.8s with %d commits", m.Escrow.Pubkey, m.Escrow.Commits)
	}
	return text + fmt.Sprintf(", %d parts, %.1f MB", len(m.Parts), float64(bytes)/1e6)
}

// intoDir writes a backup into a directory. The parts of the newest backup that did not change
// are used again.
func (v *backupVerb) intoDir(ctx context.Context, cfg *Config, dir *backup.Dir, to []age.Recipient) (*backup.Manifest, error) {
	held, err := v.heldParts(dir)
	if err != nil {
		return nil, err
	}
	m, err := v.once(ctx, cfg, backupRequest{Public: v.public, Log: namesOf(held)}, dir, held, to, nil)
	if err != nil {
		err = errors.Join(err, dir.Abandon())
	}
	return m, err
}

// heldParts returns the spans of the log in the newest backup whose files are there.
func (v *backupVerb) heldParts(dir *backup.Dir) (held map[string]backup.Part, err error) {
	names, err := backup.Names(v.to)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	newest, err := backup.ReadManifest(v.to, names[len(names)-1])
	if err != nil {
		fmt.Fprintf(v.stderr, "the newest backup cannot be used for this one: %v\n", err)
		return nil, nil
	}
	held = make(map[string]backup.Part)
	for _, p := range newest.Parts {
		if strings.HasPrefix(p.Name, dirLog) && dir.Has(p) {
			held[p.Name] = p
		}
	}
	return held, nil
}

func namesOf(held map[string]backup.Part) (names []string) {
	for name := range held {
		names = append(names, name)
	}
	return names
}

// once asks for one backup and writes it. If on is not nil, it is called when the backup is
// complete, and then with what follows.
func (v *backupVerb) once(ctx context.Context, cfg *Config, req backupRequest, w backup.Writer, held map[string]backup.Part, to []age.Recipient, on *following) (*backup.Manifest, error) {
	in, closing, err := v.source(ctx, cfg, req)
	if err != nil {
		return nil, err
	}
	r := &receiving{w: w, held: held, to: to, config: v.config, on: on}
	m, err := r.receive(backup.NewReceiver(in))
	if r.secret != nil {
		r.discard()
	}
	if closed := closing(); err == nil || errors.Is(err, backup.ErrArchive) && closed != nil {
		err = closed // of a stopped server: the reason why the stream ended early
	}
	return m, err
}

// source returns the stream of a backup: from the running server, or, if no server runs, from
// the stores.
func (v *backupVerb) source(ctx context.Context, cfg *Config, req backupRequest) (in io.Reader, closing func() error, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(cfg.Data, controlFile)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/backup", bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(post)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		if req.Follow {
			return nil, nil, errNoServer
		}
		return v.stopped(ctx, cfg, req)
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, fmt.Errorf("%s is not for this user: run this as the user that the server runs as", socket)
	case err != nil:
		return nil, nil, fmt.Errorf("ask the server for a backup: %w", errors.Unwrap(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusConflict {
			return nil, nil, errNothingToFollow
		}
		return nil, nil, answerError(resp)
	}
	return resp.Body, func() error { resp.Body.Close(); return nil }, nil
}

var errNoServer = errors.New("no server runs on the data directory")

// stopped returns the stream of a backup of a data directory whose server is stopped.
func (v *backupVerb) stopped(ctx context.Context, cfg *Config, req backupRequest) (in io.Reader, closing func() error, err error) {
	with := ambient{logger: slog.New(slog.NewTextHandler(v.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), registry: prometheus.NewRegistry(), now: time.Now}
	only := *cfg
	only.Indexer.Enabled = false
	st := new(stores)
	if err := st.open(&only, with, true, nil); err != nil {
		return nil, nil, errors.Join(err, st.close())
	}
	s := &backupSource{data: cfg.Data, log: st.store, files: outsideKeys(cfg), now: time.Now}
	var db *escrow.DB
	if exists(filepath.Join(cfg.Data, "escrow")) && !req.Public {
		if db, err = escrow.OpenDB(filepath.Join(cfg.Data, "escrow")); err != nil {
			return nil, nil, errors.Join(err, st.close())
		}
		s.feed = &commitFeed{DB: db}
		if cfg.Escrow.Key != "" {
			if keys, err := loadKeys(cfg.Escrow.Key); err == nil {
				s.pubkey = keys.Pubkey()
			}
		}
	}
	if exists(filepath.Join(cfg.Data, "alerts")) {
		s.alerts = func() (*badgerfiles.Snapshot, func() error, error) { return alerts.SnapshotOf(cfg.Data) }
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := s.send(ctx, w, req, func() {})
		w.CloseWithError(err)
		done <- err
	}()
	return r, func() error {
		r.Close()
		err := <-done
		if errors.Is(err, io.ErrClosedPipe) {
			err = nil // the verb has ended the backup, and says why
		}
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return errors.Join(err, st.close())
	}, nil
}

// receiving writes the stream of a source as a backup.
type receiving struct {
	w      backup.Writer
	held   map[string]backup.Part
	to     []age.Recipient
	config string     // file that belongs into the secret part; "": none
	on     *following // what follows the backup; nil: nothing

	secret  *backup.Sender // of the secret part, while it is written
	closing func() error   // closes the secret part
	discard func()         // ends the secret part after an error
	got     map[string]bool
}

func (r *receiving) receive(in *backup.Receiver) (m *backup.Manifest, err error) {
	r.got = make(map[string]bool)
	for {
		name, part, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && m != nil && r.on == nil:
			return m, nil
		case errors.Is(err, io.EOF):
			return m, fmt.Errorf("%w: the server has ended it", backup.ErrArchive)
		case err != nil:
			return m, err
		case m != nil && r.on == nil:
			return m, fmt.Errorf("%w: %s after its end", backup.ErrArchive, name)
		case m != nil:
			if err := r.on.part(name, part); err != nil {
				return m, err
			}
		case isSecretPart(name):
			if err := r.secretPart(name, part); err != nil {
				return nil, err
			}
		case name == partEnd:
			if m, err = r.end(part); err != nil {
				return nil, err
			}
			if r.on != nil {
				r.on.begin(m)
			}
		default:
			if err := r.part(name, part); err != nil {
				return nil, err
			}
		}
	}
}

// part writes a part that is not secret.
func (r *receiving) part(name string, part io.Reader) error {
	if err := r.closeSecret(); err != nil {
		return err
	}
	size := int64(-1)
	if span, ok := parseSpanName(name); ok {
		size = span.End - span.At
	}
	w, err := r.w.Create(name, size)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, part)
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("%w: %s has %d bytes", backup.ErrArchive, name, n)
	}
	if err != nil {
		w.Discard()
		return err
	}
	r.got[name] = true
	return w.Close()
}

// secretPart writes a part into the secret part, which it begins with the first one.
func (r *receiving) secretPart(name string, part io.Reader) error {
	if r.secret == nil {
		if r.closing != nil || len(r.got) > 0 || len(r.to) == 0 {
			return fmt.Errorf("%w: %s at the wrong place", backup.ErrArchive, name)
		}
		w, err := r.w.Create(backup.SecretName, -1)
		if err != nil {
			return err
		}
		plain, err := backup.Encrypt(w, r.to)
		if err != nil {
			return err
		}
		r.secret, r.discard = backup.NewSender(plain), w.Discard
		secret := r.secret
		r.closing = func() error {
			if err := errors.Join(secret.Close(), plain.Close()); err != nil {
				w.Discard()
				return err
			}
			return w.Close()
		}
		if r.config != "" {
			text, err := os.ReadFile(r.config)
			if err != nil {
				return err
			}
			if err := r.secret.Bytes(dirOutside+"config.toml", text); err != nil {
				return err
			}
		}
	}
	return r.secret.Stream(name, func(w io.Writer) error { _, err := io.Copy(w, part); return err })
}

func (r *receiving) closeSecret() error {
	if r.secret == nil {
		return nil
	}
	r.secret = nil
	return r.closing()
}

// maxEnd bounds the last part of a stream.
const maxEnd = 128 << 20

func (r *receiving) end(part io.Reader) (*backup.Manifest, error) {
	if err := r.closeSecret(); err != nil {
		return nil, err
	}
	var end backupEnd
	if err := json.NewDecoder(io.LimitReader(part, maxEnd)).Decode(&end); err != nil {
		return nil, fmt.Errorf("%w: its end: %w", backup.ErrArchive, err)
	}
	for _, name := range end.Log {
		if r.got[name] {
			continue
		}
		p, ok := r.held[name]
		if !ok {
			return nil, fmt.Errorf("%w: the server has not sent %s", backup.ErrArchive, name)
		}
		r.w.Keep(p)
	}
	return r.w.Commit(end.Manifest)
}
