package interopcli

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// priceHost is the service that the client asks about currencies before it sends an order
// at market price.
const priceHost = "api.yadio.io"

// priceService runs that service on loopback and returns the environment of a client that
// reaches the service there: a proxy for HTTPS, and the file of a root certificate. The
// client is unmodified. No other host is reached.
func priceService(t *testing.T) (environ []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: priceHost}, NotBefore: root.NotBefore, NotAfter: root.NotAfter, DNSNames: []string{priceHost},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	rootDER, err := x509.CreateCertificate(rand.Reader, &root, &root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, &leaf, &root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // the test is over
	secure := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := answerPrices(conn, secure); err != nil {
					fmt.Fprintln(os.Stderr, "price service:", err) // the client's error fails the test
				}
			}()
		}
	}()
	return []string{"HTTPS_PROXY=http://" + listener.Addr().String(), "SSL_CERT_FILE=" + roots}
}

// answerPrices serves one connection of a proxy. A request for another host is refused.
func answerPrices(conn net.Conn, secure *tls.Config) error {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	if request.Method != http.MethodConnect || request.Host != priceHost+":443" {
		_, err := fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return err
	}
	if _, err := fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return err
	}
	inner := tls.Server(conn, secure)
	if _, err := http.ReadRequest(bufio.NewReader(inner)); err != nil {
		return err
	}
	const body = `{"USD":"United States Dollar","VES":"Bolívar"}`
	_, err = fmt.Fprintf(inner, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	return err
}
