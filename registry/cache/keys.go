package cache

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"ampoule/faults"
)

// Types of PEM blocks (RFC 7468, sections 10 and 13).
const (
	privateType = "PRIVATE KEY"
	publicType  = "PUBLIC KEY"
)

// maxKey bounds a file with a key, in bytes.
const maxKey = 64 << 10

// others are the bits of a mode that let others read or write.
const others = 0o077

// signed begins what is signed, so that no signature of anything else is one of an entry.
const signed = "ampoule cache entry 1\n"

// ID names a public key: "sha256:" and the hash, in hex, of its SubjectPublicKeyInfo in DER
// (RFC 5280, section 4.1).
func ID(public *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Signer signs entries.
type Signer struct {
	key *ecdsa.PrivateKey
	id  string
}

// ID names the signer's public key.
func (s *Signer) ID() string { return s.id }

// sign gives the signature of a statement, in base64.
func (s *Signer) sign(text []byte) (string, error) {
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, digestOf(text))
	return base64.StdEncoding.EncodeToString(signature), err
}

func digestOf(text []byte) []byte {
	h := sha256.New()
	_, _ = h.Write([]byte(signed))
	_, _ = h.Write(text)
	return h.Sum(nil)
}

// ReadSigner reads a private key: ECDSA P-256, PKCS#8 without a passphrase, PEM. A file that others
// can read is refused.
func ReadSigner(file string) (*Signer, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, wrongKey(file, "", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&others != 0 {
		return nil, wrongKey(file, "only its owner may have access: chmod 600 "+file, fmt.Errorf("its mode is %s", mode))
	}
	text, err := readKey(file)
	if err != nil {
		return nil, wrongKey(file, "", err)
	}
	key, err := parsePrivate(text)
	if err != nil {
		return nil, wrongKey(file, "`ampoule cache keygen` makes one", err)
	}
	id, err := ID(&key.PublicKey)
	return &Signer{key, id}, err
}

func parsePrivate(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("it is no PEM")
	case strings.Contains(block.Type, "ENCRYPTED"):
		return nil, errors.New("it has a passphrase")
	case block.Type != privateType:
		return nil, fmt.Errorf("it is a %s, not a %s (PKCS#8)", strings.ToLower(block.Type), strings.ToLower(privateType))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no ECDSA key of the curve P-256")
	}
	return key, nil
}

// readKey reads a file with a key.
func readKey(file string) (_ []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err == nil && len(text) > maxKey {
		err = fmt.Errorf("more than %d bytes", maxKey)
	}
	return text, err
}

// wrongKey says what is wrong with a key. Nothing of the key is in it.
func wrongKey(file, hint string, err error) error {
	return faults.New(faults.Input, hint, "reading the cache's key %s: %w", file, err)
}

// Generate writes a new private key to a file that must not exist, which only its owner can
// read, and its public key beside it as FILE.pub. It returns the public key's [ID].
func Generate(file string) (id string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("generating a key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("generating a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", fmt.Errorf("generating a key: %w", err)
	}
	if err := writeNew(file, 0o600, privateType, private); err != nil {
		return "", err
	}
	if err := writeNew(file+".pub", 0o644, publicType, public); err != nil {
		return "", errors.Join(err, os.Remove(file))
	}
	return ID(&key.PublicKey)
}

// writeNew writes a file that is not there.
func writeNew(file string, mode os.FileMode, kind string, der []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return faults.New(faults.Input, "name another file: no key is replaced", "writing a key: %w", err)
	}
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
	if err != nil {
		return fmt.Errorf("writing key %s: %w", file, errors.Join(err, os.Remove(file)))
	}
	return nil
}

// Trust says whose entries are used.
type Trust struct {
	trusted map[string]*ecdsa.PublicKey
	retired map[string]bool
}

// NewTrust reads the keys whose entries are used, and those whose entries are not used any more.
// Each is a public key as PEM, or the path of a file with one; a retired one may also be named by
// its [ID]. A key that is retired is not trusted, wherever else it stands.
func NewTrust(trusted, retired []string) (Trust, error) {
	t := Trust{trusted: map[string]*ecdsa.PublicKey{}, retired: map[string]bool{}}
	for _, named := range retired {
		if strings.HasPrefix(named, "sha256:") {
			t.retired[named] = true
			continue
		}
		id, _, err := readPublic(named)
		if err != nil {
			return Trust{}, err
		}
		t.retired[id] = true
	}
	for _, named := range trusted {
		id, key, err := readPublic(named)
		if err != nil {
			return Trust{}, err
		}
		t.trusted[id] = key
	}
	return t, nil
}

// Empty reports whether no key is trusted.
func (t Trust) Empty() bool {
	for id := range t.trusted {
		if !t.retired[id] {
			return false
		}
	}
	return true
}

// with trusts a signer, too: who has its key has made what it signed.
func (t Trust) with(s *Signer) (Trust, error) {
	if t.retired[s.id] {
		return Trust{}, faults.New(faults.Input, "make a new one with `ampoule cache keygen`, and have it trusted wherever the cache is read", "the cache's key %s is retired", s.id)
	}
	t.trusted = maps.Clone(t.trusted)
	if t.trusted == nil {
		t.trusted = map[string]*ecdsa.PublicKey{}
	}
	t.trusted[s.id] = &s.key.PublicKey
	return t, nil
}

// verify reads a statement that a trusted key has signed. The error is a [*RefusedError].
func (t Trust) verify(text []byte, signature string) (statement, error) {
	s, err := parseStatement(text)
	if err != nil {
		return statement{}, refused("cannot be read: %v", err)
	}
	key, known := t.trusted[s.Signer]
	switch {
	case t.retired[s.Signer]:
		return statement{}, refused("was signed by a retired key, %s", s.Signer)
	case !known:
		return statement{}, refused("was signed by a key that is not trusted, %q", s.Signer)
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || !ecdsa.VerifyASN1(key, digestOf(text), raw) {
		return statement{}, refused("has a wrong signature: %s has not signed it", s.Signer)
	}
	return s, nil
}

// readPublic reads a public key: PEM, or the path of a file with it.
func readPublic(named string) (string, *ecdsa.PublicKey, error) {
	text, shown := []byte(named), "the public key in the configuration"
	if !strings.HasPrefix(strings.TrimSpace(named), "-----BEGIN") {
		var err error
		if text, err = readKey(named); err != nil {
			return "", nil, faults.New(faults.Input, "", "reading public key: %w", err)
		}
		shown = named
	}
	key, err := parsePublic(text)
	if err != nil {
		return "", nil, faults.New(faults.Input, "`ampoule cache keygen FILE` writes it to FILE.pub", "reading public key: %s: %w", shown, err)
	}
	id, err := ID(key)
	return id, key, err
}

func parsePublic(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("it is no PEM")
	case block.Type != publicType:
		return nil, fmt.Errorf("it is a %s, not a %s", strings.ToLower(block.Type), strings.ToLower(publicType))
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no ECDSA key of the curve P-256")
	}
	return key, nil
}
