package unpack

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"

	"ampoule/packaging"
)

// maxName is the longest name that a file may have, in bytes (NAME_MAX).
const maxName = 255

// entryPoints reads the scripts that a wheel wants to have generated, console_scripts and
// gui_scripts, by their names. Without entry_points.txt there are none.
func (u *unpacking) entryPoints() (map[string]script, error) {
	member := u.info + "/entry_points.txt"
	points := map[string]script{}
	if _, ok := u.members[member]; !ok {
		return points, nil
	}
	data, err := u.read(member, maxText)
	if err != nil {
		return nil, err
	}
	for point := range packaging.EntryPoints(data) {
		if !point.IsScript() {
			continue
		}
		if err := u.entryPoint(points, point); err != nil {
			return nil, err
		}
	}
	return points, nil
}

// entryPoint keeps a script. The name is that of a file in bin.
func (u *unpacking) entryPoint(points map[string]script, point packaging.EntryPoint) error {
	name := point.Name
	module, attribute, ok := point.Object()
	switch {
	case !plainFile(name):
		return u.refuse(name, "an entry point of this name cannot be a script: it is no plain file name", "")
	case !ok:
		return u.refuse(name, fmt.Sprintf("the entry point leads to %q, which is not MODULE:FUNCTION", point.Value), "")
	}
	s := script{module, attribute}
	if other, twice := points[name]; twice && other != s {
		return u.refuse(name, "two entry points have this name", "")
	}
	points[name] = s
	return nil
}

// plainFile reports whether a name is that of a file, and of no directory, that shells and
// programs take as one word.
func plainFile(name string) bool {
	odd := func(r rune) bool {
		return r == '/' || r == '\\' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}
	return name != "" && len(name) <= maxName && name[0] != '.' && name[0] != '-' && path.Base(name) == name && !strings.ContainsFunc(name, odd)
}

// Names that pip writes of itself and of easy_install, with versions.
var (
	pipName         = regexp.MustCompile(`^pip(\d+(\.\d+)?)?$`)
	easyInstallName = regexp.MustCompile(`^easy_install(-\d+\.\d+)?$`)
)

// scriptsOf turns entry points into scripts: pip and easy_install, whose wheels are built
// with one interpreter, get the names of the one that they are installed for.
func scriptsOf(points map[string]script, version string) map[string]script {
	scripts := map[string]script{}
	pip, hasPip := points["pip"]
	easy, hasEasy := points["easy_install"]
	for name, s := range points {
		if hasPip && pipName.MatchString(name) || hasEasy && easyInstallName.MatchString(name) {
			continue
		}
		scripts[name] = s
	}
	if hasPip {
		major, _, _ := strings.Cut(version, ".")
		scripts["pip"], scripts["pip"+major], scripts["pip"+version] = pip, pip, pip
	}
	if hasEasy {
		scripts["easy_install"], scripts["easy_install-"+version] = easy, easy
	}
	return scripts
}
