package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// openedWith are the packages that are opened with a Config, with the fields that every
// Config of a room has. A package without metrics or without a clock lacks the field.
var openedWith = map[string][]string{
	"relay":            {"Logger", "Metrics", "Now"},
	"relay/eventlog":   {"Logger", "Metrics", "Now"},
	"relay/federation": {"Logger", "Metrics"},
	"indexer":          {"Logger", "Metrics", "Now"},
	"indexer/web":      {"Logger", "Metrics"},
	"reputation":       {"Logger", "Metrics", "Now"},
	"escrow":           {"Logger", "Metrics", "Now"},
	"escrow/audit":     {"Logger", "Metrics", "Now"},
	"escrow/disputes":  {"Logger", "Now"},
	"escrow/price":     {"Logger", "Now"},
	"indexer/market":   {"Logger", "Now"},
}

// sharedFields are the types that every Config of internal/room holds under one name.
var sharedFields = map[string]string{
	"*log/slog.Logger": "Logger",
	"github.com/prometheus/client_golang/prometheus.Registerer": "Metrics",
	"func() time.Time": "Now",
}

// TestConfigsHaveOneShape checks the exported names of all packages of the program: the
// fields for the logger, the metrics and the clock have the names of internal/room in every
// struct, the packages of openedWith have these fields in their Config, metrics are
// registered only through a Config, and no function takes functional options.
func TestConfigsHaveOneShape(t *testing.T) {
	args := []string{"-deps", "-export"}
	if signatureCheck == "libsecp256k1" {
		args = append(args, "-tags", signatureCheck) // the build cache holds the packages of this test
	}
	exports, own := map[string]string{}, []string{}
	for _, p := range goList(t, append(args, "./cmd/mostrodex")...) {
		exports[p.ImportPath] = p.Export
		if path, ok := strings.CutPrefix(p.ImportPath, module+"/"); ok && p.Name != "main" {
			own = append(own, path)
		}
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, path := range own {
		pkg, err := imp.Import(module + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if fields, ok := openedWith[path]; ok {
			for _, fault := range configFaults(pkg.Scope().Lookup("Config"), fields) {
				t.Errorf("%s: %s", path, fault)
			}
		}
		for _, fault := range shapeFaults(pkg.Scope()) {
			t.Errorf("%s: %s", path, fault)
		}
	}
	for path := range openedWith {
		if !slices.Contains(own, path) {
			t.Errorf("there is no package %s", path)
		}
	}
}

// configFaults returns the fields that a Config lacks.
func configFaults(config types.Object, fields []string) (faults []string) {
	if config == nil {
		return []string{"there is no type Config"}
	}
	s, ok := config.Type().Underlying().(*types.Struct)
	if !ok {
		return []string{"Config is no struct"}
	}
	for typ, name := range sharedFields {
		if !slices.Contains(fields, name) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(s.Fields()), func(f *types.Var) bool { return f.Name() == name && f.Type().String() == typ }) {
			faults = append(faults, "Config has no field "+name+" "+typ)
		}
	}
	return faults
}

// shapeFaults returns the exported names of a package that break the rules of internal/room.
func shapeFaults(scope *types.Scope) (faults []string) {
	check := func(name string, sig *types.Signature) {
		for v := range sig.Params().Variables() {
			if v.Type().String() == "github.com/prometheus/client_golang/prometheus.Registerer" {
				faults = append(faults, name+" takes a Registerer: metrics are registered through Config.Metrics")
			}
		}
		if n := sig.Params().Len(); sig.Variadic() {
			if _, ok := sig.Params().At(n - 1).Type().(*types.Slice).Elem().Underlying().(*types.Signature); ok {
				faults = append(faults, name+" takes functional options: settings are fields of a struct")
			}
		}
	}
	for _, name := range scope.Names() {
		obj := scope.Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Func:
			check(name, obj.Signature())
		case *types.TypeName:
			if named, ok := obj.Type().(*types.Named); ok {
				for m := range named.Methods() {
					if m.Exported() {
						check(name+"."+m.Name(), m.Signature())
					}
				}
			}
			s, ok := obj.Type().Underlying().(*types.Struct)
			if !ok {
				continue
			}
			for f := range s.Fields() {
				if want := sharedFields[f.Type().String()]; f.Exported() && want != "" && f.Name() != want {
					faults = append(faults, name+"."+f.Name()+" is called "+want+" everywhere else")
				}
			}
		}
	}
	return faults
}

// unregistered finds metrics that are created without promauto. Such metrics have to be
// listed a second time to be registered, and a list is easily incomplete.
var unregistered = regexp.MustCompile(`prometheus\.New(Counter|Gauge|Histogram|Summary)`)

// TestLoggersAndMetricsAreMadeInOneWay: only internal/room makes the logger that discards,
// and every metric is created with promauto.
func TestLoggersAndMetricsAreMadeInOneWay(t *testing.T) {
	for file := range importsByFile(t) {
		b, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "slog.DiscardHandler") && file != "internal/room/room.go" {
			t.Errorf("%s makes a logger that discards, which room.Logger(nil) returns", file)
		}
		if found := unregistered.FindString(string(b)); found != "" {
			t.Errorf("%s uses %s: metrics are created with promauto.With(cfg.Metrics)", file, found)
		}
	}
}

// maxFilesOfType is the number of files in which a type may have methods.
const maxFilesOfType = 3

// spread lists the types that may have methods in more files, each with the reason.
var spread = map[string]string{
	"escrow/trade.step": "the decision about one input is one value; a file holds the transitions of one topic, and none has state of its own",
}

// TestTypesAreInFewFiles: a type whose methods are in many files has parts that deserve
// types of their own. Files of tests do not count.
func TestTypesAreInFewFiles(t *testing.T) {
	files := map[string][]string{} // by type
	for file := range importsByFile(t) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			name := path.Dir(file) + "." + receiver(fn.Recv.List[0].Type)
			if !slices.Contains(files[name], path.Base(file)) {
				files[name] = append(files[name], path.Base(file))
			}
		}
	}
	for name, list := range files {
		if len(list) > maxFilesOfType && spread[name] == "" {
			slices.Sort(list)
			t.Errorf("%s has methods in %d files: %s. Give a part a type of its own.", name, len(list), strings.Join(list, ", "))
		}
	}
	for name := range spread {
		if len(files[name]) <= maxFilesOfType {
			t.Errorf("%s has methods in %d files: it is no exception any more", name, len(files[name]))
		}
	}
}

// receiver returns the name of the type of a receiver.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
