package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// ACMEConfig is section [relay.acme]: the authority of the certificate for relay.domain.
type ACMEConfig struct {
	Listen    string `toml:"listen"`    // host:port of the TLS listener, which the authority reaches on port 443; "": ":443"
	Directory string `toml:"directory"` // URL of the ACME directory; "": Let's Encrypt
	Roots     string `toml:"roots"`     // PEM file of the authority's own TLS certificate; "": the roots of the system
}

// certificatesDir is the directory of the certificates and of the account in the data directory.
// If the directory is lost, the program obtains another certificate.
const certificatesDir = "certificates"

// checkDomain returns an error if the settings of the TLS listener cannot work.
func (c *RelayConfig) checkDomain() error {
	if c.Domain == "" {
		if c.ACME != (ACMEConfig{}) {
			return errors.New("relay.acme: is used with relay.domain, which is not set")
		}
		return nil
	}
	_, notIP := netip.ParseAddr(c.Domain)
	valid := notIP != nil && len(c.Domain) <= 253 && strings.Contains(c.Domain, ".")
	for label := range strings.SplitSeq(c.Domain, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			valid = false
		}
	}
	if !valid {
		return fmt.Errorf("relay.domain: %q is not a host name in lower case, such as relay.example.org", c.Domain)
	}
	if c.ACME.Listen != "" {
		if _, _, err := net.SplitHostPort(c.ACME.Listen); err != nil {
			return fmt.Errorf("relay.acme.listen: %q is not host:port", c.ACME.Listen)
		}
	}
	if d := c.ACME.Directory; d != "" && !strings.HasPrefix(d, "https://") {
		return fmt.Errorf("relay.acme.directory: %q does not begin with https://", d)
	}
	return nil
}

// applyDomain sets the public address, if the operator has set none, to that of relay.domain.
func (c *RelayConfig) applyDomain() {
	if c.Domain != "" && c.URL == "" {
		c.URL = "wss://" + c.Domain
	}
}

// secureListener is the TLS listener of relay.domain. The program obtains and renews its
// certificate by ACME with the challenge TLS-ALPN-01 (RFC 8737), which needs no port but that of
// the listener.
type secureListener struct {
	net.Listener // accepts TLS connections
	domain       string
	cache        *certmagic.Cache
	config       *certmagic.Config
}

// defaultSecureListen is the address of the listener unless relay.acme.listen is set.
const defaultSecureListen = ":443"

// newSecureListener returns the TLS listener on the sockets that l accepts. limit bounds their
// number.
func newSecureListener(c *Config, logger *slog.Logger, l net.Listener, limit func(net.Listener) net.Listener) (*secureListener, error) {
	var roots *x509.CertPool
	if path := c.Relay.ACME.Roots; path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("relay.acme.roots: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("relay.acme.roots: %s has no certificate in PEM form", path)
		}
	}
	host, _, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	s := &secureListener{domain: c.Relay.Domain}
	quiet := zap.NewNop() // the events below say what an operator has to know
	s.cache = certmagic.NewCache(certmagic.CacheOptions{GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil }, Logger: quiet})
	s.config = certmagic.New(s.cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: filepath.Join(c.Data, certificatesDir)}, Logger: quiet,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				logger.Info("obtained a certificate", "domain", data["identifier"], "renewal", data["renewal"])
			case "cert_failed":
				logger.Error("no certificate could be obtained: it is tried again", "domain", data["identifier"], "err", data["error"])
			}
			return nil
		}})
	s.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(s.config, certmagic.ACMEIssuer{
		CA: cmp.Or(c.Relay.ACME.Directory, certmagic.LetsEncryptProductionCA), TestCA: c.Relay.ACME.Directory, TrustedRoots: roots, Email: strings.TrimPrefix(mailto(c.Relay.Contact), "mailto:"),
		Agreed: true, DisableHTTPChallenge: true, ListenHost: host, AltTLSALPNPort: l.Addr().(*net.TCPAddr).Port, Logger: quiet})}
	tlsConfig := s.config.TLSConfig()
	// Websockets need HTTP/1.1, and one protocol for all is enough.
	tlsConfig.NextProtos = []string{"http/1.1", "acme-tls/1"}
	tlsConfig.MinVersion = tls.VersionTLS12
	s.Listener = tls.NewListener(limit(l), tlsConfig)
	return s, nil
}

// mailto returns a contact that is a mail address. Any other contact is not given to the
// authority.
func mailto(contact string) string {
	if strings.HasPrefix(contact, "mailto:") {
		return contact
	}
	return ""
}

// run obtains the certificate, and renews it until ctx ends. A failure is logged and tried again,
// at ever longer intervals; the other listeners serve meanwhile.
func (s *secureListener) run(ctx context.Context) error {
	defer s.cache.Stop()
	if err := s.config.ManageAsync(ctx, []string{s.domain}); err != nil {
		return fmt.Errorf("relay.domain: %w", err)
	}
	<-ctx.Done()
	return nil
}
