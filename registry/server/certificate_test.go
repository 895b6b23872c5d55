package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ampoule/faults"
)

// certificate writes a new certificate for this machine, and returns it.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string, made *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1")}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		// As tools do it that renew certificates: in one step.
		if err := os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, made
}

// trusting is a client that trusts certificates.
func trusting(all ...*x509.Certificate) *http.Client {
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, first := certificate(t, dir, "first")
	s := serve(t, Config{Certificate: certFile, Key: keyFile})
	secret := s.token("ci", time.Time{}, "push:*")
	s.client = trusting(first)
	s.blob(secret, "web", []byte("{}"))
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}}}
	if resp, err := s.client.Get(s.url + "/v2/"); err == nil {
		_ = resp.Body.Close()
		t.Error("TLS 1.1 is spoken")
	}

	_, _, second := certificate(t, dir, "second")
	s.client = trusting(second)
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/", secret: secret})
	// What cannot be read changes nothing.
	if err := os.WriteFile(certFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusOK, call{method: http.MethodGet, path: "/v2/", secret: secret})
	if told := s.warned(); len(told) == 0 {
		t.Error("nobody is told that the certificate cannot be read")
	}
}

func TestBadCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, _ := certificate(t, dir, "x")
	s := serve(t, Config{})
	for name, c := range map[string]struct {
		config Config
		want   faults.Kind
	}{
		"no key":          {Config{Certificate: certFile}, faults.Usage},
		"no certificate":  {Config{Key: keyFile}, faults.Usage},
		"missing":         {Config{Certificate: certFile + "x", Key: keyFile}, faults.Input},
		"a key for a key": {Config{Certificate: keyFile, Key: keyFile}, faults.Input},
	} {
		c.config.Listen = "127.0.0.1:0"
		if err := Serve(t.Context(), s.own, s.book, c.config, func(string) { t.Errorf("%s: it listens", name) }); faults.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
