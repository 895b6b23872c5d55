package recipes

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"

	"ampoule/packaging"
)

// flags.json is written from source archives:
//
//	go run ./internal/gen -o flags.json ARCHIVE...
//
//go:embed flags.json
var flagsJSON []byte

// PythonRelease is a CPython release that this Ampoule knows.
type PythonRelease struct {
	// Version is the full version: 3.13.5.
	Version string `json:"version"`
	// File is upstream's name of the source archive and SHA256 its hash. A release
	// has archives of several compressions; this is the one that was read.
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	// Flags are the configure flags that the release knows, in positive polarity
	// and without values, sorted: --enable-shared, --with-lto.
	Flags []string `json:"flags"`
}

var releases = sync.OnceValue(func() []PythonRelease {
	var table []PythonRelease
	if err := json.Unmarshal(flagsJSON, &table); err != nil {
		panic("recipes: flags.json: " + err.Error())
	}
	slices.SortFunc(table, func(a, b PythonRelease) int { return compareVersions(a.Version, b.Version) })
	return table
})

// KnownPython gives the release of that full version, if this Ampoule knows it.
func KnownPython(version string) (PythonRelease, bool) {
	for _, r := range releases() {
		if r.Version == version {
			r.Flags = slices.Clone(r.Flags)
			return r, true
		}
	}
	return PythonRelease{}, false
}

// KnownPythons gives the releases that this Ampoule knows, oldest first.
func KnownPythons() []PythonRelease { return slices.Clone(releases()) }

// releases.txt has a line for each final release from 3.11: its version, and the sha256
// of its Python-VERSION.tar.xz (docs/decisions/0072).
//
//go:embed releases.txt
var releasesText string

// PythonSource is the source archive of a CPython release.
type PythonSource struct{ Version, File, SHA256 string }

var sources = sync.OnceValue(func() []PythonSource {
	var table []PythonSource
	for line := range strings.Lines(releasesText) {
		version, sum, _ := strings.Cut(strings.TrimSpace(line), " ")
		table = append(table, PythonSource{version, "Python-" + version + ".tar.xz", sum})
	}
	return table
})

// KnownSource gives the source archive of the release of that full version, if this
// Ampoule knows its hash. Of a release that is no [KnownPython] it knows nothing else.
func KnownSource(version string) (PythonSource, bool) {
	if r, ok := KnownPython(version); ok {
		return PythonSource{r.Version, r.File, r.SHA256}, true
	}
	i := slices.IndexFunc(sources(), func(s PythonSource) bool { return s.Version == version })
	if i < 0 {
		return PythonSource{}, false
	}
	return sources()[i], true
}

// newestPythons gives the newest release with a known source of each minor version,
// oldest first.
func newestPythons() []string {
	var newest []string
	for _, s := range sources() {
		if n := len(newest); n > 0 && minor(newest[n-1]) == minor(s.Version) {
			newest = newest[:n-1]
		}
		newest = append(newest, s.Version)
	}
	return newest
}

// NearestPythons gives the releases with a known source that are nearest to a version:
// the newest one of its minor version, or of every minor version where none is known.
func NearestPythons(version string) []string {
	newest := newestPythons()
	if i := slices.IndexFunc(newest, func(v string) bool { return minor(v) == minor(version) }); i >= 0 {
		return newest[i : i+1]
	}
	return newest
}

// minor cuts a version after its second number: 3.13 of 3.13.5.
func minor(version string) string {
	major, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	return major + "." + second
}

// IsPythonVersion reports whether a text is a full version of a CPython that recipes may
// name, known or not.
func IsPythonVersion(text string) bool { return rules["full version"].allows(text) }

// compareVersions orders full versions of CPython, which all are versions of PEP 440.
func compareVersions(a, b string) int {
	v, _ := packaging.ParseVersion(a)
	w, _ := packaging.ParseVersion(b)
	return v.Compare(w)
}

var userOption = regexp.MustCompile(`^(enable|with)_([a-z0-9_]+)$`)

// ExtractFlags finds the flags for features and packages that a configure script
// knows, in the form of [PythonRelease.Flags]: the variables of its
// ac_user_opts, by which autoconf's scripts themselves tell what they know.
// `configure --help` lists fewer. nil means that the script has no such list.
func ExtractFlags(configure []byte) []string {
	_, rest, found := bytes.Cut(configure, []byte("\nac_user_opts='\n"))
	if !found {
		return nil
	}
	list, _, found := bytes.Cut(rest, []byte("'"))
	if !found {
		return nil
	}
	var flags []string
	for word := range strings.FieldsSeq(string(list)) {
		m := userOption.FindStringSubmatch(word)
		if m == nil || word == "enable_option_checking" {
			continue
		}
		flags = append(flags, "--"+m[1]+"-"+strings.ReplaceAll(m[2], "_", "-"))
	}
	slices.Sort(flags)
	return slices.Compact(flags)
}

// PreferredPythons gives the releases with a known source, best first: those that are a
// [KnownPython], whose source Debian has, and then the others; the newest first in both.
func PreferredPythons() []string {
	var known, others []string
	for _, s := range slices.Backward(sources()) {
		if _, ok := KnownPython(s.Version); ok {
			known = append(known, s.Version)
		} else {
			others = append(others, s.Version)
		}
	}
	return append(known, others...)
}

// NewestPython gives the newest release with a known source of the minor version that a release is of.
func NewestPython(version string) string {
	newest := version
	for _, s := range sources() {
		if minor(s.Version) == minor(version) && compareVersions(s.Version, newest) > 0 {
			newest = s.Version
		}
	}
	return newest
}
