package explain

import (
	"regexp"
	"slices"
	"strings"
)

// ofMusl is a line that musl's loader wrote.
var ofMusl = regexp.MustCompile(`Error relocating |Error loading shared library `)

// glibcOnly are parts of commands that systems with musl have not, and what shows the same there.
var glibcOnly = []struct {
	command *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\$\(ldconfig -p \| awk '/lib(\w+)[^/]*/ \{print \$NF; exit\}'\)`), "$$(find /lib /usr/lib -name 'lib$1*' | head -n 1)"},
	{regexp.MustCompile(`\bldconfig -p \|`), "ls /lib /usr/lib /usr/local/lib |"},
	{regexp.MustCompile(`LD_DEBUG=libs .*`), "ldd PATH-OF-THE-MODULE"},
}

// onMusl are steps as they work where musl's loader is: there is no cache of libraries to
// list, the loader tells no search, and Alpine's packages come by apk.
func onMusl(steps []Step) []Step {
	var out []Step
	for _, step := range steps {
		for _, g := range glibcOnly {
			step.Run = g.command.ReplaceAllString(step.Run, g.instead)
		}
		if strings.HasPrefix(step.Run, "apt-") {
			if _, alpine, ok := strings.Cut(step.Says, "Alpine: apk "); ok {
				step = run("apk "+alpine, "Alpine's package that has it")
			}
		}
		if !slices.Contains(out, step) {
			out = append(out, step)
		}
	}
	return out
}
