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

// muslRelease is a release of musl, and the first one of Alpine that has it.
type muslRelease struct{ musl, alpine string }

// newInMusl are functions that musl got in a later release (its WHATSNEW).
var newInMusl = map[string]muslRelease{
	"preadv2": {"1.2.5", "3.20"}, "pwritev2": {"1.2.5", "3.20"}, "statx": {"1.2.5", "3.20"},
	"reallocarray": {"1.2.2", "3.13"}, "gettid": {"1.2.2", "3.13"}, "_Fork": {"1.2.2", "3.13"},
	"copy_file_range": {"1.1.24", "3.11"},
	"getentropy":      {"1.1.20", "3.9"}, "getrandom": {"1.1.20", "3.9"}, "explicit_bzero": {"1.1.20", "3.9"},
}

// newerMusl is about a file that was compiled with a newer musl than the one that loads it.
func newerMusl(file, symbol string, since muslRelease) Explanation {
	return Explanation{
		Means: file + " asks for " + symbol + ", which musl has as of " + since.musl + " (Alpine " + since.alpine + "), and the musl here is older: the file was compiled on a newer Alpine than the one that runs it, by an image of another tag, a copied directory, or packages of edge.",
		Find: []Step{
			run("cat /etc/alpine-release; apk info -v 2>/dev/null | grep ^musl-", "the release that runs it: build and run on images of one release (python:3.12-alpine3.19, and not python:3.12-alpine), or apk upgrade where the packages of two are mixed"),
			whoAsks(file),
		},
		Prevents: glibc,
		Checks:   []string{"closure", "tags"},
	}
}
