package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// gravity says how urgent a finding is.
type gravity string

const (
	isFine gravity = "ok"
	isWarn gravity = "warn"
	isFail gravity = "FAIL"
)

// finding is one line of `mostrodex doctor`. It contains no secret: the files of secrets are
// named, and never read into a finding.
type finding struct {
	State gravity `json:"state"`
	Check string  `json:"check"` // for example "file modes"
	Text  string  `json:"text"`
	Do    string  `json:"do,omitempty"` // the remedy for the operator
}

// manyBits is the number of bits of proof of work above which a phone needs minutes for one
// message.
const manyBits = 22

// advice returns remarks about a configuration. advice looks at the files that the configuration
// names, and makes no connection. serve logs the same lines as warnings.
func advice(c *Config) (list []finding) {
	list = append(list, fileModes(c)...)
	list = append(list, publicAddress(c)...)
	list = append(list, listeners(c)...)
	if c.Escrow.Enabled {
		list = append(list, witnessPlace(c)...)
		list = append(list, proofOfWork(c)...)
		if len(c.forwardTo()) == 0 {
			list = append(list, finding{isWarn, "relays", "the orders of this Mostro are published to its own relay only", "name relays in escrow.publish.relays"})
		}
		if o := &c.Operator; o.WebhookFile == "" && o.NtfyFile == "" && o.Nostr == "" {
			list = append(list, finding{isWarn, "operator", "no one is told when the escrow needs a person, for example at a dispute or if the Lightning node is down", "name a channel in section [operator], and send a test with 'mostrodex alert test'"})
		}
		if !slices.Contains(c.Escrow.Transports, "v2") {
			list = append(list, finding{isWarn, "transports", "transport v2 is off, and today's clients use no other one", `add "v2" to escrow.transports`})
		}
	}
	return list
}

// warn logs the findings that are not fine.
func warn(log *slog.Logger, list []finding) {
	for _, f := range list {
		if f.State != isFine {
			log.Warn(f.Text, "check", f.Check, "do", f.Do)
		}
	}
}

// secretFile is a file that other users of the machine must not read.
type secretFile struct {
	key, path string
	mask      fs.FileMode // bits that must not be set
}

func secretFiles(c *Config) (list []secretFile) {
	for key, path := range map[string]string{"reputation.key": c.Reputation.Key, "indexer.key": c.Indexer.Key, "operator.webhook_file": c.Operator.WebhookFile, "operator.ntfy_file": c.Operator.NtfyFile} {
		if path != "" {
			list = append(list, secretFile{key, path, 0o077})
		}
	}
	// The program makes these with mode 0600. A copy of the directory may have another mode.
	made, _ := filepath.Glob(filepath.Join(c.Data, "keys", "*")) // the only possible error is a bad pattern
	for _, path := range made {
		list = append(list, secretFile{"data", path, 0o077})
	}
	slices.SortFunc(list, func(a, b secretFile) int { return strings.Compare(a.path, b.path) })
	if !c.Escrow.Enabled {
		return list
	}
	// LND writes its macaroons with mode 0640, and a group is the usual way to share one.
	list = append(list, secretFile{"escrow.key", c.Escrow.Key, 0o077}, secretFile{"escrow.lnd.macaroon", c.Escrow.LND.Macaroon, 0o007})
	if c.Escrow.Reputation.Export {
		list = append(list, secretFile{"escrow.reputation.export_key", c.Escrow.Reputation.ExportKey, 0o077})
	}
	return list
}

func fileModes(c *Config) (list []finding) {
	for _, f := range secretFiles(c) {
		info, err := os.Stat(f.path)
		switch {
		case err != nil:
			list = append(list, finding{isFail, "file modes", fmt.Sprintf("%s: %v", f.key, err), "name a file that this user can read"})
		case info.IsDir():
			list = append(list, finding{isFail, "file modes", fmt.Sprintf("%s: %s is a directory", f.key, f.path), "name a file"})
		case runtime.GOOS != "windows" && info.Mode()&f.mask != 0:
			list = append(list, finding{isWarn, "file modes", fmt.Sprintf("%s: other users can read %s (mode %04o)", f.key, f.path, info.Mode().Perm()),
				fmt.Sprintf("chmod %04o %s", info.Mode().Perm()&^f.mask, f.path)})
		}
	}
	dir := filepath.Join(c.Data, "escrow")
	if info, err := os.Stat(dir); err == nil && runtime.GOOS != "windows" && c.Escrow.Enabled && info.Mode()&0o007 != 0 {
		list = append(list, finding{isWarn, "file modes", fmt.Sprintf("other users can read the trades in %s (mode %04o)", dir, info.Mode().Perm()), "chmod 0700 " + dir})
	}
	if len(list) == 0 && c.Escrow.Enabled {
		list = append(list, finding{isFine, "file modes", "only this user can read the keys", ""})
	}
	return list
}

// witnessPlace checks that a copy of the data directory does not contain the witness: a witness
// that is restored together with an old store would not reveal that the store is old.
func witnessPlace(c *Config) []finding {
	data, err := filepath.Abs(c.Data)
	witness, witnessErr := filepath.Abs(c.Escrow.Witness)
	if c.Escrow.Witness == "" || err != nil || witnessErr != nil {
		return nil // the default is outside of the data directory
	}
	if rel, err := filepath.Rel(data, witness); err == nil && filepath.IsLocal(rel) {
		return []finding{{isWarn, "witness", fmt.Sprintf("escrow.witness (%s) is inside the data directory, so a backup contains it and cannot reveal an old copy of the trades", c.Escrow.Witness), "name a file outside of data, or delete the line"}}
	}
	return nil
}

// publicAddress checks the address that clients are told. The mobile app accepts an address
// only as wss://, on port 443, of a domain name, without a path.
func publicAddress(c *Config) (list []finding) {
	warn := func(text, do string) { list = append(list, finding{isWarn, "public address", text, do}) }
	if c.Role == roleEscrow {
		return []finding{{isFine, "public address", "clients find this Mostro on " + strings.Join(c.Escrow.Publish.Relays, ", "), ""}}
	}
	if c.Relay.URL == "" {
		if c.Escrow.Enabled {
			warn(fmt.Sprintf("relay.url is not set, so this Mostro announces ws://%s, which no other machine can reach", c.Relay.Listen), `set relay.url to the public address, such as "wss://relay.example.com"`)
		}
		return list
	}
	u, err := url.Parse(c.Relay.URL)
	if err != nil || u.Hostname() == "" {
		return []finding{{isFail, "public address", fmt.Sprintf("relay.url: %q is not an address", c.Relay.URL), `set relay.url to the public address, such as "wss://relay.example.com"`}}
	}
	host := strings.ToLower(u.Hostname())
	addr, notAddr := netip.ParseAddr(host)
	onion := strings.HasSuffix(host, ".onion")
	switch {
	case host == "localhost" || notAddr == nil && addr.Unmap().IsLoopback():
		warn(fmt.Sprintf("relay.url announces %s, which every client takes for its own machine", c.Relay.URL), "name the public address")
		return list
	case notAddr == nil && (addr.Unmap().IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()):
		warn(fmt.Sprintf("relay.url announces %s, which can be reached in the local network only", c.Relay.URL), "name the public address")
	case onion:
		warn("relay.url is an onion address; the mobile app refuses one that is entered by hand", "")
	case notAddr == nil:
		warn(fmt.Sprintf("relay.url announces the bare address %s, which the mobile app refuses", host), "use a domain name")
	case !strings.Contains(host, "."):
		warn(fmt.Sprintf("relay.url announces %q, which is no full domain name", host), "use a domain name")
	}
	if u.Scheme != "wss" && !onion {
		warn("relay.url is not wss://; the mobile app refuses it, and others can read who asks for what", "put a server with TLS in front, such as Caddy")
	}
	if port := u.Port(); port != "" && port != "443" && !onion {
		warn(fmt.Sprintf("relay.url has port %s; the mobile app accepts 443 only", port), "serve on port 443")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		warn(fmt.Sprintf("relay.url has the path %q; the mobile app accepts the root of a domain only", u.RequestURI()), "serve at the root of a domain")
	}
	if len(list) == 0 {
		list = append(list, finding{isFine, "public address", c.Relay.URL + " is what the mobile app accepts", ""})
	}
	return list
}

func listeners(c *Config) (list []finding) {
	loopback := func(hostport string) bool {
		host, _, err := net.SplitHostPort(hostport)
		addr, notAddr := netip.ParseAddr(host)
		return err == nil && (host == "localhost" || notAddr == nil && addr.Unmap().IsLoopback())
	}
	if c.Relay.Private != "" && !loopback(c.Relay.Private) {
		list = append(list, finding{isWarn, "listeners", fmt.Sprintf("relay.private listens on %s, where other machines may reach it", c.Relay.Private), "listen on 127.0.0.1, and reach it through SSH or a VPN"})
	}
	if c.Relay.URL != "" && loopback(c.Relay.Listen) && len(c.Relay.TrustedProxies) == 0 {
		text := "relay.listen is reached through a proxy, and relay.trusted_proxies is empty: all clients share the limits of one address"
		if c.Relay.ImportLocal {
			text = "relay.listen is reached through a proxy, and relay.trusted_proxies is empty: every client counts as a program on this machine, without limits"
		}
		list = append(list, finding{isWarn, "listeners", text, `set relay.trusted_proxies, for example to ["127.0.0.1"], or relay.import_local to false if the proxy names no client`})
	}
	return list
}

func proofOfWork(c *Config) (list []finding) {
	e := &c.Escrow
	first := max(e.Pow, e.PowFirstContact)
	warn := func(text, do string) { list = append(list, finding{isWarn, "proof of work", text, do}) }
	if first > e.Pow {
		warn(fmt.Sprintf("a first message needs %d bits and others %d; mobile 1.3 and mostro-cli read the second number only, and their first messages would be dropped without an answer", first, e.Pow), "set escrow.pow_first_contact to 0")
	}
	if first > manyBits {
		warn(fmt.Sprintf("%d bits take a phone minutes for each message", first), fmt.Sprintf("set escrow.pow to %d at most", manyBits))
	}
	if c.Relay.MinPow > e.Pow {
		warn(fmt.Sprintf("the relay asks for %d bits (relay.min_pow) and the Mostro announces %d: clients mine what is announced, and the relay refuses their messages", c.Relay.MinPow, e.Pow), "set relay.min_pow to escrow.pow at most")
	}
	if len(list) == 0 {
		list = append(list, finding{isFine, "proof of work", fmt.Sprintf("%d bits, which every client mines", e.Pow), ""})
	}
	return list
}
