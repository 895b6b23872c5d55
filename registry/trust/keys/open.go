package keys

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/crypto/nacl/secretbox"

	"ampoule/faults"
)

// PEM types of cosign's key files: of today, and of versions before 1.14.
const (
	sigstoreType = "ENCRYPTED SIGSTORE PRIVATE KEY"
	cosignType   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// Open opens an encrypted key in PEM: PKCS #8, or as cosign writes it. A wrong passphrase is
// [ErrPassphrase].
func Open(text, passphrase []byte) (*Private, error) {
	block, err := encryptedBlock(text)
	if err != nil {
		return nil, err
	}
	var key *Private
	if block.Type == encryptedType {
		key, err = openPKCS8(block.Bytes, passphrase)
	} else {
		key, err = openCosign(block.Bytes, passphrase)
	}
	if err != nil {
		return nil, faults.New(faults.Input, "", "opening key: %w", err)
	}
	return key, nil
}

// encryptedBlock finds the encrypted key in a file.
func encryptedBlock(text []byte) (*pem.Block, error) {
	if len(text) > maxFile {
		return nil, faults.New(faults.Input, "", "the key has more than %d bytes", maxFile)
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, faults.New(faults.Input, "`ampoule keys generate` makes one", "this is no key in PEM")
	case block.Type == encryptedType || block.Type == sigstoreType || block.Type == cosignType:
		return block, nil
	case block.Type == publicType:
		return nil, faults.New(faults.Input, "name the file of the private key", "this is a public key, which signs nothing")
	default:
		return nil, faults.New(faults.Input, "encrypt it: openssl pkcs8 -topk8 -scrypt -in FILE -out FILE.key", "a key of the form %q is not encrypted, or not known", block.Type)
	}
}

// CheckFile refuses what no passphrase opens, before anybody is asked for one.
func CheckFile(text []byte) error {
	_, err := encryptedBlock(text)
	return err
}

// cosignFile is a key file of cosign's: go-securesystemslib, encrypted.data.
type cosignFile struct {
	KDF struct {
		Name   string `json:"name"`
		Params struct{ N, R, P int }
		Salt   []byte `json:"salt"`
	} `json:"kdf"`
	Cipher struct {
		Name  string `json:"name"`
		Nonce []byte `json:"nonce"`
	} `json:"cipher"`
	Ciphertext []byte `json:"ciphertext"`
}

// openCosign decrypts a key file of cosign's.
func openCosign(text, passphrase []byte) (*Private, error) {
	var f cosignFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("its JSON is damaged: %w", err)
	}
	var nonce [24]byte
	if f.KDF.Name != "scrypt" || f.Cipher.Name != "nacl/secretbox" || len(f.Cipher.Nonce) != len(nonce) {
		return nil, fmt.Errorf("it is encrypted by %q and %q, not by scrypt and nacl/secretbox", f.KDF.Name, f.Cipher.Name)
	}
	derived, err := boundedScrypt(passphrase, f.KDF.Salt, f.KDF.Params.N, f.KDF.Params.R, f.KDF.Params.P)
	if err != nil {
		return nil, err
	}
	copy(nonce[:], f.Cipher.Nonce)
	plain, ok := secretbox.Open(nil, f.Ciphertext, &nonce, (*[aesKeySize]byte)(derived))
	if !ok {
		return nil, ErrPassphrase
	}
	return parsePKCS8(plain)
}

// ReadFile reads a file with a key, a passphrase or what is signed, within bounds. One that is not
// there is an error of kind Input that wraps [fs.ErrNotExist].
func ReadFile(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, faults.New(faults.Input, "", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, faults.New(faults.Input, "", "%s has more than %d bytes", path, maxFile)
	}
	return text, nil
}

// ReadPublic reads the file of a public key.
func ReadPublic(path string) (Public, error) {
	text, err := ReadFile(path)
	if err != nil {
		return Public{}, fmt.Errorf("reading public key: %w", err)
	}
	p, err := ParsePublic(text)
	if err != nil {
		return Public{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// PassphraseOf is the passphrase in the text of a file or in what a program printed: all but
// the end of the line.
func PassphraseOf(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}
