package compare

import (
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
)

const (
	causeOrder     = "the order of files or of a set"
	causeTime      = "the time of the build"
	causeTemporary = "a temporary file or directory with a random name"
	causeAddress   = "an address in memory"
	causeFollows   = "it follows from other differences"
	causeInterned  = "what else the process had compiled before: which texts are interned is in bytecode"
	causeLTO       = "random names in objects for link-time optimisation, which -frandom-seed fixes"
)

var (
	timeForm      = regexp.MustCompile(`\d{4}-\d\d-\d\d|\b\d\d:\d\d:\d\d\b|\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d\b`)
	temporaryForm = regexp.MustCompile(`/tmp/[\w.+-]+|\btmp[a-z0-9_]{8}\b|\bcc[A-Za-z0-9]{6}\.(o|s|ltrans\d+)`)
	addressForm   = regexp.MustCompile(`0x7f[0-9a-f]{8,}`)
)

// cause guesses what made two texts differ at a place.
func (c *comparison) cause(place, a, b string) string {
	switch {
	case strings.HasPrefix(place, ".gnu.lto_") || strings.HasPrefix(place, ".gnu.debuglto_"):
		return causeLTO
	case strings.HasPrefix(place, ".note.gnu.build-id") || strings.HasPrefix(place, ".gnu_debuglink"):
		return causeFollows
	}
	for _, m := range c.marks {
		if m.tells(a, b) {
			return m.Means
		}
	}
	for _, form := range []struct {
		*regexp.Regexp
		means string
	}{{temporaryForm, causeTemporary}, {timeForm, causeTime}, {addressForm, causeAddress}} {
		was, is := form.FindAllString(a, -1), form.FindAllString(b, -1)
		if len(was) > 0 && len(is) > 0 && strings.Join(was, " ") != strings.Join(is, " ") {
			return form.means
		}
	}
	return ""
}

// The seconds since 1970 that are taken for a time of a build: from 2020 to 2040, and
// not further from another than builds that are compared.
const (
	earliest = 1577836800
	latest   = 2208988800
	apart    = 90 * 24 * 3600
)

// internForms are how marshal begins a text, with and without what says that it was
// interned, and that it is referred to (Python/marshal.c).
const internForms = "aAzZtu\xe1\xc1\xfa\xda\xf4\xf5"

// causeOfCode guesses what made bytecode differ at an offset.
func causeOfCode(a, b []byte, i int) string {
	if i < len(a) && i < len(b) && strings.IndexByte(internForms, a[i]) >= 0 && strings.IndexByte(internForms, b[i]) >= 0 {
		return causeInterned
	}
	return ""
}

func isPrintable(data []byte) bool {
	return !slices.ContainsFunc(data, func(c byte) bool { return c < ' ' || c > '~' })
}

// causeOfNumbers guesses whether the numbers around an offset are times: 32 bits, little-endian.
func causeOfNumbers(a, b []byte, i int) string {
	for start := max(0, i-3); start <= i; start++ {
		if start+4 > len(a) || start+4 > len(b) {
			break
		}
		if isPrintable(a[start:start+4]) && isPrintable(b[start:start+4]) {
			continue // Letters are numbers, too.
		}
		was, is := binary.LittleEndian.Uint32(a[start:]), binary.LittleEndian.Uint32(b[start:])
		if was >= earliest && was < latest && is >= earliest && is < latest && max(was, is)-min(was, is) < apart {
			return causeTime
		}
	}
	return ""
}
