package survey

import (
	"fmt"
	"regexp"

	"ampoule/audit"
	"ampoule/tree"
)

// archives is what [audit.Unjudged] calls the files in archives: they are not unpacked, since
// no import finds them there.
const archives = "archives"

// packed matches the names of archives; wheelFile those of wheels, which a search finds
// and judges for themselves wherever they are not in an archive.
var (
	packed    = regexp.MustCompile(`(?i)\.(egg|zip|jar|tar|tgz|tar\.(gz|bz2|xz|zst))$`)
	wheelFile = regexp.MustCompile(`(?i)\.whl$`)
)

// unopened says which archives in a unit were not looked into; told is how its files' paths are
// told.
func (u *Unit) unopened(t *tree.Tree, told func(string) string) (audit.Unjudged, bool) {
	first, n := "", 0
	for _, e := range t.Entries() {
		isArchive := packed.MatchString(e.Path) || u.Kind == KindWheel && wheelFile.MatchString(e.Path)
		if e.Kind != tree.File || !isArchive {
			continue
		}
		n++
		if n == 1 {
			first = told(e.Path)
		}
	}
	why := "what is in " + first
	if n > 1 {
		why += fmt.Sprintf(", and in %s,", plural(n-1, "more archive"))
	}
	return audit.Unjudged{Check: archives, Why: why + " is not looked into", Files: n}, n > 0
}
