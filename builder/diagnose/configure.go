package diagnose

import (
	"regexp"
	"strings"
)

// configureRules are the sentences of pkg-config and of autoconf's configure.
var configureRules = []rule{
	tooOld("but version of", `Requested '([^\s']+) ([<>=]+ ?[^\s']+)' but version of .* is (\S+)`),
	one("pkg-config search path", `Package '?([\w.+-]+)'? was not found in the pkg-config search path`, pkgConfig),
	one("not found", `Package '([\w.+-]+)',? required by '[^']*', not found`, pkgConfig),
	one("No package '", `No package '([\w.+-]+)' found`, pkgConfig),
	once(one("pkg-config", `pkg-config --exists ['"]?([\w.+-]+)['"]* returned non-zero`, pkgConfig)),
	once(one("'pkg-config'", `'pkg-config', .*'([\w.+-]+)'\]' returned non-zero`, pkgConfig)),
	one("The system library `", "The system library `([\\w.+-]+)` required by crate", pkgConfig),
	one("' is missing on your system", `'?([a-z]+)(?:-[\d.]+)?'? is missing on your system`, wantedProgram),
	one("possibly undefined macro", `possibly undefined macro: (?:AC_PROG_LIBTOOL|LT_INIT|AM_PROG_LIBTOOL|AC_DISABLE_STATIC)`, namedProgram("libtoolize")),
	one("possibly undefined macro", `possibly undefined macro: PKG_`, namedProgram("pkg-config")),
	one("no acceptable", `configure: error: no acceptable C\S* compiler`, namedProgram("gcc")),
	on("configure: error: ", `configure: error: (.+)`, configureError),
}

// pkgConfig says that pkg-config does not know a name.
func pkgConfig(s *scan, m []string) finding { return s.pkgConfig(m[1]) }

func (s *scan) pkgConfig(name string) finding {
	if f, ok := pythonPart(name); ok {
		return f
	}
	return finding{Cause: Cause{What: name + " is missing (asked of pkg-config)", Build: s.holdingPkgConfig(name)}, configured: true}
}

// tooOld makes a rule for what is there but too old; the expression gives its name,
// the versions that are wanted and the one that is there.
func tooOld(has, expr string) rule {
	return one(has, expr, func(_ *scan, m []string) finding {
		return finding{Cause: Cause{
			What:   m[1] + " is too old: the build wants " + m[2] + ", the suite has " + m[3],
			Advice: "take an older version of the distribution, or a base with a newer suite",
		}}
	})
}

var (
	headerWord  = regexp.MustCompile(`[\w./+-]+\.h(?:pp)?\b`)
	libraryWord = regexp.MustCompile(`\blib[a-z][\w.+-]*\b|-l[\w.+-]+`)
	plainWord   = regexp.MustCompile(`[A-Za-z][\w.+-]*`)
)

// configureError reads the free text with which configure ends. Its words name the
// missing thing, in no fixed way.
func configureError(s *scan, m []string) []finding {
	text := m[1]
	if strings.Contains(text, "Package requirements") || strings.Contains(text, "config.log") {
		return nil // other lines say it better
	}
	f := finding{Cause: Cause{What: "configure stopped: " + shortened(text)}}
	for _, word := range headerWord.FindAllString(text, 5) {
		f.Build = s.holdingHeader(word)
		if f.Build != nil {
			return []finding{f}
		}
	}
	for _, word := range libraryWord.FindAllString(text, 5) {
		name := strings.TrimPrefix(strings.TrimPrefix(word, "-l"), "lib")
		f.Build = s.holdingLibrary(name)
		if f.Build == nil {
			f.Build = s.anyOf("p", word, name)
		}
		if f.Build != nil {
			return []finding{f}
		}
	}
	for _, word := range plainWord.FindAllString(text, 8) {
		f.Build = s.anyOf("x", word)
		if f.Build == nil {
			f.Build = s.anyOf("c", strings.ToLower(word))
		}
		if f.Build != nil {
			return []finding{f}
		}
	}
	f.Advice = "add the packages that it asks for to build"
	return []finding{f}
}
