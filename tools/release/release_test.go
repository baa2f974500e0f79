// Package release tests what `make release` writes. The tests take minutes and need git, dpkg-deb,
// rpm, qemu-user-static and, for the root of the container, the rights of root; each part that a
// machine lacks is skipped with a line that says so.
package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	whole    = flag.Bool("release", false, "build a release twice and try it")
	existing = flag.String("release.dir", "", "try this release instead of building one")
)

// command runs a program and returns its output.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// built returns the directory of a release of HEAD in a clone of its own, built with a cache of
// its own.
func built(t *testing.T) string {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "clone")
	command(t, ".", nil, "git", "clone", "--quiet", "--shared", strings.TrimSpace(command(t, ".", nil, "git", "rev-parse", "--show-toplevel")), clone)
	cache := filepath.Join(t.TempDir(), "cache")
	command(t, clone, []string{"GOCACHE=" + cache, "GOFLAGS="}, "make", "release")
	return filepath.Join(clone, "dist")
}

// sums returns the SHA-256 of each file of a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		all[e.Name()] = hex.EncodeToString(sum[:])
	}
	return all
}

// TestRelease builds the release twice, compares the bytes, and tries the files.
func TestRelease(t *testing.T) {
	if !*whole && *existing == "" {
		t.Skip("-release is not set: make release-check runs this test")
	}
	dir := *existing
	if dir == "" {
		dir = built(t)
		again := sums(t, built(t))
		for name, sum := range sums(t, dir) {
			if again[name] != sum {
				t.Errorf("%s has other bytes in the second build", name)
			}
		}
	}
	t.Run("Checksums", func(t *testing.T) { checkSums(t, dir) })
	t.Run("Archives", func(t *testing.T) { checkArchives(t, dir) })
	t.Run("Packages", func(t *testing.T) { checkPackages(t, dir) })
	t.Run("SBOM", func(t *testing.T) { checkSBOM(t, dir) })
	t.Run("ContainerRoot", func(t *testing.T) { checkContainerRoot(t, dir) })
	t.Run("Emulated", func(t *testing.T) { checkEmulated(t, dir) })
}

// one returns the one file of a release that a pattern matches.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

func checkSums(t *testing.T, dir string) {
	raw, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	have := sums(t, dir)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		if have[name] != sum {
			t.Errorf("SHA256SUMS has %q, the file has %q", line, have[name])
		}
	}
	if len(lines) != len(have)-1 { // all but itself
		t.Errorf("SHA256SUMS has %d of %d files", len(lines), len(have)-1)
	}
}

func checkArchives(t *testing.T, dir string) {
	for arch, want := range map[string]string{"amd64": "x86-64", "arm64": "aarch64"} {
		root := t.TempDir()
		command(t, ".", nil, "tar", "-xzf", one(t, dir, "mostrodex-*-linux-"+arch+".tar.gz"), "-C", root)
		top := one(t, root, "mostrodex-*")
		for _, name := range []string{"LICENSE", "README.md", "CHANGES.md", "deploy/mostrodex.service", "deploy/RUNBOOK.md", "man/mostrodex-serve.1.gz", "completions/mostrodex.bash"} {
			if _, err := os.Stat(filepath.Join(top, name)); err != nil {
				t.Error(err)
			}
		}
		if out := command(t, ".", nil, "file", filepath.Join(top, "mostrodex")); !strings.Contains(out, "statically linked") || !strings.Contains(out, want) {
			t.Errorf("%s: %s", arch, out)
		}
	}
}

func checkPackages(t *testing.T, dir string) {
	files := []string{"/usr/bin/mostrodex", "/usr/lib/systemd/system/mostrodex.service", "/etc/mostrodex/mostrodex.toml", "/usr/share/man/man1/mostrodex-serve.1.gz", "/usr/share/bash-completion/completions/mostrodex"}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Log("NOT TESTED: dpkg-deb is not installed")
	} else {
		for _, arch := range []string{"amd64", "arm64"} {
			deb := one(t, dir, "mostrodex-*-linux-"+arch+".deb")
			if got := strings.TrimSpace(command(t, ".", nil, "dpkg-deb", "--field", deb, "Architecture")); got != arch {
				t.Errorf("%s is for %s", deb, got)
			}
			list := command(t, ".", nil, "dpkg-deb", "--contents", deb)
			for _, name := range files {
				if !strings.Contains(list, "."+name+"\n") {
					t.Errorf("%s has no %s", deb, name)
				}
			}
			root := t.TempDir()
			command(t, ".", nil, "dpkg-deb", "--raw-extract", deb, root)
			unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/mostrodex.service"))
			if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/bin/mostrodex serve") {
				t.Errorf("the unit of the package starts another program: %v", err)
			}
			for _, script := range []string{"preinst", "postinst", "prerm", "postrm"} {
				if out, err := exec.Command("sh", "-n", filepath.Join(root, "DEBIAN", script)).CombinedOutput(); err != nil {
					t.Errorf("%s: %v %s", script, err, out)
				}
			}
			conf, err := os.ReadFile(filepath.Join(root, "DEBIAN", "conffiles"))
			if err != nil || strings.TrimSpace(string(conf)) != "/etc/mostrodex/mostrodex.toml" {
				t.Errorf("an upgrade keeps the changes of %q, %v", conf, err)
			}
		}
	}
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Log("NOT TESTED: rpm is not installed")
		return
	}
	for arch, name := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		rpm := one(t, dir, "mostrodex-*-linux-"+arch+".rpm")
		if got := command(t, ".", nil, "rpm", "-qp", "--qf", "%{ARCH}", rpm); !strings.HasSuffix(got, name) {
			t.Errorf("%s is for %s", rpm, got)
		}
		list := command(t, ".", nil, "rpm", "-qpl", rpm)
		for _, name := range files {
			if !strings.Contains(list, name+"\n") {
				t.Errorf("%s has no %s", rpm, name)
			}
		}
		if conf := command(t, ".", nil, "rpm", "-qpc", rpm); !strings.Contains(conf, "/etc/mostrodex/mostrodex.toml") {
			t.Errorf("an upgrade keeps the changes of %q", conf)
		}
	}
}

// checkSBOM: every module of the program is a component of the SBOM.
func checkSBOM(t *testing.T, dir string) {
	root := t.TempDir()
	command(t, ".", nil, "tar", "-xzf", one(t, dir, "mostrodex-*-linux-amd64.tar.gz"), "-C", root)
	modules := regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(command(t, ".", nil, "go", "version", "-m", filepath.Join(one(t, root, "mostrodex-*"), "mostrodex")), -1)
	if len(modules) < 50 {
		t.Errorf("the program names %d modules", len(modules))
	}
	for _, arch := range []string{"amd64", "arm64"} {
		raw, err := os.ReadFile(one(t, dir, "mostrodex-*-linux-"+arch+".cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		var bom struct {
			BOMFormat  string
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(raw, &bom); err != nil || bom.BOMFormat != "CycloneDX" {
			t.Fatal(bom.BOMFormat, err)
		}
		listed := make(map[string]bool)
		for _, c := range bom.Components {
			listed[c.Name+" "+c.Version] = true
		}
		for _, m := range modules {
			if !listed[m[1]+" "+m[2]] {
				t.Errorf("%s: the SBOM does not have %s %s", arch, m[1], m[2])
			}
		}
	}
}

// answers waits until a server is ready.
func answers(t *testing.T, url string, log *bytes.Buffer, exited <-chan struct{}, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(url + "/readyz")
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s %s", resp.Status, body)
		}
		select {
		case <-exited:
			t.Fatalf("the program has ended: %s", log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the program is not ready: %v\n%s", err, log)
		}
	}
}

// startServer runs a program that serves until the test ends.
func startServer(t *testing.T, cmd *exec.Cmd) (*bytes.Buffer, <-chan struct{}) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-exited
	})
	return &log, exited
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// checkContainerRoot assembles the root of the container by hand, as the last stage of
// deploy/Containerfile does, and runs the program in it: without a shell and a libc, as the user
// of the image, with a root that cannot be written. The health check of the image passes.
func checkContainerRoot(t *testing.T, dir string) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: the root of a container needs the rights of root")
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: unshare: %v %s", err, out)
	}
	file, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, found := strings.Cut(string(file), "\nFROM scratch\n")
	if !found {
		t.Fatal("deploy/Containerfile has no stage FROM scratch")
	}
	unpacked := t.TempDir()
	command(t, ".", nil, "tar", "-xzf", one(t, dir, "mostrodex-*-linux-"+runtime.GOARCH+".tar.gz"), "-C", unpacked)
	out := map[string]string{"/out/mostrodex": filepath.Join(one(t, unpacked, "mostrodex-*"), "mostrodex"), "/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"}
	base := t.TempDir()
	for ; base != "/"; base = filepath.Dir(base) { // the user of the image passes through
		os.Chmod(base, 0o755)
		if strings.HasPrefix(filepath.Base(base), "TestRelease") {
			break
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	copies := regexp.MustCompile(`(?m)^COPY --from=build (?:--chown=(\d+):\d+ )?(\S+) (\S+)$`).FindAllStringSubmatch(last, -1)
	for _, c := range copies {
		to := filepath.Join(root, c[3])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if c[1] == "" {
			command(t, ".", nil, "install", "-m", "0755", out[c[2]], to)
			continue
		}
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, ".", nil, "chown", c[1]+":"+c[1], to)
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o555); err != nil { // every engine mounts it
		t.Fatal(err)
	}
	if len(copies) != 4 {
		t.Errorf("%d lines COPY found", len(copies))
	}
	user := regexp.MustCompile(`(?m)^USER (\d+:\d+)$`).FindStringSubmatch(last)
	if user == nil || strings.HasPrefix(user[1], "0:") {
		t.Fatal("the image has no user, or root")
	}
	env := []string{"PATH=/"}
	block := regexp.MustCompile(`(?s)\nENV (.*?[^\\])\n`).FindStringSubmatch(last)
	if block == nil {
		t.Fatal("the image has no ENV")
	}
	env = append(env, strings.Fields(strings.ReplaceAll(block[1], "\\\n", " "))...)
	port := freePort(t)
	for i, kv := range env {
		env[i] = strings.ReplaceAll(kv, "0.0.0.0:7777", "127.0.0.1:"+port)
	}
	// enter runs a command line of the image. Volumes may be written, the root may not.
	enter := func(args ...string) *exec.Cmd {
		line := append([]string{"--mount", "sh", "-c", `set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind "$1/data" "$1/data"
mount --bind "$1/state" "$1/state"
mount --bind /proc "$1/proc"
mount -o remount,bind,ro "$1"
root=$1 user=$2
shift 2
exec chroot --userspec="$user" "$root" "$@"`, "sh", root, user[1]}, args...)
		cmd := exec.Command("unshare", line...)
		cmd.Env = append(slices.Clone(env), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
		return cmd
	}
	server := enter("/mostrodex", "serve", "--upstream", "none")
	log, exited := startServer(t, server)
	answers(t, "http://127.0.0.1:"+port, log, exited, 2*time.Minute)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Process.Pid))
	if err != nil || !regexp.MustCompile(`(?m)^Uid:\t`+strings.Split(user[1], ":")[0]+`\t`).Match(status) {
		t.Errorf("the program does not run as %s: %v", user[1], err)
	}
	check := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD \["/mostrodex", "(\w+)"\]$`).FindStringSubmatch(last)
	if check == nil {
		t.Fatal("the image has no health check")
	}
	if out, err := enter("/mostrodex", check[1], "--url", "http://127.0.0.1:"+port).CombinedOutput(); err != nil || string(out) != "ready\n" {
		t.Errorf("the health check: %v %s", err, out)
	}
	// The root cannot be written, although the mode of the directory would allow it.
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	if out, err := enter("/mostrodex", "man", "--dir", "/man").CombinedOutput(); err == nil || !strings.Contains(string(out), "read-only") {
		t.Errorf("the program writes to its root: %v %s", err, out)
	}
	if out, err := enter("/mostrodex", "man", "--dir", "/state/man").CombinedOutput(); err != nil {
		t.Errorf("the program does not write to its volume: %v %s", err, out)
	}
}

// checkEmulated runs the arm64 program under emulation until /readyz answers.
func checkEmulated(t *testing.T, dir string) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		if qemu, err = exec.LookPath("qemu-aarch64"); err != nil {
			t.Skip("NOT TESTED: qemu-aarch64-static is not installed (Debian: qemu-user-static)")
		}
	}
	root := t.TempDir()
	command(t, ".", nil, "tar", "-xzf", one(t, dir, "mostrodex-*-linux-arm64.tar.gz"), "-C", root)
	program, port := filepath.Join(one(t, root, "mostrodex-*"), "mostrodex"), freePort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, program, "serve", "--upstream", "none", "--listen", "127.0.0.1:"+port, "--data", filepath.Join(root, "data"))
	log, exited := startServer(t, cmd)
	answers(t, "http://127.0.0.1:"+port, log, exited, 5*time.Minute)
	if out := command(t, ".", nil, qemu, program, "version"); !strings.Contains(out, "libsecp256k1") {
		t.Errorf("version: %s", out)
	}
}
