package cache

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/faults"
)

// A key is made once, for its owner alone, and names itself alike on both sides.
func TestGenerate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cache.key")
	id, err := Generate(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	signer, err := ReadSigner(file)
	if err != nil || signer.ID() != id {
		t.Errorf("%v, %v", signer, err)
	}
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []string{file + ".pub", string(text)} {
		if got, _, err := readPublic(named); err != nil || got != id {
			t.Errorf("%s, %v, not %s", got, err, id)
		}
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(file); faults.Of(err) != faults.Input {
		t.Errorf("a second one: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Error("the key is another one")
	}
}

// block is PEM.
func block(t *testing.T, kind string, key any, marshal func(any) ([]byte, error)) string {
	t.Helper()
	der, err := marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// What is no key to sign with is told without a byte of it.
func TestReadSignerRefuses(t *testing.T) {
	t.Parallel()
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := x509.MarshalPKCS8PrivateKey
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		want string
	}{
		"others can read it":   {block(t, privateType, good, pkcs8), 0o640, "mode"},
		"another curve":        {block(t, privateType, other, pkcs8), 0o600, "P-256"},
		"another algorithm":    {block(t, privateType, edwards, pkcs8), 0o600, "P-256"},
		"with a passphrase":    {block(t, "ENCRYPTED PRIVATE KEY", good, pkcs8), 0o600, "passphrase"},
		"of another form":      {block(t, "EC PRIVATE KEY", good, pkcs8), 0o600, "not a private key (PKCS#8)"},
		"public":               {block(t, publicType, &good.PublicKey, x509.MarshalPKIXPublicKey), 0o600, "not a private key"},
		"no PEM":               {"c2VjcmV0", 0o600, "no PEM"},
		"empty":                {"", 0o600, "no PEM"},
		"large":                {strings.Repeat("c2VjcmV0", maxKey), 0o600, "more than"},
		"nothing in the block": {"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", 0o600, "asn1"},
	} {
		file := filepath.Join(t.TempDir(), "cache.key")
		if err := errors.Join(os.WriteFile(file, []byte(c.text), 0o600), os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSigner(file)
		if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadSigner(filepath.Join(t.TempDir(), "absent")); faults.Of(err) != faults.Input {
		t.Errorf("absent: %v", err)
	}
	if _, err := ReadSigner(t.TempDir()); faults.Of(err) != faults.Input {
		t.Errorf("a directory: %v", err)
	}
}

// A key that is retired counts nowhere: not among the trusted ones, and not as one's own.
func TestRetired(t *testing.T) {
	t.Parallel()
	signer, public := newSigner(t)
	for _, retired := range []string{signer.ID(), public} {
		trust, err := NewTrust([]string{public}, []string{retired})
		if err != nil {
			t.Fatal(err)
		}
		if !trust.Empty() {
			t.Errorf("retired as %.20s: it is trusted", retired)
		}
		if _, err := trust.with(signer); faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "is retired") {
			t.Errorf("retired as %.20s: %v", retired, err)
		}
	}
	if (trusting(t, public)).Empty() || !(Trust{}).Empty() {
		t.Error("Empty is wrong")
	}
	for _, wrong := range [][]string{{"/absent.pub"}, {"-----BEGIN PUBLIC KEY-----\n"}, {strings.TrimSuffix(public, ".pub")}} {
		if _, err := NewTrust(wrong, nil); faults.Of(err) != faults.Input {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
