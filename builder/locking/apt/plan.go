package apt

import (
	"regexp"
	"strings"
)

// plan is what apt would do.
type plan struct {
	added []identity
	// changes are the installed packages that would be upgraded, downgraded or
	// removed, as [ChangeError] spells them.
	changes []string
}

// Lines of apt-get --simulate (apt-get(8)): what is installed, with what it
// replaces, and what is removed.
//
//	Inst libc6 [2.36-9] (2.36-10 Debian:12.1/stable [amd64])
//	Remv libc6 [2.36-9]
var (
	instLine = regexp.MustCompile(`^Inst (\S+) (?:\[(\S+)\] )?\((\S+) .*\[(\S+)\]\)`)
	remvLine = regexp.MustCompile(`^(?:Remv|Purg) (\S+)(?: \[(\S+)\])?`)
)

// parsePlan reads the output of apt-get --simulate. Lines of other kinds repeat
// what these say, or are for people.
func parsePlan(out []byte) plan {
	var p plan
	for line := range strings.Lines(string(out)) {
		if m := instLine.FindStringSubmatch(line); m != nil {
			if m[2] != "" {
				p.changes = append(p.changes, m[1]+" "+m[2]+" → "+m[3])
				continue
			}
			p.added = append(p.added, identity{name: m[1], version: m[3], arch: m[4]})
		} else if m := remvLine.FindStringSubmatch(line); m != nil {
			p.changes = append(p.changes, strings.TrimSpace(m[1]+" "+m[2])+" → none")
		}
	}
	return p
}
