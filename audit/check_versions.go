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
					for _, f := range r.versionFaults(l, lib, n) {
						out.add(f)
					}
				}
			}
		}
	}
	return out, nil
}

// versionFaults judges the versions that an object requires of one library.
func (r run) versionFaults(l loading, by *loaded, n elf.Need) []Finding {
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
		case len(lib.Defines) == 0:
			f.Severity = Warn
			f.Cause = lib.label() + " defines no versions; the loader accepts any symbol of that name."
			f.Remedy = words(r.found, "Build against the library that is carried.", "Nothing, as long as it works.")
		case !slices.Contains(lib.Defines, v.Name):
			f.Cause = lib.label() + words(r.found, " of the target", "") + " does not define " + printable(v.Name) + "."
			f.Remedy = words(r.found, "Build on a base that is not newer than the target, or carry the newer library in the tree.",
				"Run it on a system whose library has that version, or take a release that is built for older ones, or compile it here.")
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

// aboveFloor tells whether a GLIBC_ version is newer than the floor, which may be empty.
func aboveFloor(version, floor string) bool {
	if floor == "" {
		return false
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
