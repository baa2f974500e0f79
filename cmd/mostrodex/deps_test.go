package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mostrodex/mostrodex"

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Dir, Name string
	Imports               []string
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Name,GoFiles,CgoFiles,Imports"}, args...)...)
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

// TestImportRules holds the picture of docs/architecture.md against the code:
//
//	cmd/mostrodex -> relay indexer reputation escrow -> mostro -> go-nostr, stdlib
//	relay -> relay/eventlog          anyone -> internal
func TestImportRules(t *testing.T) {
	rooms := []string{"relay", "indexer", "reputation", "escrow"}
	for _, p := range goList(t, "./...") {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		room, _, _ := strings.Cut(path, "/")
		for _, drawer := range []string{"util", "utils", "common", "helpers", "types", "models"} {
			if p.Name == drawer {
				t.Errorf("%s: a package named %s has no noun", path, drawer)
			}
		}
		for _, imp := range p.Imports {
			if inner, ok := strings.CutPrefix(imp, module+"/"); ok {
				other, _, _ := strings.Cut(inner, "/")
				switch {
				case inner == "internal/testkit":
					t.Errorf("%s imports %s, which is for tests", path, inner)
				case room == "mostro" && other == "internal" && inner != "internal/jsonscan":
					t.Errorf("%s imports %s: the nouns use internal/jsonscan alone", path, inner)
				case room == "cmd" || room == other || other == "internal":
				case other == "mostro":
				case slices.Contains(rooms, room):
					t.Errorf("%s imports %s: rooms meet in cmd/mostrodex alone", path, inner)
				default:
					t.Errorf("%s imports %s", path, inner)
				}
				continue
			}
			if room == "mostro" && path == "mostro" && !mostroMayImport(imp) {
				t.Errorf("mostro imports %s: only the standard library, go-nostr and the crypto of its key rules", imp)
			}
		}
	}
}

// mostroMayImport lists what the nouns may rest on.
func mostroMayImport(imp string) bool {
	if !strings.Contains(imp, ".") { // the standard library
		return true
	}
	for _, ok := range []string{"github.com/nbd-wtf/go-nostr", "github.com/btcsuite/btcd/btcec/v2", "github.com/btcsuite/btcd/chaincfg/chainhash",
		"github.com/btcsuite/btcd/btcutil/bech32", "github.com/cloudflare/circl/blindsign/blindrsa",
		"golang.org/x/crypto/", "golang.org/x/text/unicode/norm", "github.com/tyler-smith/go-bip39", "github.com/decred/dcrd/dcrec/secp256k1"} {
		if strings.HasPrefix(imp, ok) {
			return true
		}
	}
	return false
}

// TestKeptApart names the one file, or the rooms, that may see a library.
func TestKeptApart(t *testing.T) {
	for lib, where := range map[string][]string{
		"github.com/fiatjaf/khatru":       {"relay/khatru.go"},
		"github.com/blevesearch/bleve/v2": {"indexer/search.go"},
		"github.com/dgraph-io/badger/v4":  {"relay/eventlog/", "indexer/", "escrow/", "internal/badgerfiles/"},
		"google.golang.org/grpc":          {"escrow/lnd/"},
		"github.com/lightningnetwork/lnd": {"escrow/bolt11.go"},
	} {
		for file, imports := range importsByFile(t) {
			for _, imp := range imports {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.ContainsFunc(where, func(w string) bool {
					return file == w || strings.HasSuffix(w, "/") && strings.HasPrefix(file, w)
				}) {
					t.Errorf("%s imports %s, which is for %s", file, imp, strings.Join(where, ", "))
				}
			}
		}
	}
}

// importsByFile gives the imports of every file that is not a test.
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
		t.Fatalf("only %d files found", len(files))
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
