package unpack

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// maxName is the longest name that a file may have, in bytes (NAME_MAX).
const maxName = 255

// reference matches what an entry point of a script leads to: MODULE:ATTRIBUTE, and extras,
// which say nothing to a script. Both are identifiers with dots.
var reference = regexp.MustCompile(`^([\p{L}\p{N}\p{M}_]+(?:\.[\p{L}\p{N}\p{M}_]+)*)\s*:\s*([\p{L}\p{N}\p{M}_]+(?:\.[\p{L}\p{N}\p{M}_]+)*)\s*(?:\[[^\[\]]*\])?$`)

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
	group := ""
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\r", "\n")) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			group = strings.Trim(line, "[]")
		case group == "console_scripts", group == "gui_scripts":
			if err := u.entryPoint(points, line); err != nil {
				return nil, err
			}
		}
	}
	return points, nil
}

// entryPoint reads NAME = MODULE:ATTRIBUTE. The name is that of a file in bin.
func (u *unpacking) entryPoint(points map[string]script, line string) error {
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	m := reference.FindStringSubmatch(value)
	switch {
	case !plainFile(name):
		return u.refuse(name, "an entry point of this name cannot be a script: it is no plain file name", "")
	case !ok || m == nil:
		return u.refuse(name, fmt.Sprintf("the entry point leads to %q, which is not MODULE:FUNCTION", value), "")
	}
	s := script{m[1], m[2]}
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
