package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

const (
	// unfinishedFile is in a data directory while a backup is restored to it. No other verb
	// opens such a directory.
	unfinishedFile = "RESTORE-UNFINISHED"
	// copiedFile is in DATA/escrow until the escrow has opened the store as an older copy.
	copiedFile = "RESTORED"
	// restoredDir holds restored files whose place is outside of the data directory.
	restoredDir = "restored"
)

var errUnfinished = errors.New("a restore into this directory has not ended, and the data is not complete: run 'mostrodex restore' again")

var errRestoring = errors.New("another restore writes to this directory: wait until it has ended")

// restorable are the names in a data directory that a restore writes.
var restorable = []string{"events", "escrow", "alerts", "keys", partRules, restoredDir}

// restoreVerb holds the flags of the verbs restore and backup verify.
type restoreVerb struct {
	from, at, data, config, witness string
	identity, passphrase            string
	asJSON                          bool
	stdin                           io.Reader
	stdout, stderr                  io.Writer
}

func (v *restoreVerb) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.at, "at", "", "name of the backup in the directory (default: the newest)")
	f.StringVar(&v.identity, "identity", "", "file with an identity of age that opens the secret part")
	f.StringVar(&v.passphrase, "passphrase-file", "", "file with the passphrase that opens the secret part")
	cmd.MarkFlagsMutuallyExclusive("identity", "passphrase-file")
}

func newRestoreCmd() *cobra.Command {
	v := new(restoreVerb)
	cmd := &cobra.Command{
		Use:   "restore FROM --data DIR",
		Short: "Make a data directory from a backup",
		Long: `Make a data directory from a backup: a directory of backups, a file with one, or -
for standard input. The data directory must be empty or not exist.

The index, the statistics and the scores are computed from the log at the next start.
Ranks, times of receipt, trades and preimages are those of the backup. Keys and the
config that were outside of the data directory are put into DIR/restored.

A restored escrow is a copy. At its start it looks up every open hash at the Lightning
node before it reads a message. The backup is compared with the witness file, if
--witness or the config names it or it is at its usual place: a backup older than the
witness is reported, and the trades of the time between are not in it.

Exit code 0: the data directory is complete. Any other: it was not restored, and
nothing is left of the attempt.`,
		Example: `  mostrodex restore /backup/mostrodex --data /var/lib/mostrodex/data --identity key.txt -c /etc/mostrodex/mostrodex.toml
  mostrodex restore /backup/mostrodex --at 20261201T040000Z --data ./data --passphrase-file pass.txt
  ssh other cat mostrodex.tar | mostrodex restore - --data ./data --identity key.txt`,
		Args: exactly(1, "a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.from, v.stdin, v.stdout, v.stderr = args[0], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return v.restore(cmd.Context())
		},
	}
	v.flags(cmd)
	cmd.Flags().StringVar(&v.data, "data", "", "data directory to make")
	cmd.Flags().StringVarP(&v.config, "config", "c", "", "config file, which may name the witness")
	cmd.Flags().StringVar(&v.witness, "witness", "", "witness file of the escrow")
	markRequired(cmd, "data")
	return cmd
}

func newBackupVerifyCmd() *cobra.Command {
	v := new(restoreVerb)
	cmd := &cobra.Command{
		Use:   "verify FROM",
		Short: "Check that a backup is complete and as it was written",
		Long: `Check that a backup is complete and as it was written: the SHA-256 of every part,
every record of the log, and the derived keys. With --identity or --passphrase-file
the secret part is opened and checked too. Exit code 1 if the backup is not sound.`,
		Example: `  mostrodex backup verify /backup/mostrodex --identity key.txt
  mostrodex backup verify mostrodex.tar --passphrase-file pass.txt --json`,
		Args: exactly(1, "a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.from, v.stdin, v.stdout, v.stderr = args[0], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return v.verify(cmd.Context())
		},
	}
	v.flags(cmd)
	cmd.Flags().BoolVar(&v.asJSON, "json", false, "print JSON")
	return cmd
}

func (v *restoreVerb) identities() ([]age.Identity, error) {
	switch {
	case v.identity != "":
		text, err := readSecret(v.identity)
		if err != nil {
			return nil, err
		}
		list, err := backup.Identities(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.identity, err)
		}
		return list, nil
	case v.passphrase != "":
		passphrase, err := passphraseOf(v.passphrase)
		if err != nil {
			return nil, err
		}
		one, err := backup.PassphraseIdentity(passphrase)
		return []age.Identity{one}, err
	}
	return nil, nil
}

// content takes the parts of a backup.
type content interface {
	span(s recordlog.Span, r io.Reader) error
	store(name string, r io.Reader) error // partKeys, partEscrow or partAlerts
	file(name string, r io.Reader) error
}

// opened is the result of reading a backup.
type opened struct {
	*backup.Manifest
	name   string // in a directory of backups
	spans  []recordlog.Span
	secret bool // the backup has a secret part
	parts  map[string]bool
}

// open reads a backup into c. If the secret part cannot be opened because no identity is
// named, and mayLack is set, it is left out.
func (v *restoreVerb) open(ctx context.Context, with []age.Identity, mayLack bool, c content) (*opened, error) {
	o := &opened{parts: make(map[string]bool)}
	var take func(inSecret bool) func(name string, r io.Reader) error
	take = func(inSecret bool) func(name string, r io.Reader) error {
		return func(name string, r io.Reader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			span, isSpan := parseSpanName(name)
			switch {
			case o.parts[name]:
				return fmt.Errorf("%w: it has %s twice", backup.ErrArchive, name)
			case isSecretPart(name) != inSecret:
				return fmt.Errorf("%w: %s at the wrong place", backup.ErrArchive, name)
			case isSpan:
				o.spans = append(o.spans, span)
				return c.span(span, r)
			}
			o.parts[name] = true
			switch {
			case name == partKeys || name == partEscrow || name == partAlerts:
				return c.store(name, r)
			case name == partRules || isSecretPart(name):
				return c.file(name, r)
			case name == backup.SecretName && !inSecret:
				o.secret = true
				if len(with) == 0 && mayLack {
					return nil
				}
				plain, err := backup.Decrypt(r, with)
				if err != nil {
					return err
				}
				return eachPart(plain, take(true))
			}
			return fmt.Errorf("%w: %.40q is not a part of a backup", backup.ErrArchive, name)
		}
	}
	var err error
	if o.Manifest, o.name, err = backup.Read(v.from, v.at, v.stdin, take(false)); err != nil {
		return nil, err
	}
	if !o.parts[partKeys] {
		return nil, fmt.Errorf("%w: %s is missing", backup.ErrArchive, partKeys)
	}
	return o, checkSpans(o.spans, o.Head)
}

// eachPart calls fn for each part of the secret part, and reads it to its end, so that age has
// checked every byte.
func eachPart(plain io.Reader, fn func(name string, r io.Reader) error) error {
	for in := backup.NewReceiver(plain); ; {
		name, part, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, plain)
			return err
		}
		if err == nil {
			err = fn(name, part)
		}
		if err != nil {
			return err
		}
	}
}

// checkSpans returns an error if spans are not the whole log up to head.
func checkSpans(spans []recordlog.Span, head uint64) error {
	slices.SortFunc(spans, func(a, b recordlog.Span) int { return int(int64(a.From) - int64(b.From)) })
	next := recordlog.Span{First: 1, From: 1}
	for _, s := range spans {
		sameFile := s.First == next.First && s.At == next.At
		newFile := s.First == next.From && s.At == 0
		if s.From != next.From || !sameFile && !newFile {
			return fmt.Errorf("%w: the entries from %d on are missing", backup.ErrArchive, next.From)
		}
		next = recordlog.Span{First: s.First, From: s.To + 1, At: s.End}
	}
	if next.From != head+1 {
		return fmt.Errorf("%w: the entries from %d to %d are missing", backup.ErrArchive, next.From, head)
	}
	return nil
}

// verify checks a backup without writing it anywhere.
func (v *restoreVerb) verify(ctx context.Context) error {
	with, err := v.identities()
	if err != nil {
		return err
	}
	c := &checking{}
	o, err := v.open(ctx, with, true, c)
	if err != nil {
		return v.explain(err)
	}
	following := uint64(0)
	if o.Escrow != nil && o.name != "" && len(with) > 0 {
		last, missing, err := backup.Following(v.from, o.name, with, o.Escrow.Commits, func(commit backup.Commit) error {
			_, err := decodeCommit(commit)
			return err
		})
		if err == nil && missing != 0 {
			err = fmt.Errorf("%w: commit %d of the escrow is missing", backup.ErrArchive, missing)
		}
		if err != nil {
			return v.explain(err)
		}
		following = last - o.Escrow.Commits
	}
	switch {
	case v.asJSON:
		err = printJSON(v.stdout, map[string]any{"id": o.ID(), "at": o.At, "entries": o.Head, "damaged_entries": c.damaged, "escrow": o.Escrow, "commits_following": following, "secret_checked": o.secret && len(with) > 0})
	default:
		fmt.Fprintf(v.stdout, "%s\n", describe(o.Manifest))
		if following > 0 {
			fmt.Fprintf(v.stdout, "%d commits of the escrow follow it\n", following)
		}
		if o.secret && len(with) == 0 {
			fmt.Fprintln(v.stdout, "the secret part was not opened: name its --identity or --passphrase-file")
		}
		if c.damaged > 0 {
			fmt.Fprintf(v.stdout, "%d entries were damaged when the backup was made: run 'mostrodex log verify' on the data directory\n", c.damaged)
		}
		_, err = fmt.Fprintln(v.stdout, "sound")
	}
	return err
}

// maxSpan bounds the length of a span: a file of the log and one group of the committer.
const maxSpan = 256 << 20

// checking is the content of a backup that is only checked.
type checking struct{ damaged int }

func (c *checking) span(s recordlog.Span, r io.Reader) error {
	if s.End-s.At > maxSpan {
		return fmt.Errorf("%w: entries %d to %d have %d bytes", backup.ErrArchive, s.From, s.To, s.End-s.At)
	}
	b, err := io.ReadAll(io.LimitReader(r, s.End-s.At+1))
	if err != nil {
		return err
	}
	n, damaged, err := s.Count(b)
	if err == nil && (n != s.To-s.From+1 || int64(len(b)) != s.End-s.At) {
		err = fmt.Errorf("%d records in %d bytes", n, len(b))
	}
	if err != nil {
		return fmt.Errorf("%w: entries %d to %d: %w", backup.ErrArchive, s.From, s.To, err)
	}
	c.damaged += damaged
	return nil
}

func (c *checking) store(_ string, r io.Reader) error {
	_, err := badgerfiles.EachOfDump(r, func(_, _ []byte) error { return nil })
	return err
}

func (c *checking) file(string, io.Reader) error { return nil }

// explain adds to an error what the operator can do.
func (v *restoreVerb) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("nothing was restored: %w: free some disk space, then run restore again", err)
	case errors.Is(err, backup.ErrNoIdentity) && v.identity == "" && v.passphrase == "":
		return errors.New("the backup has an escrow or keys: name --identity or --passphrase-file")
	case errors.Is(err, backup.ErrArchive), errors.Is(err, badgerfiles.ErrDump):
		return fmt.Errorf("%w: use an earlier backup (--at) or another copy of this one", err)
	}
	return err
}

// restore makes a data directory.
func (v *restoreVerb) restore(ctx context.Context) error {
	with, err := v.identities()
	if err != nil {
		return err
	}
	dir, err := openRestore(v.data)
	if err != nil {
		return err
	}
	o, err := v.fill(ctx, with, dir)
	if err == nil {
		err = dir.finish()
	}
	if err != nil {
		return v.explain(errors.Join(err, dir.abandon()))
	}
	fmt.Fprintf(v.stdout, "%s\nrestored into %s\n", describe(o.Manifest), v.data)
	for _, name := range slices.Sorted(maps.Keys(dir.outside)) {
		fmt.Fprintf(v.stdout, "%s was at %s: put it there if it is missing\n", filepath.Join(v.data, restoredDir, name), dir.outside[name])
	}
	return nil
}

// fill writes the content of the backup and checks it.
func (v *restoreVerb) fill(ctx context.Context, with []age.Identity, dir *restoring) (*opened, error) {
	o, err := v.open(ctx, with, false, dir)
	if err != nil {
		return nil, err
	}
	if o.parts[partEscrow] {
		commits, err := v.fillEscrow(o, with)
		if err != nil {
			return nil, err
		}
		o.Escrow.Commits = commits
		if err := v.compareWitness(o.Escrow); err != nil {
			return nil, err
		}
	}
	// The store repairs what a copy of a running one has left to repair.
	with2 := ambient{logger: slog.New(slog.NewTextHandler(v.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), registry: prometheus.NewRegistry(), now: time.Now}
	st, err := eventlog.Open(eventlog.Config{Dir: v.data, Bulk: true, DiskReserve: -1, Logger: with2.logger, Metrics: with2.registry})
	if err != nil {
		return nil, err
	}
	head := st.Head()
	if err := st.Close(); err != nil {
		return nil, err
	}
	if head != o.Head {
		return nil, fmt.Errorf("%w: the log has %d entries, and the backup says %d", backup.ErrArchive, head, o.Head)
	}
	return o, nil
}

// fillEscrow writes the commits that follow the backup, and returns the number of all commits.
func (v *restoreVerb) fillEscrow(o *opened, with []age.Identity) (uint64, error) {
	if o.Escrow == nil {
		return 0, fmt.Errorf("%w: its manifest has no escrow", backup.ErrArchive)
	}
	dir := filepath.Join(v.data, "escrow")
	db, err := escrow.OpenDB(dir)
	if err != nil {
		return 0, err
	}
	head, err := db.Head()
	if err == nil && head.Commits != o.Escrow.Commits {
		err = fmt.Errorf("%w: the escrow has %d commits, and the manifest says %d", backup.ErrArchive, head.Commits, o.Escrow.Commits)
	}
	last := head.Commits
	if err == nil && o.name != "" {
		var missing uint64
		last, missing, err = backup.Following(v.from, o.name, with, head.Commits, func(commit backup.Commit) error {
			c, err := decodeCommit(commit)
			if err != nil {
				return err
			}
			return db.Commit(c)
		})
		if missing != 0 {
			fmt.Fprintf(v.stderr, "commit %d of the escrow is missing in the backup: the later ones were not used\n", missing)
		}
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return 0, err
	}
	return last, os.WriteFile(filepath.Join(dir, copiedFile), []byte("This store was restored from a backup. The escrow looks up every open hash at its next start.\n"), 0o600)
}

// compareWitness says whether the store of the escrow that ran here was newer than the backup.
func (v *restoreVerb) compareWitness(e *backup.Escrow) error {
	cfg := defaultConfig()
	if v.config != "" {
		var err error
		if cfg, err = loadConfig(v.config, os.Environ()); err != nil {
			return err
		}
	}
	path, err := v.witness, error(nil)
	if path == "" {
		if e.Pubkey == "" && cfg.Escrow.Witness == "" {
			e.Pubkey = v.restoredPubkey(&cfg)
		}
		if path, err = cfg.Escrow.witnessFile(e.Pubkey, os.Getenv); err != nil {
			return err
		}
	}
	commits, known, err := rollback.Guard{Path: path}.Load()
	switch {
	case err != nil:
		return err
	case !known:
		fmt.Fprintf(v.stderr, "no witness file at %s: whether the backup is older than the last commit of the escrow is not known\n", path)
	case commits > e.Commits:
		fmt.Fprintf(v.stderr, "the backup is OLDER than the escrow that ran here: it has %d commits, and the witness %s has seen %d. Trades of the time between are not in it. "+
			"If the newer store still exists anywhere, restore that one. Otherwise start with the Lightning node running: every open hash is looked up first\n", e.Commits, path, commits)
	default:
		fmt.Fprintf(v.stderr, "the backup has every commit of the escrow that the witness %s has seen\n", path)
	}
	return nil
}

// restoredPubkey returns the public key of the escrow's restored key, or "".
func (v *restoreVerb) restoredPubkey(cfg *Config) string {
	for _, path := range []string{filepath.Join(v.data, restoredDir, "escrow.key"), filepath.Join(v.data, "keys", filepath.Base(cfg.Escrow.Key))} {
		var keys *envelope.Keys
		if keys, _ = loadKeys(path); keys != nil {
			return keys.Pubkey()
		}
	}
	return ""
}

// restoring is a data directory that is being made.
type restoring struct {
	data    string
	made    bool     // restore has created the directory
	mark    *os.File // unfinishedFile, locked
	outside map[string]string
}

// openRestore prepares an empty data directory. It removes what an interrupted restore has left.
func openRestore(data string) (*restoring, error) {
	d := &restoring{data: data}
	entries, err := os.ReadDir(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.made = true
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	left := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == unfinishedFile })
	for _, e := range entries {
		if e.Name() != "lost+found" && e.Name() != unfinishedFile && !(left && slices.Contains(restorable, e.Name())) {
			return nil, fmt.Errorf("%s is not empty (it has %s): name an empty directory, or move the present data away first", data, e.Name())
		}
	}
	if d.mark, err = os.OpenFile(filepath.Join(data, unfinishedFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := backup.Lock(d.mark); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", data, errRestoring), d.mark.Close())
	}
	if err := errors.Join(d.remove(), backup.SyncDir(data)); err != nil {
		return nil, errors.Join(err, d.mark.Close())
	}
	return d, nil
}

func (d *restoring) remove() error {
	for _, name := range restorable {
		if err := os.RemoveAll(filepath.Join(d.data, name)); err != nil {
			return err
		}
	}
	return nil
}

// abandon removes what was restored.
func (d *restoring) abandon() error {
	err := d.remove()
	if err == nil {
		err = os.Remove(d.mark.Name())
	}
	if err == nil && d.made {
		err = os.Remove(d.data)
	}
	return errors.Join(err, d.mark.Close())
}

// finish makes everything durable, and then makes the directory usable.
func (d *restoring) finish() error {
	err := filepath.WalkDir(d.data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		return backup.SyncDir(path)
	})
	if err == nil {
		err = os.Remove(d.mark.Name())
	}
	if err == nil {
		err = errors.Join(backup.SyncDir(d.data), backup.SyncDir(filepath.Dir(filepath.Clean(d.data))))
	}
	if err != nil {
		return err
	}
	return d.mark.Close()
}

func (d *restoring) span(s recordlog.Span, r io.Reader) error {
	dir := eventlog.LogDir(d.data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, recordlog.FileName(s.First, ".log")), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.NewOffsetWriter(f, s.At), io.LimitReader(r, s.End-s.At))
	if err == nil && n != s.End-s.At {
		err = fmt.Errorf("%w: entries %d to %d have %d bytes", backup.ErrArchive, s.From, s.To, n)
	}
	return errors.Join(err, f.Close())
}

func (d *restoring) store(name string, r io.Reader) error {
	dir := eventlog.KeysDir(d.data)
	if name != partKeys {
		dir = filepath.Join(d.data, strings.TrimSuffix(name, ".store"))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, err := badgerfiles.Load(dir, r)
	return err
}

// maxFile bounds a key, the config and the rules of the relay.
const maxFile = 16 << 20

func (d *restoring) file(name string, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%w: %s is too long", backup.ErrArchive, name)
	}
	if err != nil {
		return err
	}
	to := filepath.Join(d.data, name) // of keys/ and of the rules
	switch {
	case name == partOutside:
		if json.Unmarshal(b, &d.outside) != nil {
			return fmt.Errorf("%w: %s is not legible", backup.ErrArchive, name)
		}
		return nil
	case strings.HasPrefix(name, dirOutside):
		to = filepath.Join(d.data, restoredDir, strings.TrimPrefix(name, dirOutside))
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
