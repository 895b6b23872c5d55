package recipes

import (
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ampoule/packaging"
	"ampoule/recipes/foreign"
)

// rule says what a text may be. Fields name their rule in the tag `is`, and the
// rule of a mapping's keys in the tag `keys`; the decoder, the schema and the
// reference all read it there.
type rule struct {
	// means completes "is not …".
	means string
	// enum lists the only texts; otherwise pattern matches them all.
	enum    []string
	pattern *regexp.Regexp
	// fits checks what a pattern cannot; nil for nothing.
	fits func(text string) bool
	// hint says what to write instead of a text; nil for nothing.
	hint func(text string) string
	// numbers is set where texts may look like YAML's numbers.
	numbers bool
	// example is a good text, as it stands in YAML.
	example string
}

func ruleOf(tag reflect.StructTag) rule { return rules[tag.Get("is")] }

func (r rule) allows(text string) bool {
	switch {
	case r.enum != nil:
		return slices.Contains(r.enum, text)
	case r.pattern != nil && !r.pattern.MatchString(text):
		return false
	default:
		return r.fits == nil || r.fits(text)
	}
}

func (r rule) hintFor(text string) string {
	switch {
	case r.hint != nil:
		return r.hint(text)
	case r.enum != nil:
		return suggestion(text, r.enum, "one of")
	default:
		return ""
	}
}

// suites are the Debian suites that bases are made of, with the glibc that each has.
var suites = []struct{ name, glibc string }{
	{"bullseye", "2.31"}, {"bookworm", "2.36"}, {"trixie", "2.41"},
}

// SuiteWithGlibc names the Debian suite whose glibc is that version: where the
// gate checks a VM target.
func SuiteWithGlibc(glibc string) (suite string, ok bool) {
	for _, s := range suites {
		if s.glibc == glibc {
			return s.name, true
		}
	}
	return "", false
}

func suiteNames() []string {
	names := make([]string, len(suites))
	for i, s := range suites {
		names[i] = s.name
	}
	return names
}

func glibcs() []string {
	versions := make([]string, len(suites))
	for i, s := range suites {
		versions[i] = s.glibc
	}
	return versions
}

func hintGlibc(string) string {
	parts := make([]string, len(suites))
	for i, s := range suites {
		parts[i] = fmt.Sprintf("%s (%s)", s.glibc, s.name)
	}
	return "one of " + strings.Join(parts, ", ") + "; the nearest older one is safe"
}

// checks are the names of the gate's checks.
var checks = []string{
	"abi3", "closure", "conflicts", "dlopen", "fingerprint", "hardening", "interpreter", "isa", "libpython-needed", "load", "loader", "metadata", "modules", "parse", "paths", "platform", "recipe-tests", "record", "rpath", "second-runtime", "startup", "symbols", "tags", "unwind", "versions",
}

const hex64 = `[0-9a-f]{64}`

var (
	groupName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	normalName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	// debianPackage is what Debian policy 5.6.1 says of names.
	debianPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	plainPath     = regexp.MustCompile(`^[A-Za-z0-9._+~:%@=/-]+$`)
	// lineOfText has no control characters, and is not empty.
	lineOfText = regexp.MustCompile(`^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$`)
)

// moduleName is a name in Python, without its package.
var moduleName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// rules by name. Sources: PEP 440 and 503 for distributions, Debian policy 5.6.1
// and 5.6.12 for packages, the OCI distribution specification for images.
var rules = map[string]rule{
	"API version": {means: "an API version that this Ampoule reads", enum: []string{APIVersion}, example: APIVersion},
	"name": {
		means: "a name: lower-case letters and digits, with single -, _ or . between them, at most 100; also with the team's before it, as team/web", example: "web",
		pattern: regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$`), fits: isName, hint: hintName,
	},
	"full version": {
		means: "a full version of CPython, 3.11 or later, such as 3.13.5", example: "3.13.5",
		pattern: regexp.MustCompile(`^3\.(1[1-9]|[2-9][0-9])\.(0|[1-9][0-9]?)((a|b|rc)[1-9][0-9]?)?$`), hint: hintVersion,
	},
	"sha256": {
		means: "a sha256 in 64 lower-case hexadecimal digits", pattern: regexp.MustCompile(`^` + hex64 + `$`),
		example: "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
		hint: func(text string) string {
			if fits, ok := strings.CutPrefix(strings.ToLower(text), "sha256:"); ok {
				return "write the digits alone: " + fits
			}
			return "`sha256sum FILE` prints it"
		},
	},
	"flag":          {means: "a flag", pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]+$`), example: "--enable-optimizations"},
	"module":        {means: "the name of an extension module", pattern: moduleName, example: "_tkinter"},
	"linked module": {means: "the name of an extension module", pattern: moduleName, example: "_json"},
	"platform":      {means: "a platform that Ampoule builds for; only linux/amd64 is, for now", enum: []string{"linux/amd64"}, example: "linux/amd64"},
	"suite":         {means: "a Debian suite that Ampoule knows", enum: suiteNames(), example: "bookworm"},
	"image": {
		means:   "an image by digest, NAME@sha256:…",
		pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:` + hex64 + `$`),
		fits:    atMost(512),
		example: "registry.example/base@sha256:" + strings.Repeat("0123456789abcdef", 4),
		hint: func(string) string {
			return "a tag may name another image tomorrow; `docker buildx imagetools inspect NAME` prints the digest that it names today"
		},
	},
	"library package": {
		means: "the name of a Debian package", example: "libmagic1", pattern: debianPackage,
		fits: func(text string) bool { return !strings.HasSuffix(text, ".so") && !strings.Contains(text, ".so.") },
		hint: func(text string) string {
			switch {
			case strings.Contains(text, ".so"):
				return "write the Debian package that has the library, such as libmagic1 for libmagic.so.1"
			case strings.ContainsAny(text, "=<>"):
				return "write the name alone; the lock pins the version"
			}
			return ""
		},
	},
	"Debian package": {
		means: "the name of a Debian package", example: "libpq-dev", pattern: debianPackage,
		hint: func(text string) string {
			if strings.ContainsAny(text, "=<>") {
				return "write the name alone; the lock pins the version"
			}
			return ""
		},
	},
	"distribution": {
		means: "a distribution's normalised name (PEP 503)", pattern: normalName, example: "psycopg2",
		hint: func(text string) string {
			if name := packaging.NormalName(text); name != text && normalName.MatchString(name) {
				return "write " + name
			}
			return ""
		},
	},
	"group": {
		means: "the name of a dependency group, normalised (PEP 735)", pattern: normalName, fits: atMost(100), example: "test",
		hint: func(text string) string {
			if name := packaging.NormalName(text); name != text && normalName.MatchString(name) {
				return "write " + name
			}
			return ""
		},
	},
	"extended file": {
		means: "a file to extend, relative to this one, that ends in .yaml or .yml", fits: isExtendedFile, example: "../python.yaml",
	},
	"file pattern": {means: "a pattern of paths from the recipe's directory", fits: isFilePattern, example: "docs/Dockerfile"},
	"requirements file": {
		means: "a requirements file, or a lock that is known, below the recipe's directory", fits: isRequirementsFile, hint: hintRequirementsFile, example: "requirements.txt",
	},
	"dependency group": {means: "the name of a dependency group", pattern: groupName, fits: packaging.IsName, example: "web"},
	"glibc":            {means: "the glibc of a Debian suite that Ampoule knows, where the gate can check the tree", enum: glibcs(), numbers: true, hint: hintGlibc, example: `"2.36"`},
	"CPU level":        {means: "an x86-64 level", enum: []string{"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"}, example: "x86-64-v2"},
	"soname":           {means: "a soname such as libcuda.so.1", pattern: regexp.MustCompile(`^[A-Za-z0-9_+.-]+\.so(\.[A-Za-z0-9_.+-]+)?$`), example: "libcuda.so.1"},
	"check":            {means: "a check of the gate", enum: checks, example: "libpython-needed"},
	"glob":             {means: "a pattern of paths in the tree, relative and without ..", fits: isGlob, example: "bin/uwsgi"},
	"library glob":     {means: "a pattern of libraries' paths in the tree", fits: isGlob, example: "lib/python3.13/site-packages/torch/lib/*.so"},
	"module glob":      {means: "a pattern of modules' paths in the tree", fits: isGlob, example: "lib/python3.13/site-packages/torchvision/*.so"},
	"text":             {means: "one line of text", pattern: lineOfText, example: "embeds Python"},
	"reason":           {means: "one line of text", pattern: lineOfText, example: "import torch loads them"},
	"date":             {means: "a date such as 2027-03-01", pattern: regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`), fits: isDate, example: "2027-03-01"},
	"import":           {means: "the name of a module to import", fits: isModuleName, pattern: regexp.MustCompile(`^[^\s.]+(\.[^\s.]+)*$`), example: "flask"},
	"argument":         {means: "an argument", numbers: true, example: "flask, --version", fits: func(text string) bool { return !strings.Contains(text, "\x00") }},
	"requirement":      {means: "a requirement (PEP 508)", example: "flask>=3.1"},
	"source directory": {
		means: "a directory, relative to the recipe's", fits: isSourceDirectory, hint: hintSourceDirectory, example: ".",
	},
	"member directory": {
		means: "a directory, relative to the recipe's", fits: isSourceDirectory, hint: hintSourceDirectory, example: "libs/foo",
	},
	"exclude pattern": {
		means: "a pattern of files of a wheel, relative and without ..", fits: isExcludePattern, hint: hintExclude, example: "tests/**",
	},
	"source pattern": {means: "a pattern of paths, relative and without ..", fits: isSourcePattern, example: "pyproject.toml, src"},
	"extra": {
		means: "the normalised name of an extra (PEP 685)", pattern: normalName, example: "postgres",
		hint: func(text string) string {
			if name := packaging.NormalName(text); name != text && normalName.MatchString(name) {
				return "write " + name
			}
			return ""
		},
	},
	"version rule": {means: "where a version comes from", enum: []string{VersionStatic, VersionTags, VersionBackend}},
	"build requirement": {
		means: "a requirement by name (PEP 508)", example: `"setuptools<81"`,
		fits: func(text string) bool { _, err := parseRequirement(text); return err == nil },
		hint: hintRequirement,
	},
	"variable": {
		means: "a variable that a recipe may set", pattern: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`),
		fits: func(text string) bool { return !slices.Contains(ownVariables, text) }, hint: hintVariable, example: "LXML_DEBUG",
	},
	"setting":          {means: "the name of a config setting", pattern: regexp.MustCompile(`^[^\x00-\x20\x7f]+$`), fits: atMost(200), example: "setup-args"},
	"value":            {means: "one line of text", pattern: regexp.MustCompile(`^[^\x00-\x1f\x7f]*$`), fits: atMost(4096), numbers: true, example: "-Dtests=false"},
	"patch file":       {means: "a file below the recipe's directory that ends in .patch or .diff", fits: isPatchFile, example: "patches/lxml-parser.patch"},
	"locked patch":     {means: "a file, relative to the recipe, that ends in .patch or .diff", fits: isLockedPatch},
	"overrides switch": {means: "none", enum: []string{"none"}, example: "none"},
	"name pattern": {
		means: "a pattern of normalised distribution names", fits: isNamePattern, example: "onnxruntime",
		pattern: regexp.MustCompile(`^[a-z0-9*?\[\]^-]+$`),
	},
	"specifiers": {means: "version specifiers (PEP 440)", fits: areSpecifiers, example: `">=2,<3"`},
	"revision":   {means: "a number from 1 on", pattern: regexp.MustCompile(`^[1-9][0-9]{0,5}$`), numbers: true, example: "1"},
	"wheel kind": {means: "a kind of wheel that is taken as it is published", enum: []string{BuildTool, PureWheel}, example: BuildTool},

	"profile": {
		means: `"sha256:" and 64 lower-case hexadecimal digits`, pattern: regexp.MustCompile(`^sha256:` + hex64 + `$`),
		example: "sha256:93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
	},

	"executable form": {means: NoPIE, enum: []string{NoPIE}, example: NoPIE},
	"compiler": {
		means: "a compiler of the base's suite: gcc, clang, or one of its versions, such as clang-19", example: "clang-19",
		pattern: regexp.MustCompile(`^(gcc|clang)(-[1-9][0-9]?)?$`), hint: hintCompiler,
	},
	"configure variable": {means: "a variable that configure takes flags from", enum: configureVariables, example: "CFLAGS_NODIST"},
	"compiler flags": {
		means: "flags in one line", example: "-fno-plt -falign-functions=32",
		pattern: regexp.MustCompile(`^[A-Za-z0-9_.,:+=/@%~ -]+$`), fits: atMost(4096),
		hint: func(string) string {
			return "flags are words with blanks between them; neither make nor a shell is to find anything of its own there"
		},
	},

	"version":       {means: "a version", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+!_-]*$`), fits: packaging.IsVersion},
	"deb version":   {means: "the version of a Debian package", pattern: regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)},
	"arch":          {means: "a Debian architecture of this platform", enum: []string{"amd64", "all"}},
	"pool path":     {means: "a clean path below the archive's root that ends in .deb", fits: isPoolPath},
	"source file":   {means: "the name of a CPython source archive", pattern: regexp.MustCompile(`^Python-3\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?\.(tar\.xz|tgz)$`)},
	"dist file":     {means: "the plain name of a wheel (.whl) or sdist (.tar.gz, .zip)", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+!-]*\.(whl|tar\.gz|zip)$`), fits: atMost(255)},
	"source":        {means: "the name of a source in the configuration", pattern: regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`), fits: atMost(100)},
	"dist ID":       {means: "a dist as NAME==VERSION", pattern: regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*==[A-Za-z0-9][A-Za-z0-9.+!_-]*$`)},
	"target":        {means: "a runtime target", enum: []string{"container", "vm"}},
	"crate":         {means: "the name of a crate", pattern: regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)},
	"crate version": {means: "a version as crates have it (semantic versioning)", pattern: regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([+-][0-9A-Za-z.+-]+)?$`), fits: atMost(100)},
	"crate pin": {
		means: "a crate with the one version of it that is taken, NAME==VERSION", example: `regex==1.11.1`,
		pattern: regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}==[0-9]+\.[0-9]+\.[0-9]+([+-][0-9A-Za-z.+-]+)?$`), fits: atMost(165),
		hint: func(string) string { return "write all three numbers of its version, such as regex==1.11.1" },
	},
	"Cargo.lock path": {means: "a clean path below the sdist's top directory that ends in Cargo.lock", fits: isCargoLockPath},
	"Cargo.lock text": {means: "the text of a Cargo.lock, at most 1 MiB", fits: isCargoLockText},
	"known flag":      {means: "a configure flag without a value", pattern: regexp.MustCompile(`^--(enable|with)-[a-z0-9-]+$`)},
}

func atMost(n int) func(string) bool { return func(text string) bool { return len(text) <= n } }

func isDate(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

func isGlob(text string) bool {
	_, err := path.Match(text, "")
	return err == nil && text != "" && !path.IsAbs(text) && !slices.Contains(strings.Split(text, "/"), "..")
}

func isFilePattern(text string) bool {
	_, err := path.Match(text, "")
	return err == nil && lineOfText.MatchString(text) && !path.IsAbs(text)
}

// ownVariables decide what every build has in common: a recipe that could set them
// could undo what makes a build repeatable, or load code that no lock names.
var ownVariables = []string{
	"HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LD_PRELOAD", "MAKEFLAGS", "PATH", "PYTHONHOME", "PYTHONPATH",
	"SOURCE_DATE_EPOCH", "TMPDIR", "TZ", "VIRTUAL_ENV",
}

// configureVariables are those of CPython's configure that hold flags ("Configure Python" in its
// documentation). What trains BOLT or the compiler is not among them.
var configureVariables = []string{
	"BOLT_APPLY_FLAGS", "BOLT_COMMON_FLAGS", "BOLT_INSTRUMENT_FLAGS", "CFLAGS", "CFLAGS_NODIST", "CPPFLAGS", "LDFLAGS", "LDFLAGS_NODIST", "OPT",
}

func hintCompiler(text string) string {
	switch name, _, _ := strings.Cut(strings.TrimPrefix(text, "/usr/bin/"), "-"); name {
	case "g++", "cc", "c++":
		return "write gcc; the C++ compiler follows"
	case "clang++", "llvm":
		return "write clang; the C++ compiler follows"
	}
	return "write gcc, clang, or one of their versions as its Debian package is called, such as gcc-13 or clang-19"
}

func hintVariable(text string) string {
	if slices.Contains(ownVariables, text) {
		return text + " is the same in every build"
	}
	return ""
}

func hintRequirement(text string) string {
	if _, err := parseRequirement(text); err != nil {
		return err.what
	}
	return ""
}

func isPatchFile(text string) bool {
	return isPlainPath(text) && (strings.HasSuffix(text, ".patch") || strings.HasSuffix(text, ".diff")) && len(text) <= 512
}

func isNamePattern(text string) bool {
	_, err := path.Match(text, "")
	return err == nil
}

func isModuleName(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		for i, c := range part {
			if c != '_' && !unicode.IsLetter(c) && (i == 0 || !unicode.IsDigit(c)) {
				return false
			}
		}
	}
	return true
}

func isPoolPath(text string) bool {
	return isPlainPath(text) && strings.HasPrefix(text, "pool/") && strings.HasSuffix(text, ".deb") && len(text) <= 512
}

func isCargoLockPath(text string) bool {
	return isPlainPath(text) && path.Base(text) == "Cargo.lock" && len(text) <= 512
}

// isCargoLockText reports whether a text is lines that each end, and that a block of YAML
// holds as they are.
func isCargoLockText(text string) bool {
	return len(text) <= MaxCargoLock && strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\n\n") &&
		text[0] > ' ' && utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return c != '\n' && (unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\ufeff')
	})
}

// isPlainPath reports whether text is a clean relative path that leads nowhere else,
// of characters that need no escaping in a URL.
func isPlainPath(text string) bool {
	return plainPath.MatchString(text) && path.Clean(text) == text && localPath(text)
}

// localPath reports whether a slash-separated path stays below where it starts.
func localPath(text string) bool {
	return text != "" && !path.IsAbs(text) && path.Clean(text) != ".." && !strings.HasPrefix(path.Clean(text), "../") && !strings.Contains(text, `\`)
}

func isRequirementsFile(text string) bool {
	if !localPath(text) || path.Clean(text) == "." || strings.HasSuffix(text, "/") || strings.ContainsAny(text, "\n\r\x00") {
		return false
	}
	_, isLock := foreign.Recognise(text)
	return isLock || !slices.Contains([]string{".toml", ".lock", ".json", ".yaml", ".yml", ".cfg", ".py"}, path.Ext(text)) && path.Base(text) != "Pipfile"
}

func hintRequirementsFile(text string) string {
	if !localPath(text) {
		return "a recipe reads files of its own directory only"
	}
	names := make([]string, len(foreign.Formats))
	for i, f := range foreign.Formats {
		names[i] = string(f)
	}
	return "name a file in pip's requirements format, or a lock of the name " + strings.Join(names, ", ") + " or pylock.NAME.toml"
}

// oldPython is a version before 3.11, which has what building takes (decision 0004).
var oldPython = regexp.MustCompile(`^(2|3\.([0-9]|10))(\.|$)`)

func hintVersion(text string) string {
	partial := strings.TrimSuffix(strings.TrimLeft(text, "=<>!~^ v"), ".*")
	if oldPython.MatchString(partial) {
		return "CPython before 3.11 is not built; the newest known releases are " + strings.Join(newestPythons(), ", ")
	}
	for _, v := range PreferredPythons() {
		if partial != "" && strings.HasPrefix(v+".", partial+".") {
			return fmt.Sprintf("a recipe pins one version; write it in full, for example %s", v)
		}
	}
	return "a recipe pins one version; write it in full"
}
