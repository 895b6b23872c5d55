package wheel

import (
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

// legacy are the names of before PEP 600.
var legacy = regexp.MustCompile(`^(linux|manylinux1|manylinux2010|manylinux2014)_(\w+)$`)

var legacyMinors = map[string]int{"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}

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
	return Platform{Libc: Glibc, Major: 2, Minor: legacyMinors[m[1]], Machine: m[2]}, true
}
