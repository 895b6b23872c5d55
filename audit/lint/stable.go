package lint

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
)

// Module says which Pythons an extension module could work with, as far as the symbols that
// it asks for tell: what headers have put into it as code asks for nothing (PEP 384).
type Module struct {
	File string `json:"file"`
	// Claims is the oldest Python whose stable ABI the module claims, 3.N; empty where it
	// claims none.
	Claims string `json:"claims,omitempty"`
	// Lowest is the oldest Python whose stable ABI has all that the module asks for; empty
	// where it asks for more than any has.
	Lowest string `json:"lowest,omitempty"`
	// Beyond are symbols of CPython's that are not in the stable ABI; Newer those that came
	// later than the claim, with the Python that added each.
	Beyond []string          `json:"beyond,omitempty"`
	Newer  map[string]string `json:"newer,omitempty"`
}

// modules looks at each extension module.
func (x *exam) modules() []Module {
	modules := []Module{}
	for _, n := range x.natives {
		if n.module == "" || n.IsExecutable() {
			continue
		}
		m := Module{File: n.member}
		claimed := x.stableClaim(n.member)
		m.Claims = python3(claimed)
		lowest := oldestStable
		for _, s := range n.Symbols {
			if s.Defined || !audit.IsPythonAPI(s.Name) {
				continue
			}
			minor, ok := audit.StableSince(s.Name)
			switch {
			case !ok:
				m.Beyond = append(m.Beyond, s.Name)
			case claimed > 0 && minor > claimed:
				if m.Newer == nil {
					m.Newer = map[string]string{}
				}
				m.Newer[s.Name] = python3(minor)
			}
			lowest = max(lowest, minor)
		}
		slices.Sort(m.Beyond)
		m.Beyond = slices.Compact(m.Beyond)
		if len(m.Beyond) == 0 {
			m.Lowest = python3(lowest)
		}
		modules = append(modules, m)
	}
	return modules
}

// oldestStable is the minor version of the first Python with a stable ABI.
const oldestStable = 2

func python3(minor int) string {
	if minor <= 0 {
		return ""
	}
	return "3." + strconv.Itoa(minor)
}

func minorOf(version string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "3."))
	return n
}

// stableClaim is the minor version of the oldest Python whose stable ABI a module claims: by
// the wheel's tags, unless the module is named for one Python; else 0. A module that is named
// abi3 in a wheel for one Python claims that Python's.
func (x *exam) stableClaim(member string) int {
	base, oldest := path.Base(member), 0
	named := strings.Contains(base, ".abi3.") || strings.Contains(base, ".abi3t.") || strings.Contains(base, ".abi3-")
	for _, t := range x.tags {
		minor, err := strconv.Atoi(strings.TrimPrefix(t.Python, "cp3"))
		stable := t.ABI == "abi3" || t.ABI == "abi3t"
		if err != nil || !strings.HasPrefix(t.Python, "cp3") || !stable && !named {
			continue
		}
		if oldest == 0 || minor < oldest {
			oldest = minor
		}
	}
	if strings.Contains(base, ".cpython-") {
		return 0
	}
	return oldest
}

// stableNotes compares what modules claim with what they ask for.
func (x *exam) stableNotes(modules []Module) []Note {
	if len(modules) == 0 {
		return nil
	}
	var violate []string
	claims, lowest, all, newest := 0, 0, true, ""
	for _, m := range modules {
		if m.Claims != "" && len(m.Beyond)+len(m.Newer) > 0 {
			violate = append(violate, m.File)
			newest = cmp.Or(newest, first3(m))
		}
		claims = max(claims, minorOf(m.Claims))
		lowest = max(lowest, minorOf(m.Lowest))
		all = all && m.Lowest != ""
	}
	switch {
	case len(violate) > 0:
		return []Note{{
			Rule: "abi3-violation", Files: violate,
			Text:   fmt.Sprintf("The modules claim the stable ABI of Python 3.%d and ask for what it does not have: %s.", claims, newest),
			Remedy: "Compile them with the Py_LIMITED_API that the tag claims, or tag the wheel for what they need.",
		}}
	case claims > 0 && all && lowest < claims:
		return []Note{{
			Rule:   "abi3-older",
			Text:   fmt.Sprintf("By the symbols that its modules ask for, the wheel could be for Python 3.%d and later; it is tagged for 3.%d and later.", lowest, claims),
			Remedy: fmt.Sprintf("If those Pythons matter, compile it with the Py_LIMITED_API of 3.%d: symbols alone do not show what headers of 3.%d have put into it.", lowest, claims),
		}}
	case claims == 0 && all && x.forCPython3():
		return []Note{{
			Rule:   "abi3-possible",
			Text:   fmt.Sprintf("Its modules ask for nothing that the stable ABI of Python 3.%d does not have, and are built for one Python each.", lowest),
			Remedy: "Compile them with Py_LIMITED_API, if their sources do without what headers reach into objects for: one wheel then does for all Pythons.",
		}}
	}
	return nil
}

// first3 names what a module asks for beyond its claim, a few of it.
func first3(m Module) string {
	names := slices.Clone(m.Beyond)
	for name, version := range m.Newer {
		names = append(names, name+" ("+version+")")
	}
	slices.Sort(names)
	return strings.Join(names[:min(len(names), 3)], ", ")
}

// forCPython3 reports whether the wheel is for some CPython 3.
func (x *exam) forCPython3() bool {
	for _, t := range x.tags {
		if strings.HasPrefix(t.Python, "cp3") && strings.HasPrefix(t.ABI, "cp3") && !strings.HasSuffix(t.ABI, "t") {
			return true
		}
	}
	return false
}
