package packaging

import (
	"crypto/md5"  //nolint:gosec // compared with what a RECORD has, which is told to be weak
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
)

// RecordHash is what a RECORD says that a file hashes to.
type RecordHash struct {
	// Algorithm is its name as Python's hashlib has it; empty without a hash.
	Algorithm string
	// Sum is in lower-case hex; empty of an algorithm that is not known here.
	Sum string
}

// SHA256 is the algorithm that PEP 427 wants, or a better one.
const SHA256 = "sha256"

// algorithm is one that every Python has (hashlib.algorithms_guaranteed) and whose sums
// have one size, in bytes: not the SHAKE family.
type algorithm struct {
	name string
	size int
	make func() hash.Hash
}

var algorithms = map[string]algorithm{
	"md5":      {"md5", md5.Size, md5.New},
	"sha1":     {"sha1", sha1.Size, sha1.New},
	"sha224":   {"sha224", sha256.Size224, sha256.New224},
	SHA256:     {SHA256, sha256.Size, sha256.New},
	"sha384":   {"sha384", sha512.Size384, sha512.New384},
	"sha512":   {"sha512", sha512.Size, sha512.New},
	"sha3_224": {"sha3_224", 28, func() hash.Hash { return sha3.New224() }},
	"sha3_256": {"sha3_256", 32, func() hash.Hash { return sha3.New256() }},
	"sha3_384": {"sha3_384", 48, func() hash.Hash { return sha3.New384() }},
	"sha3_512": {"sha3_512", 64, func() hash.Hash { return sha3.New512() }},
	"blake2b":  {"blake2b", blake2b.Size, func() hash.Hash { return unkeyed(blake2b.New512) }},
	"blake2s":  {"blake2s", blake2s.Size, func() hash.Hash { return unkeyed(blake2s.New256) }},
}

// unkeyed makes a hash that has an error for keys that are too long, without one.
func unkeyed(make func(key []byte) (hash.Hash, error)) hash.Hash {
	h, err := make(nil)
	if err != nil {
		panic(err)
	}
	return h
}

// IsZero reports whether there is no hash.
func (h RecordHash) IsZero() bool { return h.Algorithm == "" }

func (h RecordHash) String() string { return h.Algorithm + " " + h.Sum }

// New makes the function; nil of an algorithm that is not known here.
func (h RecordHash) New() hash.Hash {
	if a, ok := algorithms[h.Algorithm]; ok {
		return a.make()
	}
	return nil
}

// Weak reports whether files of one hash are easily made: md5 and sha1, which PEP 427 forbids.
func (h RecordHash) Weak() bool { return h.Algorithm == "md5" || h.Algorithm == "sha1" }

// ParseRecordHash reads a hash of RECORD, ALGORITHM=SUM: any algorithm of hashlib, and URL-safe
// base64 without padding (PEP 376, PEP 427). Padding and the other alphabet are taken, since
// installers do not look.
func ParseRecordHash(field string) (RecordHash, error) {
	name, value, ok := strings.Cut(field, "=")
	if !ok || name == "" || value == "" {
		return RecordHash{}, fmt.Errorf("hash %.200q is not ALGORITHM=SUM", field)
	}
	a, known := algorithms[name]
	if !known {
		return RecordHash{Algorithm: strings.Clone(name)}, nil
	}
	text := strings.TrimRight(value, "=")
	if strings.ContainsAny(text, "+/") {
		text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != a.size {
		return RecordHash{}, fmt.Errorf("hash %.200q is not %d bytes of URL-safe base64", field, a.size)
	}
	return RecordHash{Algorithm: a.name, Sum: hex.EncodeToString(raw)}, nil
}
