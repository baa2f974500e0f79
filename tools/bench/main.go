// Command bench measures Mostrodex beside a stock khatru relay, a floor of
// canned answers and the limit that signature checking sets, all in the same
// run, and writes what it saw to a file of JSON lines. `bench report` makes
// docs/performance.md of that file.
//
// Servers and generator are separate processes on one machine. Every answer
// is compared with an oracle that shares nothing with the servers.
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
  signatures  what signature checking alone reaches
  durable     system calls that sync, per acknowledged event (needs strace)
  ingest      the load over eight websockets, and the state afterwards
  query       the filters that clients send, one by one
  count       COUNT
  import      mostrodex import of a file
  memory      RssAnon with the book of a million orders, and the time to start
  search      NIP-50 and GET /api/v1/orders with that book
  lag         how soon a new order is in the book and in the text index
  burst       the same after a burst of the whole load
  reputation  all scores of a million events anew, and one new event
  all         everything, in this order

  corpora     only sign what the scenarios need, into the cache
`

// bench is one run.
type bench struct {
	*record.Journal
	cache string // corpora
	work  string // data directories of this run
	keep  bool

	mostrodex, stock, canned string // binaries
	reputationTest           string // the room's test binary

	slice   time.Duration // of one closed loop
	tries   int           // how often a disturbed measurement is made
	skip    string        // subjects left out, by name
	now     time.Time
	load    *oracle           // of the load, once it was read
	filled  map[string]string // subject: its data directory with the load
	bigMade bool              // the big book was imported in this run
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
	scale := flag.Float64("scale", 1, "part of the full size; targets hold at 1")
	results := flag.String("results", "results.jsonl", "file that results are appended to and reported from")
	flag.StringVar(&b.cache, "cache", filepath.Join(cacheDir, "mostrodex", "bench"), "directory of signed corpora")
	flag.StringVar(&b.work, "work", "", "directory for data (default: a temporary one)")
	flag.BoolVar(&b.keep, "keep", false, "keep the data, and use what an earlier run with the same -work kept")
	flag.StringVar(&b.mostrodex, "mostrodex", "../../bin/mostrodex", "binary to measure")
	flag.StringVar(&b.stock, "stock", "bin/stock", "binary of the stock relay")
	flag.StringVar(&b.canned, "canned", "bin/canned", "binary of the floor")
	flag.StringVar(&b.reputationTest, "reputation", "bin/reputation.test", "test binary of the reputation room")
	flag.DurationVar(&b.slice, "slice", 700*time.Millisecond, "length of one closed loop; each row takes about fourteen")
	flag.IntVar(&b.tries, "tries", 3, "how often a measurement disturbed by other processes is made")
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
		return fmt.Errorf("-scale %g is not above 0 and at most 1", *scale)
	}
	if !hasTag("libsecp256k1") {
		return errors.New("build with -tags libsecp256k1: the signature limit would be that of pure Go")
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
		// One that fails does not take the others with it.
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

// scaled is a full size at this run's scale.
func (b *bench) scaled(n int) int { return max(1, int(float64(n)*b.Scale)) }

func (b *bench) skips(subject string) bool {
	return slices.Contains(strings.Split(b.skip, ","), subject)
}

// hasTag says whether this program was built with a tag.
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

// sample is a result that may yet be thrown away.
type sample struct {
	result
	usage
}

// disturbedAbove is the part of the machine that others may use before a
// measurement is made again.
const disturbedAbove = 0.10

func (s sample) disturbance() float64 {
	if s.usage.Wall == 0 {
		return 0
	}
	return s.usage.Noise / s.usage.Wall / float64(runtime.NumCPU())
}

// undisturbed makes a measurement up to b.tries times, until nobody else used
// the machine much, and writes down the least disturbed.
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
			fmt.Fprintf(os.Stderr, "disturbed: others used %.0f%% of the machine; again\n", 100*worst)
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

// serve starts a subject: mostrodex as it is run, relay (mostrodex without its
// book, text index and reputation, which the stock relay has nothing like), or
// stock.
func (b *bench) serve(ctx context.Context, subject, dir string) (*server, error) {
	switch subject {
	case "stock":
		return b.serveStock(ctx, dir)
	case "relay":
		return b.serveWith(ctx, "relay", dir, "MOSTRODEX_INDEXER_ENABLED=false", "MOSTRODEX_REPUTATION_ENABLED=false")
	}
	return b.serveMostrodex(ctx, dir)
}

// theLoad reads the load and its oracle, once a run.
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

// corpora signs ahead of time what all scenarios need.
func (b *bench) corpora(ctx context.Context) error {
	_, err1 := loadFile(ctx, b.cache, 1, b.scaled(loadEvents), b.now)
	_, err2 := loadFile(ctx, b.cache, 3, b.scaled(importEvents), b.now)
	_, err3 := bookFile(ctx, b.cache, b.scaled(bookOrders), b.now)
	return errors.Join(err1, err2, err3)
}
