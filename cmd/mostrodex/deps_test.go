package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mostrodex/mostrodex"

// listed is the output of go list about a package.
type listed struct {
	ImportPath, Dir, Name string
	Export                string // file of its export data, if -export is set
	GoFiles, CgoFiles     []string
	Imports               []string
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Name,Export,GoFiles,CgoFiles,Imports"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// nounLayers are the packages of mostro. Each imports only packages before it.
var nounLayers = []string{"mostro", "mostro/message", "mostro/envelope", "mostro/attestation", "mostro/receipt"}

// nounTools are the packages of internal that mostro may import.
var nounTools = []string{"internal/cache", "internal/hex32", "internal/jsonscan", "internal/jsontext"}

// testPackages are imported by tests and by each other only.
var testPackages = []string{"internal/testkit", "internal/powercut", "internal/reference", "reputation/score/scoretest", "relay/relaytest"}

// TestFuzzCoversTargets checks that `make fuzz` runs each package that has a fuzz target.
func TestFuzzCoversTargets(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^FUZZPKGS = (.*)$`).FindSubmatch(text)
	if line == nil {
		t.Fatal("the Makefile has no FUZZPKGS")
	}
	fuzzed := strings.Fields(string(line[1]))
	for _, p := range goList(t, "./...") {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			path := "./" + strings.TrimPrefix(p.ImportPath, module+"/")
			if bytes.Contains(src, []byte("\nfunc Fuzz")) && !slices.Contains(fuzzed, path) {
				t.Errorf("%s has a fuzz target, but FUZZPKGS of the Makefile does not name %s", filepath.Base(name), path)
			}
		}
	}
}

// TestRaceCoversGoroutines checks that `make race` tests each package whose code starts a
// goroutine or has a lock.
func TestRaceCoversGoroutines(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^RACEPKGS = (.*)$`).FindSubmatch(text)
	if line == nil {
		t.Fatal("the Makefile has no RACEPKGS")
	}
	raced := map[string]bool{}
	for _, p := range goList(t, strings.Fields(string(line[1]))...) {
		raced[strings.TrimPrefix(p.ImportPath, module+"/")] = true
	}
	except := append([]string{
		"cmd/mostrodex",                       // go-nostr's client races with itself
		"escrow/lncontract", "escrow/lndtest", // for tests
		"mostro/corpus",                       // the tests of relay use it
		"reputation/simulate", "tools/attack", // programs for measurements
	}, testPackages...)
	concurrent := regexp.MustCompile(`(?m)^\s*go (func\b|[\w.]+\()|\.Go\(|\bsync\.(RW)?Mutex|\batomic\.`)
	for _, p := range goList(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if at := concurrent.Find(src); at != nil && !raced[path] && !slices.Contains(except, path) {
				t.Errorf("%s: %s has %q, but RACEPKGS of the Makefile does not name the package", path, name, strings.TrimSpace(string(at)))
				break
			}
		}
	}
}

// TestImportRules checks the code against the picture in docs/architecture.md:
//
//	cmd/mostrodex -> relay indexer reputation escrow -> mostro -> go-nostr, stdlib
//	mostro/receipt mostro/attestation -> mostro/envelope -> mostro/message -> mostro
//	relay/federation -> relay -> relay/eventlog -> relay/eventlog/liveindex relay/eventlog/recordlog
//	anyone -> internal
//	reputation -> reputation/score   escrow -> escrow/trade escrow/lnurl   escrow/ledger escrow/price escrow/users escrow/payoutgate escrow/disputes escrow/health escrow/rating escrow/devfee escrow/lightning -> escrow/trade
//	escrow -> escrow/effect -> escrow/fund -> escrow/devfee escrow/lnurl
//	escrow/effect -> escrow/payoutgate   escrow -> escrow/rollback   escrow -> escrow/nodecard -> escrow/health escrow/lightning
//	indexer/web -> indexer -> indexer/livebook -> indexer/orders indexer/sorted
//	indexer -> indexer/names indexer/orders -> indexer/words
//	indexer/web/downloads -> indexer/partitions -> indexer/export -> indexer/orders indexer/stats
func TestImportRules(t *testing.T) {
	rooms := []string{"relay", "indexer", "reputation", "escrow"}
	for _, p := range goList(t, "./...") {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		room, _, _ := strings.Cut(path, "/")
		for _, drawer := range []string{"util", "utils", "common", "helpers", "types", "models"} {
			if p.Name == drawer {
				t.Errorf("%s: the package name %s says nothing about its purpose", path, drawer)
			}
		}
		for _, imp := range p.Imports {
			if inner, ok := strings.CutPrefix(imp, module+"/"); ok {
				other, _, _ := strings.Cut(inner, "/")
				switch {
				case slices.Contains(testPackages, inner) && !slices.Contains(testPackages, path):
					t.Errorf("%s imports %s, which is for tests", path, inner)
				case slices.Contains(nounLayers, path) && other == "mostro" && slices.Index(nounLayers, inner) >= slices.Index(nounLayers, path),
					slices.Contains(nounLayers, path) && other == "mostro" && !slices.Contains(nounLayers, inner):
					t.Errorf("%s imports %s: the order is %s", path, inner, strings.Join(nounLayers, ", "))
				case room == "mostro" && other == "internal" && !slices.Contains(nounTools, inner):
					t.Errorf("%s imports %s: of internal, mostro may import only %s", path, inner, strings.Join(nounTools, ", "))
				case path == "relay/eventlog" && other == "relay" && !strings.HasPrefix(inner, path+"/"), strings.HasPrefix(path, "relay/eventlog/") && other == "relay",
					path == "reputation/score" && other == "reputation", path == "escrow/trade" && other == "escrow", path == "escrow/lnurl" && other == "escrow",
					(path == "escrow/ledger" || path == "escrow/price" || path == "escrow/users" || path == "escrow/payoutgate" || path == "escrow/health" || path == "escrow/disputes" || path == "escrow/rating" || path == "escrow/devfee" || path == "escrow/lightning") && other == "escrow" && inner != "escrow/trade",
					path == "escrow/fund" && inner == "escrow",
					path == "escrow/effect" && other == "escrow" && !slices.Contains([]string{"escrow/trade", "escrow/lightning", "escrow/lnurl", "escrow/devfee", "escrow/fund", "escrow/payoutgate"}, inner),
					path == "escrow/rollback" && other == "escrow",
					path == "escrow/nodecard" && other == "escrow" && inner != "escrow/health" && inner != "escrow/lightning":
					t.Errorf("%s imports %s: the import is in the wrong direction", path, inner)
				case room == "cmd" || room == "tools" || room == other || other == "internal": // programs may join rooms
				case other == "mostro":
				case slices.Contains(rooms, room):
					t.Errorf("%s imports %s: only cmd/mostrodex may import the rooms together", path, inner)
				default:
					t.Errorf("%s imports %s", path, inner)
				}
				continue
			}
			if slices.Contains(nounLayers, path) && !mostroMayImport(path, imp) {
				t.Errorf("%s imports %s", path, imp)
			}
		}
	}
	for _, path := range nounLayers {
		if !mostroMayImport(path, "bytes") || mostroMayImport(path, "github.com/dgraph-io/badger/v4") {
			t.Errorf("%s: the list of libraries is wrong", path)
		}
	}
	if mostroMayImport("mostro", "github.com/btcsuite/btcd/btcec/v2") || !mostroMayImport("mostro/envelope", "golang.org/x/crypto/chacha20") {
		t.Error("the nouns need no crypto, the envelopes do")
	}
}

// mostroMayImport reports whether a package of nounLayers may import a package of the
// standard library or of another module. All may import go-nostr. The messages check
// public keys, the envelopes sign and encrypt, the receipts also check payments and blind
// signatures.
func mostroMayImport(path, imp string) bool {
	if !strings.Contains(imp, ".") { // the standard library
		return imp != "net/http" && imp != "os" && imp != "database/sql"
	}
	allowed := []string{"github.com/nbd-wtf/go-nostr"}
	switch path {
	case "mostro/receipt":
		allowed = append(allowed, "github.com/btcsuite/btcd/btcutil/bech32", "github.com/cloudflare/circl/blindsign/blindrsa")
		fallthrough
	case "mostro/envelope":
		allowed = append(allowed, "github.com/btcsuite/btcd/chaincfg/chainhash", "golang.org/x/crypto/chacha20")
		fallthrough
	case "mostro/message":
		allowed = append(allowed, "github.com/btcsuite/btcd/btcec/v2")
	}
	return slices.ContainsFunc(allowed, func(lib string) bool { return imp == lib || strings.HasPrefix(imp, lib+"/") })
}

// TestKeptApart lists the one file, or the rooms, that may import a library.
func TestKeptApart(t *testing.T) {
	for lib, where := range map[string][]string{
		"github.com/fiatjaf/khatru":        {"relay/khatru.go"},
		"github.com/blevesearch/bleve/v2":  {"indexer/search.go"},
		"github.com/dgraph-io/badger/v4":   {"relay/eventlog/", "indexer/", "escrow/", "internal/badgerfiles/"},
		"google.golang.org/grpc":           {"escrow/lnd/"},
		"github.com/parquet-go/parquet-go": {"indexer/partitions/parquet.go"},
		"github.com/lightningnetwork/lnd":  {"escrow/lightning/bolt11.go"},
	} {
		for file, imports := range importsByFile(t) {
			for _, imp := range imports {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.ContainsFunc(where, func(w string) bool {
					return file == w || strings.HasSuffix(w, "/") && strings.HasPrefix(file, w)
				}) {
					t.Errorf("%s imports %s, which only %s may import", file, imp, strings.Join(where, ", "))
				}
			}
		}
	}
}

// TestIndexKnowsNoHTTP: the index answers with values. What they look like over
// HTTP is the business of indexer/web.
func TestIndexKnowsNoHTTP(t *testing.T) {
	for file, imports := range importsByFile(t) {
		if !strings.HasPrefix(file, "indexer/") || strings.HasPrefix(file, "indexer/web/") {
			continue
		}
		for _, imp := range imports {
			if imp == "net/http" || imp == "html/template" || imp == module+"/internal/route" {
				t.Errorf("%s imports %s, which is for indexer/web", file, imp)
			}
		}
	}
}

// importsByFile returns the imports of every file that is not a test.
func importsByFile(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .CgoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`, module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]string{}
	for file := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.ToSlash(rel)] = parseImports(t, file)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files were found", len(files))
	}
	return files
}

func parseImports(t *testing.T, file string) (paths []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// pure are the packages whose results depend on their arguments alone.
var pure = []string{"reputation/score", "reputation/witness", "escrow/trade", "escrow/ledger", "escrow/rating", "escrow/devfee", "indexer/sorted", "indexer/stats", "indexer/names", "indexer/orders", "indexer/export", "internal/arena", "internal/plot", "internal/demomarket"}

// pureTables are packages of tables and functions without state, which a pure package may
// import as well. indexer/words embeds its table of currencies.
var pureTables = []string{module + "/indexer/words", "github.com/mtibben/confusables", "golang.org/x/text/unicode/norm"}

// These lists hold the imports that a pure package may not have, each including the packages
// below it, and the functions that a pure package may not use. log/slog may be imported for
// the interface that hides a secret from logs.
var (
	impureImports = []string{"os", "net", "log", "syscall", "io/ioutil", "plugin", "unsafe", "C", "testing", "crypto/rand", "math/rand", "embed", "expvar", "database/sql"}
	impureUses    = map[string][]string{
		"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Local", "LoadLocation"},
		"log/slog": {"Default", "SetDefault", "New", "With", "Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext",
			"Log", "LogAttrs", "NewLogLogger", "SetLogLoggerLevel"},
		// Generators of a seed are pure. The functions of the package use a generator that is not.
		"math/rand/v2": {"ExpFloat64", "Float32", "Float64", "Int", "Int32", "Int32N", "Int64", "Int64N", "IntN", "N", "NormFloat64", "Perm", "Shuffle", "Uint", "Uint32",
			"Uint32N", "Uint64", "Uint64N", "UintN"},
		"path/filepath": {"Abs", "EvalSymlinks", "Glob", "Walk", "WalkDir"},
		"context":       {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
	}
)

// TestPurePackages type-checks the pure packages and checks their imports and the functions
// they use.
func TestPurePackages(t *testing.T) {
	var paths []string
	for _, path := range pure {
		paths = append(paths, module+"/"+path)
	}
	exports, checked := map[string]string{}, 0
	list := goList(t, append([]string{"-deps", "-export"}, paths...)...)
	for _, p := range list {
		exports[p.ImportPath] = p.Export
	}
	for _, p := range list {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if !slices.Contains(pure, path) {
			continue
		}
		checked++
		for _, imp := range p.Imports {
			inner, own := strings.CutPrefix(imp, module+"/")
			room, _, _ := strings.Cut(inner, "/")
			switch {
			case slices.Contains(pureTables, imp):
			case own && room != "mostro" && room != "internal" && !slices.Contains(pure, inner):
				t.Errorf("%s imports %s: of this module a pure package may import only mostro, internal and other pure packages", path, inner)
			case !own && strings.Contains(imp, ".") && !strings.HasPrefix(imp, "github.com/nbd-wtf/go-nostr"):
				t.Errorf("%s imports %s: a pure package may import only the standard library and go-nostr", path, imp)
			case slices.ContainsFunc(impureImports, func(bad string) bool {
				return imp == bad || strings.HasPrefix(imp, bad+"/") && imp != "log/slog" && imp != "net/url" && imp != "math/rand/v2"
			}):
				t.Errorf("%s imports %s, which a pure package may not import", path, imp)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", path)
		}
		fset := token.NewFileSet()
		for id, obj := range usesOf(t, fset, p, exports) {
			if pkg := obj.Pkg(); pkg != nil && obj.Parent() == pkg.Scope() && slices.Contains(impureUses[pkg.Path()], obj.Name()) {
				t.Errorf("%s: a use of %s.%s, which a pure package may not have: times are arguments, and nothing is logged", fset.Position(id.Pos()), pkg.Path(), obj.Name())
			}
		}
	}
	if checked != len(pure) {
		t.Errorf("%d of %d pure packages were checked", checked, len(pure))
	}
}

// usesOf type-checks a package against the export data of its imports, and returns the object
// that each identifier refers to.
func usesOf(t *testing.T, fset *token.FileSet, p listed, exports map[string]string) map[*ast.Ident]types.Object {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	if _, err := conf.Check(p.ImportPath, fset, files, info); err != nil {
		t.Fatal(err)
	}
	return info.Uses
}
