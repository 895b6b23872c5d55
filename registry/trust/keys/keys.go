// Package keys makes, opens and uses the keys that evidence is signed with: ECDSA on the
// curve P-256 with SHA-256 (FIPS 186-5), the one algorithm that Ampoule signs and verifies.
//
// Errors name files and programs. No private key, passphrase or payload is in them.
package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"ampoule/faults"
)

// Algorithm is the name of the only algorithm, as trust roots spell it.
const Algorithm = "ecdsa-p256-sha256"

const (
	// maxFile bounds a file with a key, in bytes.
	maxFile = 64 << 10
	// maxSignature bounds a signature: two numbers of 33 bytes, as ASN.1 DER.
	maxSignature = 128
	publicType   = "PUBLIC KEY"
)

// Signer signs with one key.
type Signer interface {
	Public() Public
	// Sign returns the signature of a message, as ASN.1 DER (RFC 3279, section 2.2.3).
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Public is a public key. The zero value verifies nothing.
type Public struct {
	key *ecdsa.PublicKey
	der []byte
}

// publicOf makes a Public of a key on P-256.
func publicOf(key *ecdsa.PublicKey) (Public, error) {
	if key.Curve != elliptic.P256() {
		return Public{}, faults.New(faults.Input, "make one with `ampoule keys generate`", "the key is on the curve %s, not on P-256", key.Curve.Params().Name)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Public{}, fmt.Errorf("encoding public key: %w", err)
	}
	return Public{key, der}, nil
}

// ParsePublic reads a public key in PEM (RFC 7468, section 13).
func ParsePublic(text []byte) (Public, error) {
	if len(text) > maxFile {
		return Public{}, faults.New(faults.Input, "", "the public key has more than %d bytes", maxFile)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != publicType {
		return Public{}, faults.New(faults.Input, "it begins with -----BEGIN PUBLIC KEY-----, as `ampoule keys generate` and `cosign generate-key-pair` write it",
			"this is no public key in PEM")
	}
	return parseDER(block.Bytes)
}

// ParsePublicText reads what [Public.Text] gives.
func ParsePublicText(text string) (Public, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(der) > maxFile {
		return Public{}, faults.New(faults.Input, "", "the public key is not base64")
	}
	return parseDER(der)
}

func parseDER(der []byte) (Public, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Public{}, faults.New(faults.Input, "", "reading public key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return Public{}, faults.New(faults.Input, "make one with `ampoule keys generate`", "the key is a %T, not one of ECDSA", parsed)
	}
	return publicOf(key)
}

// ID names the key: "sha256:" and the hash of its DER form, in hexadecimal.
func (p Public) ID() string {
	sum := sha256.Sum256(p.der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PEM is the key as a file.
func (p Public) PEM() []byte { return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: p.der}) }

// Text is the key in one line: its DER form as base64.
func (p Public) Text() string { return base64.StdEncoding.EncodeToString(p.der) }

// Verify reports whether a signature is the key's, of that message.
func (p Public) Verify(message, signature []byte) bool {
	if p.key == nil || len(signature) > maxSignature {
		return false
	}
	sum := sha256.Sum256(message)
	return ecdsa.VerifyASN1(p.key, sum[:], signature)
}

// Private is a key that signs in this process.
type Private struct {
	key    *ecdsa.PrivateKey
	public Public
}

// Generate makes a key.
func Generate() (*Private, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return privateOf(key)
}

func privateOf(key *ecdsa.PrivateKey) (*Private, error) {
	public, err := publicOf(&key.PublicKey)
	return &Private{key, public}, err
}

// Public implements [Signer].
func (k *Private) Public() Public { return k.public }

// Sign implements [Signer].
func (k *Private) Sign(_ context.Context, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	signature, err := ecdsa.SignASN1(rand.Reader, k.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return signature, nil
}
