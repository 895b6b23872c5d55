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
	first, more := "", 0
	for _, e := range t.Entries() {
		isArchive := packed.MatchString(e.Path) || u.Kind == KindWheel && wheelFile.MatchString(e.Path)
		switch {
		case e.Kind != tree.File || !isArchive:
		case first == "":
			first = told(e.Path)
		default:
			more++
		}
	}
	why := "what is in " + first
	if more > 0 {
		why += fmt.Sprintf(", and in %s,", plural(more, "more archive"))
	}
	return audit.Unjudged{Check: archives, Why: why + " is not looked into"}, first != ""
}
