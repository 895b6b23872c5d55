package packaging

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tag says what a wheel runs on (PEP 425): cp313-cp313-manylinux_2_17_x86_64.
type Tag struct{ Python, ABI, Platform string }

func (t Tag) String() string { return t.Python + "-" + t.ABI + "-" + t.Platform }

// Pure reports whether the tag promises that there is nothing for one machine in the wheel.
func (t Tag) Pure() bool { return t.ABI == "none" && t.Platform == "any" }

// ErrTag is wrapped by errors about texts that are not tags.
var ErrTag = errors.New("not a wheel's tag")

// maxTags bounds what a compressed tag may stand for.
const maxTags = 1024

// ParseTags reads one tag, or a compressed set of them (PEP 425, "Compressed Tag Sets"):
// py2.py3-none-any stands for two. Each is there once, in small letters: case does not count.
// The error wraps [ErrTag].
func ParseTags(text string) ([]Tag, error) {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%.100q: %w", text, ErrTag)
	}
	pythons, abis, platforms := strings.Split(parts[0], "."), strings.Split(parts[1], "."), strings.Split(parts[2], ".")
	if max(len(pythons), len(abis), len(platforms)) > maxTags || len(pythons)*len(abis)*len(platforms) > maxTags {
		return nil, fmt.Errorf("%.100q: more than %d tags: %w", text, maxTags, ErrTag)
	}
	for _, p := range pythons {
		if !identifier.MatchString(p) {
			return nil, fmt.Errorf("%.100q: %w", text, ErrTag)
		}
	}
	if slices.Contains(abis, "") || slices.Contains(platforms, "") {
		return nil, fmt.Errorf("%.100q: %w", text, ErrTag)
	}
	var tags []Tag
	seen := map[Tag]bool{}
	for _, p := range pythons {
		for _, a := range abis {
			for _, m := range platforms {
				tag := Tag{strings.ToLower(p), strings.ToLower(a), strings.ToLower(m)}
				if !seen[tag] {
					seen[tag] = true
					tags = append(tags, tag)
				}
			}
		}
	}
	return tags, nil
}

// identifier matches the first part of a tag.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CPython is an interpreter that wheels are for.
type CPython struct {
	// Minor is that of 3.MINOR.
	Minor int
	// Flags are the ABI flags of its executable's name: "t" free-threaded, "d" debug.
	Flags string
	// Machine is as platform tags have it: x86_64, aarch64.
	Machine string
	// Musl says that it runs on musl and not on glibc.
	Musl bool
}

// Threaded reports whether it is a free-threaded build (PEP 703).
func (p CPython) Threaded() bool { return strings.Contains(p.Flags, "t") }

// Supports reports whether an installer would take a wheel with that tag for this Python on
// Linux (PEP 425, PEP 600, PEP 656, PEP 703, PEP 803; packaging.tags). How old a glibc the
// platform tag promises is not judged: symbol versions say what the files really need.
func (p CPython) Supports(t Tag) bool {
	return p.supportsABI(t.Python, t.ABI) && p.SupportsPlatform(t)
}

// oldestStable is the minor version of the first Python 3 with a stable ABI (PEP 384).
const oldestStable = 2

var pythonTag = regexp.MustCompile(`^(cp|py)3(0|[1-9]\d*)?$`)

func (p CPython) supportsABI(python, abi string) bool {
	m := pythonTag.FindStringSubmatch(python)
	if m == nil {
		return false
	}
	minor := -1 // py3 is any
	if m[2] != "" {
		var err error
		if minor, err = strconv.Atoi(m[2]); err != nil {
			return false
		}
	}
	own := minor == p.Minor
	switch {
	case m[1] == "py":
		return abi == "none" && minor <= p.Minor
	case minor < 0:
		return false
	case abi == "abi3":
		// The stable ABI of one version holds for later ones; free-threaded builds have their own.
		return minor >= oldestStable && minor <= p.Minor && !p.Threaded()
	case abi == "abi3t":
		return minor >= oldestStable && minor <= p.Minor && p.Threaded()
	case abi == "none":
		return own
	}
	// A debug build takes modules of a release build since 3.8.
	return own && (abi == fmt.Sprintf("cp3%d%s", p.Minor, p.Flags) || abi == fmt.Sprintf("cp3%d%s", p.Minor, strings.ReplaceAll(p.Flags, "d", "")))
}

// SupportsPlatform reports whether the tag's platform is that of this Python, as Supports does.
func (p CPython) SupportsPlatform(t Tag) bool {
	if t.Platform == "any" {
		return t.ABI == "none"
	}
	at, ok := ParsePlatform(t.Platform)
	fits := at.Libc == "" || at.Libc == Glibc && !p.Musl || at.Libc == Musl && p.Musl
	return ok && fits && at.Machine == p.Machine
}
