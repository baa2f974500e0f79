package lnd

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// files are the certificate and the macaroon, read from their files. Each handshake uses the
// certificate that was read last, and each call the macaroon that was read last.
type files struct {
	cert, macaroon string // paths
	read           atomic.Pointer[contents]
}

// contents are the contents of the files. They do not change.
type contents struct {
	tls      credentials.TransportCredentials // with the certificate as the only root of trust
	macaroon string                           // hex
}

// load reads both files. If either is missing or malformed, the contents that were read before stay
// in use.
func (f *files) load() error {
	pem, err := os.ReadFile(f.cert)
	if err != nil {
		return fmt.Errorf("lnd certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("lnd certificate: %s contains no PEM certificate", f.cert)
	}
	mac, err := os.ReadFile(f.macaroon)
	if err != nil {
		return fmt.Errorf("lnd macaroon: %w", err)
	}
	if len(mac) == 0 {
		return fmt.Errorf("lnd macaroon: %s is empty", f.macaroon)
	}
	f.read.Store(&contents{credentials.NewClientTLSFromCert(roots, ""), hex.EncodeToString(mac)})
	return nil
}

// ClientHandshake implements credentials.TransportCredentials, as the methods below.
func (f *files) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return f.read.Load().tls.ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is never called: the package has no server.
func (f *files) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return f.read.Load().tls.ServerHandshake(conn)
}

// Info returns the description of the protocol.
func (f *files) Info() credentials.ProtocolInfo { return f.read.Load().tls.Info() }

// Clone returns f itself, so that a connection of gRPC follows Reload.
func (f *files) Clone() credentials.TransportCredentials { return f }

// OverrideServerName is not used.
func (f *files) OverrideServerName(string) error { return nil }

// macaroon sends the macaroon of the files with every call.
type macaroon struct{ files *files }

// GetRequestMetadata returns the header in which LND expects the macaroon.
func (m macaroon) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"macaroon": m.files.read.Load().macaroon}, nil
}

// RequireTransportSecurity returns true, so that gRPC never sends the macaroon over a
// connection without TLS.
func (m macaroon) RequireTransportSecurity() bool { return true }
