package packaging

import (
	"fmt"
	"regexp"
	"strconv"
)

// Libc is the C library of a platform.
type Libc string

// The C libraries of Linux.
const (
	Glibc Libc = "glibc"
	Musl  Libc = "musl"
)

// Platform is what a platform tag of Linux promises: that files run on a machine with that
// version of a C library, or a later one, and with few other libraries (PEP 600, PEP 656).
type Platform struct {
	// Libc is empty for linux_MACHINE, which promises nothing.
	Libc         Libc
	Major, Minor int
	// Machine is x86_64, aarch64.
	Machine string
}

// Version is that of the C library, such as 2.17; empty without a promise.
func (p Platform) Version() string {
	if p.Libc == "" {
		return ""
	}
	return strconv.Itoa(p.Major) + "." + strconv.Itoa(p.Minor)
}

var versioned = regexp.MustCompile(`^(many|musl)linux_(\d{1,4})_(\d{1,4})_(\w+)$`)

// legacy matches the names of before PEP 600, and the one that promises nothing.
var legacy = regexp.MustCompile(`^(linux|manylinux1|manylinux2010|manylinux2014)_(\w+)$`)

// legacyNames are those of before PEP 600, by the minor version of the glibc 2 that they are
// for (PEP 513, PEP 571, PEP 599).
var legacyNames = map[int]string{5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}

// ParsePlatform reads a platform tag; false for one that is not of Linux.
func ParsePlatform(tag string) (Platform, bool) {
	if m := versioned.FindStringSubmatch(tag); m != nil {
		p := Platform{Libc: Glibc, Machine: m[4]}
		if m[1] == "musl" {
			p.Libc = Musl
		}
		p.Major, _ = strconv.Atoi(m[2]) // they have digits only
		p.Minor, _ = strconv.Atoi(m[3])
		return p, true
	}
	m := legacy.FindStringSubmatch(tag)
	switch {
	case m == nil:
		return Platform{}, false
	case m[1] == "linux":
		return Platform{Machine: m[2]}, true
	}
	for minor, name := range legacyNames {
		if name == m[1] {
			return Platform{Libc: Glibc, Major: 2, Minor: minor, Machine: m[2]}, true
		}
	}
	return Platform{}, false
}

// Tags are the platform tags with that promise, the name of today before the one of before
// PEP 600.
func (p Platform) Tags() []string {
	switch p.Libc {
	case Glibc:
		tags := []string{fmt.Sprintf("manylinux_%d_%d_%s", p.Major, p.Minor, p.Machine)}
		if name, ok := legacyNames[p.Minor]; ok && p.Major == 2 {
			tags = append(tags, name+"_"+p.Machine)
		}
		return tags
	case Musl:
		return []string{fmt.Sprintf("musllinux_%d_%d_%s", p.Major, p.Minor, p.Machine)}
	}
	return []string{"linux_" + p.Machine}
}

// oldestGlibc is the minor version of the oldest glibc 2 that platform tags of a machine
// promise: manylinux1's of x86-64, manylinux2014's of all others.
func oldestGlibc(machine string) int {
	if machine == "x86_64" || machine == "i686" {
		return 5
	}
	return 17
}

// Accepts lists the tags of the wheels that run on a machine with just this C library, of one
// major version: its own and those of every older one, the newest first.
func (p Platform) Accepts() []string {
	oldest := 0
	if p.Libc == Glibc && p.Major == 2 {
		oldest = oldestGlibc(p.Machine)
	}
	var tags []string
	for at := p; p.Libc != "" && at.Minor >= oldest; at.Minor-- {
		tags = append(tags, at.Tags()...)
	}
	return tags
}
