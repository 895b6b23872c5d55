package compare

import (
	"encoding/binary"
	"regexp"
	"strings"
)

const (
	causeOrder     = "the order of files or of a set"
	causeTime      = "the time of the build"
	causeTemporary = "a temporary file or directory with a random name"
	causeAddress   = "an address in memory"
	causeFollows   = "it follows from other differences"
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
		if strings.Contains(a, m.Text) != strings.Contains(b, m.Text) {
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

// The seconds since 1970 that are taken for a time of a build: from 2020 to 2040.
const (
	earliest = 1577836800
	latest   = 2208988800
)

// causeOfNumbers guesses whether the numbers around an offset are times: 32 bits, little-endian.
func causeOfNumbers(a, b []byte, i int) string {
	for start := max(0, i-3); start <= i; start++ {
		if start+4 > len(a) || start+4 > len(b) {
			break
		}
		was, is := binary.LittleEndian.Uint32(a[start:]), binary.LittleEndian.Uint32(b[start:])
		if was >= earliest && was < latest && is >= earliest && is < latest {
			return causeTime
		}
	}
	return ""
}
