// Command bench measures Mostrodex, a stock khatru relay, a floor of prepared answers
// and the limit of signature checking in the same run. It appends the results to a file
// of JSON lines. `bench report` writes docs/performance.md from that file.
//
// The servers and the generator are separate processes on one machine. Every answer is
// compared with an oracle that shares no code with the servers. If a scenario fails,
// the exit code is 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

const usageText = `usage: bench [flags] SCENARIO...
       bench [flags] report > docs/performance.md

Scenarios:
  signatures  signature checking alone
  durable     sync system calls per acknowledged event (needs strace)
  ingest      the load over eight websockets, and the events afterwards
  query       the filters of real clients, one by one
  count       COUNT
  import      mostrodex import of a file
  memory      RssAnon with the book of a million orders, and the start time
  search      NIP-50 and GET /api/v1/orders with that book
  lag         time until a new order is in the book and in the text index
  burst       the same after a burst of the whole load
  reputation  all scores of a million events, and one new event
  trades      complete trades a second over the sockets of a demo
  decisions   decisions a second of the escrow's engine
  lnd         trades on real Lightning nodes beside the bare calls (needs make lnd)
  market      statistics, lists with prices, the stream and the rebuild
  backup      a backup of a million events beside clients, the restore, and --follow
  all         all scenarios, in this order

  corpora     only sign the events of the scenarios, into the cache
`

// bench is one run.
type bench struct {
	*record.Journal
	cache string // directory of corpora
	work  string // data directories of this run
	keep  bool

	mostrodex, stock, canned string // paths of binaries
	reputationTest           string // test binary of package reputation
	escrowTest               string // test binary of package escrow
	statsTest                string // test binary of package indexer/stats

	slice   time.Duration // duration of one closed loop
	tries   int           // maximum number of tries of a disturbed measurement
	skip    string        // names of subjects to leave out, separated by commas
	now     time.Time
	load    *oracle           // oracle of the load, nil until it is read
	filled  map[string]string // subject -> its data directory with the load
	bigMade bool              // set if this run has imported the book
}

var scenarios = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"signatures", (*bench).signatures},
	{"durable", (*bench).durable},
	{"ingest", (*bench).ingest},
	{"query", (*bench).query},
	{"count", (*bench).count},
	{"import", (*bench).importing},
	{"memory", (*bench).memory},
	{"search", (*bench).search},
	{"lag", (*bench).lag},
	{"burst", (*bench).burst},
	{"reputation", (*bench).reputation},
	{"trades", (*bench).trades},
	{"decisions", (*bench).decisions},
	{"lnd", (*bench).lnd},
	{"market", (*bench).market},
	{"backup", (*bench).backup},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cacheDir, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	b := &bench{now: time.Now(), filled: make(map[string]string)}
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usageText+"\nFlags:\n")
		flag.PrintDefaults()
	}
	scale := flag.Float64("scale", 1, "fraction of the full size; targets apply at 1")
	results := flag.String("results", "results.jsonl", "file to which results are appended and from which the report is written")
	flag.StringVar(&b.cache, "cache", filepath.Join(cacheDir, "mostrodex", "bench"), "directory of signed corpora")
	flag.StringVar(&b.work, "work", "", "directory for data (default: a temporary one)")
	flag.BoolVar(&b.keep, "keep", false, "keep the data, and reuse the data of an earlier run with the same -work")
	flag.StringVar(&b.mostrodex, "mostrodex", "../../bin/mostrodex", "binary to measure")
	flag.StringVar(&b.stock, "stock", "bin/stock", "binary of the stock relay")
	flag.StringVar(&b.canned, "canned", "bin/canned", "binary of the floor")
	flag.StringVar(&b.reputationTest, "reputation", "bin/reputation.test", "test binary of package reputation")
	flag.StringVar(&b.escrowTest, "escrow", "bin/escrow.test", "test binary of package escrow")
	flag.StringVar(&b.statsTest, "stats", "bin/stats.test", "test binary of package indexer/stats")
	flag.DurationVar(&b.slice, "slice", 700*time.Millisecond, "duration of one closed loop; each row takes about fourteen")
	flag.IntVar(&b.tries, "tries", 3, "maximum tries of a measurement that other processes disturb")
	flag.StringVar(&b.skip, "skip", "", "subjects to leave out, e.g. stock")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return errors.New("no scenario")
	}
	if flag.Arg(0) == "report" {
		f, err := os.Open(*results)
		if err != nil {
			return err
		}
		defer f.Close()
		all, err := record.Read(f)
		if err != nil {
			return err
		}
		return report(os.Stdout, all)
	}
	if !(*scale > 0 && *scale <= 1) {
		return fmt.Errorf("-scale is %g, want more than 0 and at most 1", *scale)
	}
	if !hasTag("libsecp256k1") {
		return errors.New("build with -tags libsecp256k1: otherwise the signature limit is that of pure Go")
	}
	if b.Journal, err = record.Open(*results, "bench", *scale); err != nil {
		return err
	}
	defer b.Close()
	if b.work == "" {
		if b.work, err = os.MkdirTemp(b.cache, "work"); errors.Is(err, os.ErrNotExist) {
			if err = os.MkdirAll(b.cache, 0o755); err == nil {
				b.work, err = os.MkdirTemp(b.cache, "work")
			}
		}
	} else {
		err = os.MkdirAll(b.work, 0o755)
	}
	if err != nil {
		return err
	}
	if !b.keep {
		defer os.RemoveAll(b.work)
	}
	wanted := flag.Args()
	switch wanted[0] {
	case "corpora":
		return b.corpora(ctx)
	case "all":
		wanted = nil
		for _, s := range scenarios {
			wanted = append(wanted, s.name)
		}
	}
	var failed []error
	for _, name := range wanted {
		i := slices.IndexFunc(scenarios, func(s struct {
			name string
			run  func(*bench, context.Context) error
		}) bool {
			return s.name == name
		})
		if i < 0 {
			return fmt.Errorf("no scenario %q", name)
		}
		// If a scenario fails, the others still run.
		if err := scenarios[i].run(b, ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// scaled returns a full size at this run's scale, at least 1.
func (b *bench) scaled(n int) int { return max(1, int(float64(n)*b.Scale)) }

func (b *bench) skips(subject string) bool {
	return slices.Contains(strings.Split(b.skip, ","), subject)
}

// hasTag reports whether this program was built with a tag.
func hasTag(tag string) bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" && slices.Contains(strings.Split(s.Value, ","), tag) {
			return true
		}
	}
	return false
}

type result = record.Result

// sample is a result that undisturbed may discard.
type sample struct {
	result
	usage
}

// disturbedAbove is the fraction of the machine's CPU that other processes may use. If
// they use more, the measurement is repeated.
const disturbedAbove = 0.10

func (s sample) disturbance() float64 {
	if s.usage.Wall == 0 {
		return 0
	}
	return s.usage.Noise / s.usage.Wall / float64(runtime.NumCPU())
}

// undisturbed makes a measurement up to b.tries times, until other processes use little
// of the machine, and records the least disturbed one.
func (b *bench) undisturbed(ctx context.Context, measure func() ([]sample, error)) error {
	var best []sample
	least := 0.0
	for try := range b.tries {
		got, err := measure()
		if err != nil {
			return err
		}
		worst := 0.0
		for _, s := range got {
			worst = max(worst, s.disturbance())
		}
		if best == nil || worst < least {
			best, least = got, worst
		}
		if least <= disturbedAbove || ctx.Err() != nil {
			break
		}
		if try+1 < b.tries {
			fmt.Fprintf(os.Stderr, "disturbed: other processes used %.0f%% of the machine; measuring again\n", 100*worst)
		}
	}
	for _, s := range best {
		if err := b.Add(s.result, s.usage.record()); err != nil {
			return err
		}
	}
	return nil
}

// serveMostrodex starts the relay under test on a data directory.
func (b *bench) serveMostrodex(ctx context.Context, dir string) (*server, error) {
	return b.serveWith(ctx, "mostrodex", dir)
}

func (b *bench) serveWith(ctx context.Context, name, dir string, env ...string) (*server, error) {
	return start(ctx, 10*time.Minute, name, env, b.mostrodex, "serve", "--upstream", "none", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", dir)
}

func (b *bench) serveStock(ctx context.Context, dir string) (*server, error) {
	return start(ctx, 10*time.Minute, "stock", nil, b.stock, "-listen", "127.0.0.1:0", "-data", dir)
}

// serve starts a subject: mostrodex (the whole program), relay (mostrodex without book,
// text index and reputation, which the stock relay does not have), or stock.
func (b *bench) serve(ctx context.Context, subject, dir string) (*server, error) {
	switch subject {
	case "stock":
		return b.serveStock(ctx, dir)
	case "relay":
		return b.serveWith(ctx, "relay", dir, "MOSTRODEX_INDEXER_ENABLED=false", "MOSTRODEX_REPUTATION_ENABLED=false")
	}
	return b.serveMostrodex(ctx, dir)
}

// theLoad returns the oracle of the load. It reads the load once per run.
func (b *bench) theLoad(ctx context.Context) (*oracle, error) {
	if b.load != nil {
		return b.load, nil
	}
	path, err := loadFile(ctx, b.cache, 1, b.scaled(loadEvents), b.now)
	if err != nil {
		return nil, err
	}
	events, raw, err := readEvents(path, 0)
	if err != nil {
		return nil, err
	}
	b.load = newOracle(events, raw)
	return b.load, nil
}

// corpora signs the events of all scenarios in advance.
func (b *bench) corpora(ctx context.Context) error {
	_, err1 := loadFile(ctx, b.cache, 1, b.scaled(loadEvents), b.now)
	_, err2 := loadFile(ctx, b.cache, 3, b.scaled(importEvents), b.now)
	_, err3 := bookFile(ctx, b.cache, b.scaled(bookOrders), b.now)
	return errors.Join(err1, err2, err3)
}
