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
