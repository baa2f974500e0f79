// Command deploylint checks container files with the checks of BuildKit (docker build --check), and
// compose files with the schema and the loader of Docker Compose, without an engine:
//
//	deploylint FILE...
//
// A file whose name begins with Containerfile or Dockerfile is a container file, umbrel-app.yml is
// the manifest of an app for umbrelOS, any other file is a compose file. The exit code is 1 if a
// file has a mistake.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

func main() {
	bad := 0
	for _, path := range os.Args[1:] {
		var findings []string
		var err error
		if base := filepath.Base(path); strings.HasPrefix(base, "Containerfile") || strings.HasPrefix(base, "Dockerfile") {
			findings, err = containerFile(path)
		} else if base == "umbrel-app.yml" {
			findings, err = umbrelManifest(path)
		} else {
			err = composeFile(path)
		}
		if err != nil {
			findings = append(findings, err.Error())
		}
		for _, f := range findings {
			fmt.Printf("%s: %s\n", path, f)
		}
		bad += len(findings)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// containerFile returns what BuildKit finds in a container file. Base images are not looked up,
// because that needs a registry.
func containerFile(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	state := llb.Scratch()
	source := llb.NewSourceMap(&state, path, "Dockerfile", raw)
	if source.Definition, err = state.Marshal(ctx); err != nil {
		return nil, err
	}
	results, err := dockerfile2llb.DockerfileLint(ctx, raw, dockerfile2llb.ConvertOpt{SourceMap: source, MetaResolver: anyImage{}})
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, w := range results.Warnings {
		line := int32(0)
		if w.Location != nil && len(w.Location.Ranges) > 0 {
			line = startOf(w.Location.Ranges[0])
		}
		findings = append(findings, fmt.Sprintf("line %d: %s: %s", line, w.RuleName, w.Detail))
	}
	if results.Error != nil {
		findings = append(findings, results.Error.Message)
	}
	return findings, nil
}

// anyImage describes every base image, so that no registry is asked.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},"rootfs":{"type":"layers"}}`)
	return ref, digest.FromBytes(config), config, nil
}

func startOf(r *pb.Range) int32 {
	if r.Start == nil {
		return 0
	}
	return r.Start.Line
}

// composeFile loads a compose file as docker compose does. Variables that the file needs have a
// placeholder. The image of app_proxy comes from umbrelOS.
func composeFile(path string) error {
	umbrel := strings.Contains(path, "umbrel")
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("deploylint"), cli.WithConsistency(!umbrel), cli.WithEnv([]string{
		"APP_DATA_DIR=/app", "APP_LIGHTNING_NODE_DATA_DIR=/lnd", "APP_BITCOIN_NETWORK=mainnet", "APP_LIGHTNING_NODE_IP=10.21.21.9", "APP_LIGHTNING_NODE_GRPC_PORT=10009",
	}))
	if err != nil {
		return err
	}
	_, err = options.LoadProject(context.Background())
	return err
}

// umbrelApp is the manifest of an app: the type AppManifest of umbrelOS
// (packages/umbreld/source/modules/apps/schema.ts), with the fields that newer versions read.
type umbrelApp struct {
	ManifestVersion  float64  `yaml:"manifestVersion"`
	ID               string   `yaml:"id"`
	Category         string   `yaml:"category"`
	Name             string   `yaml:"name"`
	Version          string   `yaml:"version"`
	Tagline          string   `yaml:"tagline"`
	Icon             string   `yaml:"icon"`
	Description      string   `yaml:"description"`
	ReleaseNotes     *string  `yaml:"releaseNotes"`
	Developer        string   `yaml:"developer"`
	Website          string   `yaml:"website"`
	Dependencies     []string `yaml:"dependencies"`
	Permissions      []string `yaml:"permissions"`
	Repo             string   `yaml:"repo"`
	Support          string   `yaml:"support"`
	Port             int      `yaml:"port"`
	Gallery          []string `yaml:"gallery"`
	Path             *string  `yaml:"path"`
	DefaultUsername  *string  `yaml:"defaultUsername"`
	DefaultPassword  *string  `yaml:"defaultPassword"`
	Deterministic    bool     `yaml:"deterministicPassword"`
	OptimizedForHome bool     `yaml:"optimizedForUmbrelHome"`
	TorOnly          bool     `yaml:"torOnly"`
	InstallSize      int64    `yaml:"installSize"`
	BackupIgnore     []string `yaml:"backupIgnore"`
	Submitter        string   `yaml:"submitter"`
	Submission       string   `yaml:"submission"`
}

// umbrelManifest returns the mistakes of a manifest. The app store lists further rules: the id is
// the name of the directory, and a tagline has at most 50 characters.
func umbrelManifest(path string) (findings []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var app umbrelApp
	decoder := yaml.NewDecoder(f)
	decoder.KnownFields(true)
	if err := decoder.Decode(&app); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"name": app.Name, "version": app.Version, "tagline": app.Tagline, "description": app.Description, "developer": app.Developer, "submitter": app.Submitter} {
		if value == "" {
			findings = append(findings, name+" is missing")
		}
	}
	for name, value := range map[string]string{"website": app.Website, "repo": app.Repo, "support": app.Support, "submission": app.Submission} {
		if !strings.HasPrefix(value, "https://") {
			findings = append(findings, name+" is no https:// address")
		}
	}
	if app.ManifestVersion != 1 && app.ManifestVersion != 1.1 {
		findings = append(findings, "manifestVersion is not 1 or 1.1")
	}
	if app.ID != filepath.Base(filepath.Dir(path)) || strings.Trim(app.ID, "abcdefghijklmnopqrstuvwxyz-") != "" {
		findings = append(findings, "id is not the name of the directory in lower case")
	}
	if categories := []string{"files", "bitcoin", "media", "networking", "social", "automation", "finance", "ai", "developer", "crypto"}; !slices.Contains(categories, app.Category) {
		findings = append(findings, "category is not known")
	}
	if n := utf8.RuneCountInString(app.Tagline); n > 50 {
		findings = append(findings, fmt.Sprintf("tagline has %d characters, at most 50 are shown", n))
	}
	if app.Port < 1024 || app.Port > 65535 {
		findings = append(findings, "port is not in 1024..65535")
	}
	if app.Gallery == nil {
		findings = append(findings, "gallery is missing")
	}
	slices.Sort(findings)
	return findings, nil
}
