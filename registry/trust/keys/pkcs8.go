package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"

	"ampoule/faults"
)

// encryptedType is the PEM type of an encrypted PKCS #8 key (RFC 7468, section 11).
const encryptedType = "ENCRYPTED PRIVATE KEY"

// What a new key is encrypted with: scrypt over 16 MiB, the most that OpenSSL's bound of 32 MiB
// allows, and AES-256 in CBC mode.
const (
	scryptN, scryptR, scryptP = 1 << 14, 8, 1
	saltSize, aesKeySize      = 16, 32
)

// Bounds on what a file may ask for: opening a key takes at most 128 MiB and some seconds.
const (
	maxScryptMemory = 128 << 20
	maxScryptWork   = 1 << 24
	maxIterations   = 10_000_000
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}     // RFC 8018, appendix A.4
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}     // RFC 8018, appendix A.2
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}  // RFC 7914, section 7
	oidAES256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42} // RFC 3565, section 4.1: CBC
	oidSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}         // RFC 8018, appendix B.1.2
	oidSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}        // RFC 8018, appendix B.1.2
)

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958, section 3).
type encryptedKey struct {
	Algorithm struct {
		ID     asn1.ObjectIdentifier
		Params pbes2
	}
	Data []byte
}

// pbes2 is PBES2-params (RFC 8018, appendix A.4).
type pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }

// scryptParams are scrypt-params (RFC 7914, section 7).
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// pbkdf2Params are PBKDF2-params (RFC 8018, appendix A.2).
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// Encrypt encrypts the key with a passphrase: PKCS #8 in PEM, as OpenSSL reads it, too.
func (k *Private) Encrypt(passphrase []byte) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	random := make([]byte, saltSize+aes.BlockSize)
	_, _ = rand.Read(random) // it never fails
	salt, iv := random[:saltSize], random[saltSize:]
	secret, err := scrypt.Key(passphrase, salt, scryptN, scryptR, scryptP, aesKeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("encrypting key: %w", err)
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize // RFC 8018, section 6.1.1
	for range padding {
		plain = append(plain, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	var found encryptedKey
	found.Algorithm.ID, found.Data = oidPBES2, plain
	found.Algorithm.Params.KDF, err = algorithm(oidScrypt, scryptParams{Salt: salt, N: scryptN, R: scryptR, P: scryptP})
	if err == nil {
		found.Algorithm.Params.Cipher, err = algorithm(oidAES256, iv)
	}
	if err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(found)
	if err != nil {
		return nil, fmt.Errorf("encoding encrypted key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedType, Bytes: der}), nil
}

func algorithm(id asn1.ObjectIdentifier, params any) (pkix.AlgorithmIdentifier, error) {
	der, err := asn1.Marshal(params)
	if err != nil {
		return pkix.AlgorithmIdentifier{}, fmt.Errorf("encoding parameters: %w", err)
	}
	return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: asn1.RawValue{FullBytes: der}}, nil
}

// ErrPassphrase is wrapped by errors about a passphrase that does not open a key.
var ErrPassphrase = faults.New(faults.Input, "", "the passphrase does not open it, or the file is damaged")

// openPKCS8 decrypts an EncryptedPrivateKeyInfo.
func openPKCS8(der, passphrase []byte) (*Private, error) {
	var found encryptedKey
	if err := exactly(der, &found); err != nil {
		return nil, err
	}
	params := found.Algorithm.Params
	if !found.Algorithm.ID.Equal(oidPBES2) || !params.Cipher.Algorithm.Equal(oidAES256) {
		return nil, errors.New("it is encrypted by something else than PBES2 with AES-256-CBC")
	}
	var iv []byte
	if err := exactly(params.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != aes.BlockSize {
		return nil, errors.New("its parameters of AES are damaged")
	}
	if len(found.Data) == 0 || len(found.Data)%aes.BlockSize != 0 {
		return nil, errors.New("it is truncated")
	}
	secret, err := derive(params.KDF, passphrase)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(found.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, found.Data)
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, ErrPassphrase
	}
	return parsePKCS8(plain[:len(plain)-padding])
}

// derive computes the key of AES from a passphrase.
func derive(kdf pkix.AlgorithmIdentifier, passphrase []byte) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidScrypt):
		var p scryptParams
		if err := exactly(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, err
		}
		return boundedScrypt(passphrase, p.Salt, p.N, p.R, p.P)
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p pbkdf2Params
		if err := exactly(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, err
		}
		var h func() hash.Hash
		switch {
		case p.PRF.Algorithm.Equal(oidSHA256):
			h = sha256.New
		case p.PRF.Algorithm.Equal(oidSHA512):
			h = sha512.New
		default:
			return nil, errors.New("PBKDF2 without HMAC-SHA256 or HMAC-SHA512 is not read")
		}
		if p.Iterations < 1 || p.Iterations > maxIterations {
			return nil, fmt.Errorf("it asks for %d iterations of PBKDF2", p.Iterations)
		}
		return pbkdf2.Key(h, string(passphrase), p.Salt, p.Iterations, aesKeySize)
	default:
		return nil, errors.New("its key is derived by something else than scrypt or PBKDF2")
	}
}

// boundedScrypt refuses parameters that take too much memory or time.
func boundedScrypt(passphrase, salt []byte, n, r, p int) ([]byte, error) {
	if n < 2 || r < 1 || p < 1 || n > maxScryptMemory/128 || r > maxScryptMemory/128/n || p > maxScryptWork/n/r {
		return nil, fmt.Errorf("it asks for scrypt with N=%d, r=%d, p=%d", n, r, p)
	}
	return scrypt.Key(passphrase, salt, n, r, p, aesKeySize)
}

// exactly reads one ASN.1 value that nothing follows.
func exactly(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("something follows it")
	}
	if err != nil {
		return fmt.Errorf("its ASN.1 is damaged: %w", err)
	}
	return nil
}

func parsePKCS8(der []byte) (*Private, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// What is wrong would say something of what was decrypted.
		return nil, ErrPassphrase
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T, not a key of ECDSA", parsed)
	}
	return privateOf(key)
}
