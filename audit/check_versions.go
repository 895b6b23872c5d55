package audit

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "versions",
		reason: "every required symbol version exists in the library that the target has",
		needs:  aMachine,
		run:    checkVersions,
	})
}

// checkVersions compares DT_VERNEED with DT_VERDEF as glibc's
// _dl_check_map_versions does, and with the target's floor.
func checkVersions(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, o := range x.parsed() {
		for _, n := range o.Needs {
			out.examined += len(n.Versions)
		}
	}
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if x.idle(l.root.object) {
				continue
			}
			for _, lib := range l.list {
				if !lib.inTree {
					continue
				}
				for _, n := range lib.Needs {
					for _, f := range x.versionFaults(r, l, lib, n) {
						x.excuse(&f, l.root.object)
						out.add(f)
					}
				}
			}
		}
	}
	return out, nil
}

// versionFaults judges the versions that an object requires of one library.
func (x *exam) versionFaults(r run, l loading, by *loaded, n elf.Need) []Finding {
	lib := l.byName(n.File)
	if lib == nil && slices.ContainsFunc(by.deps, func(d dependency) bool { return d.name == n.File }) {
		return nil // closure tells that it is missing
	}
	if lib != nil && (lib.host || lib.fault != nil) {
		return nil
	}
	var findings []Finding
	for _, v := range n.Versions {
		if v.Weak {
			continue
		}
		f := Finding{
			Severity: Refuse, File: by.Path, Field: "DT_VERNEED",
			Value: printable(n.File + " " + v.Name), Targets: []string{r.Name},
		}
		switch {
		case lib == nil:
			f.Cause = "A version of " + printable(n.File) + " is required, which the file does not need."
			f.Remedy = "Link the file with that library."
		case !lib.Versioned && l.asks(by, lib, v.Name):
			f.Cause = lib.label() + " has no versions at all: the loader ends the process where the file asks it for a symbol of one (dl-lookup.c, check_match)."
			f.Remedy = "Take the library from where the file's was taken, or build the file against this one."
		case len(lib.Defines) == 0:
			f.Severity = Warn
			f.Cause = lib.label() + " defines no versions; the loader accepts any symbol of that name."
			f.Remedy = words(r.found, "Build against the library that is carried.", "Nothing, as long as it works.")
		case !slices.Contains(lib.Defines, v.Name):
			f.Cause = lib.label() + " of the target does not define " + printable(v.Name) + "."
			f.Remedy = "Build on a base that is not newer than the target, or carry the newer library in the tree."
			if x.found {
				f.Cause = lib.label() + " does not define " + printable(v.Name) + "."
				f.Remedy = versionRemedy(n.File, v.Name)
			}
		case IsGlibc(n.File) && aboveFloor(v.Name, r.Glibc):
			f.Cause = "The target promises glibc " + r.Glibc + " only."
			f.Remedy = "Build on a base with that glibc, or raise the target's floor."
		default:
			continue
		}
		findings = append(findings, f)
	}
	return findings
}

// asks reports whether a file asks for a symbol of a version that a library defines, and that
// nothing defines before it.
func (p *process) asks(by, lib *loaded, version string) bool {
	before := p.list[:max(slices.Index(p.list, lib), 0)]
	return slices.ContainsFunc(by.wants, func(w want) bool {
		return w.asked.Value() == version && lib.gives.has(hashName(w.Value())) &&
			!slices.ContainsFunc(before, func(l *loaded) bool { return l.object != nil && l.binds(w) })
	})
}

// versionRemedy says how somebody who has found a file gets the version of a library that it
// lacks.
func versionRemedy(library, version string) string {
	switch {
	case IsGlibc(library):
		return "The file is for a newer glibc than this system's: take a wheel with a lower manylinux tag, build it here, or run it on a newer system."
	case strings.HasPrefix(version, "GLIBCXX_") || strings.HasPrefix(version, "CXXABI_") || strings.HasPrefix(version, "GCC_"):
		return "The file is for the runtime of a newer compiler: install a newer libstdc++6 and libgcc-s1 (Debian), libstdc++ and libgcc (RHEL, Alpine), or conda's libstdcxx-ng where the interpreter is conda's; or take a wheel that is built on an older system."
	}
	return "Take a release of the file's distribution that is built for this library, or the library that it was built with."
}

// markers are versions of libc.so.6 by which files say that they need a loader that knows
// something, with the version of glibc that has them first.
var markers = map[string]string{
	relrVersion: "2.36", "GLIBC_ABI_GNU_TLS": "2.42", "GLIBC_ABI_GNU2_TLS": "2.42", "GLIBC_ABI_DT_X86_64_PLT": "2.42",
}

// aboveFloor reports whether a GLIBC_ version is newer than the floor, which may be empty.
func aboveFloor(version, floor string) bool {
	if floor == "" {
		return false
	}
	if since, ok := markers[version]; ok {
		version = "GLIBC_" + since
	}
	have, ok := parseGlibc(version)
	limit, _ := parseGlibc("GLIBC_" + floor)
	return ok && slices.Compare(have, limit) > 0
}

// parseGlibc reads GLIBC_2.36; GLIBC_PRIVATE and the like are no versions.
func parseGlibc(s string) ([]int, bool) {
	rest, ok := strings.CutPrefix(s, "GLIBC_")
	if !ok {
		return nil, false
	}
	var numbers []int
	for _, part := range strings.Split(rest, ".") {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, int(n))
	}
	return numbers, len(numbers) >= 2
}
