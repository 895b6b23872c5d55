package seal

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
)

// roundsOf is how many rounds of SipHash a version of CPython makes for each word, by the
// suffix of its bytecode: two until 3.10, one since (bpo-29410).
func roundsOf(suffix string) int {
	minor, _, _ := strings.Cut(strings.TrimPrefix(suffix, ".cpython-3"), ".")
	if n, err := strconv.Atoi(strings.TrimRight(minor, "td")); err == nil && n <= 10 {
		return 2
	}
	return 1
}

// sourceHash is the hash of a source in its bytecode file (PEP 552): SipHash, with the magic
// number as its key (Python/pyhash.c, _Py_KeyedHash). Of rounds for each word there are as
// many as said, and of those at the end two more.
func sourceHash(magic, source []byte, rounds int) []byte {
	var key uint64
	if len(magic) == 4 {
		key = uint64(binary.LittleEndian.Uint32(magic))
	}
	s := sip{0x736f6d6570736575 ^ key, 0x646f72616e646f6d, 0x6c7967656e657261 ^ key, 0x7465646279746573}
	rest := source
	for ; len(rest) >= 8; rest = rest[8:] {
		s.word(binary.LittleEndian.Uint64(rest), rounds)
	}
	var last [8]byte
	copy(last[:], rest)
	last[7] = byte(len(source))
	s.word(binary.LittleEndian.Uint64(last[:]), rounds)
	s[2] ^= 0xff
	for range rounds + 2 {
		s.round()
	}
	return binary.LittleEndian.AppendUint64(nil, s[0]^s[1]^s[2]^s[3])
}

// sip is the state of SipHash (Aumasson and Bernstein, 2012).
type sip [4]uint64

func (s *sip) word(w uint64, rounds int) {
	s[3] ^= w
	for range rounds {
		s.round()
	}
	s[0] ^= w
}

func (s *sip) round() {
	s[0] += s[1]
	s[1] = bits.RotateLeft64(s[1], 13) ^ s[0]
	s[0] = bits.RotateLeft64(s[0], 32)
	s[2] += s[3]
	s[3] = bits.RotateLeft64(s[3], 16) ^ s[2]
	s[0] += s[3]
	s[3] = bits.RotateLeft64(s[3], 21) ^ s[0]
	s[2] += s[1]
	s[1] = bits.RotateLeft64(s[1], 17) ^ s[2]
	s[2] = bits.RotateLeft64(s[2], 32)
}
