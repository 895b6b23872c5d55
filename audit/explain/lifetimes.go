package explain

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed api.txt
var apiText string

// lifetime is which minor versions of Python 3 export a name.
type lifetime struct{ first, last int }

// oldestKnown and newestKnown are the ends of what api.txt was made from.
const oldestKnown, newestKnown = 6, 13

var lifetimes = sync.OnceValue(func() map[string]lifetime {
	out, now := map[string]lifetime{}, lifetime{}
	for line := range strings.Lines(apiText) {
		line = strings.TrimSpace(line)
		switch first, last, two := strings.Cut(line, " "); {
		case line == "" || line[0] == '#':
		case two:
			now.first, _ = strconv.Atoi(first)
			now.last, _ = strconv.Atoi(last)
		default:
			out[line] = now
		}
	}
	return out
})

// has reports whether Python 3.minor exports the name; it is true of minor 0, which is not
// known, and of what is beyond the ends.
func (l lifetime) has(minor int) bool {
	return minor == 0 || (minor >= l.first || l.first == oldestKnown) && (minor <= l.last || l.last == newestKnown)
}

// String says the versions in words.
func (l lifetime) String() string {
	switch {
	case l.first == l.last:
		return fmt.Sprintf("Python 3.%d alone exports it", l.first)
	case l.first == oldestKnown:
		return fmt.Sprintf("Python 3 exports it up to 3.%d", l.last)
	case l.last == newestKnown:
		return fmt.Sprintf("Python exports it as of 3.%d", l.first)
	}
	return fmt.Sprintf("Python exports it from 3.%d to 3.%d", l.first, l.last)
}
