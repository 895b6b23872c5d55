package audit

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ampoule/packaging"
)

func init() {
	register(check{
		name:   "abi3",
		reason: "modules of the stable ABI use nothing but what the claimed version has of it",
		run:    checkABI3,
	})
}

//go:embed abi3.txt
var abi3Text string

// abi3 are the symbols of the stable ABI, with the minor version of Python 3 that added each.
var abi3 = sync.OnceValue(func() map[string]int {
	symbols := map[string]int{}
	for line := range strings.Lines(abi3Text) {
		name, minor, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(minor); err == nil {
			symbols[name] = n
		}
	}
	return symbols
})

// checkABI3 holds modules that are named or tagged abi3 or abi3t to their word, and the
// libraries of such wheels (PEP 384, PEP 652, PEP 803): a cache or an index hands them to
// every later Python. That this tree's interpreter has the symbols is the business of the
// check symbols.
func checkABI3(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	claims, api := x.abi3Claims(), x.pythonAPI()
	for _, o := range x.parsed() {
		claim, ok := claims[o.entry.Path]
		switch named := o.isExtension() && stableName(path.Base(o.entry.Path)); {
		case !ok && !named:
			continue
		case !ok:
			// The wheel's tags are for one Python; the module's name claims no version.
			claim = x.python().Minor
			if !x.home.known() {
				continue
			}
		}
		out.examined++
		var beyond []string
		for _, w := range o.wants {
			name := w.Value()
			if added, ok := abi3()[name]; api.has(name) && (!ok || added > claim) {
				beyond = append(beyond, name)
			}
		}
		if len(beyond) == 0 {
			continue
		}
		slices.Sort(beyond)
		f := Finding{
			Severity: Refuse, File: o.entry.Path, Field: "undefined", Value: printable(strings.Join(beyond[:min(len(beyond), maxNamed)], " ")),
			Cause:  fmt.Sprintf("The file claims the stable ABI of Python 3.%d, which does not have the symbol: another Python that is given the wheel may fail to load it.", claim),
			Remedy: "Compile it with the Py_LIMITED_API (for abi3t Py_TARGET_ABI3T) that its tag claims, or without such a tag.",
		}
		if x.found || x.foreign(o.entry.Owner) {
			f.Severity = Warn
		}
		out.add(f)
	}
	return out, nil
}

// stableName reports whether a module is named for the stable ABI: spam.abi3.so, or with the
// machine in it, as of Python 3.15 (PEP 803).
func stableName(base string) bool {
	_, rest, _ := strings.Cut(base, ".")
	abi, so := strings.CutSuffix(rest, ".so")
	abi, _, _ = strings.Cut(abi, "-")
	return so && (abi == "abi3" || abi == "abi3t")
}

// abi3Claims says of each file of the distributions whose tags have abi3 or abi3t which
// version of it they claim, the lowest.
func (x *exam) abi3Claims() map[string]int {
	claims := map[string]int{}
	for _, d := range x.dists() {
		tags, f := x.tagsOf(d)
		if f != nil {
			continue
		}
		lowest := lowestABI3(tags)
		if lowest < 0 {
			continue
		}
		for _, row := range d.rows {
			p, ok := recorded(x.home.site, row.Path)
			// A module that is named for one Python is looked for by that one alone.
			if ok && x.objects[p] != nil && !strings.Contains(path.Base(p), ".cpython-") {
				claims[p] = lowest
			}
		}
	}
	return claims
}

// lowestABI3 is the lowest minor version of the tags cp3MINOR-abi3 and cp3MINOR-abi3t; -1
// without one.
func lowestABI3(tags []packaging.Tag) int {
	lowest := -1
	for _, t := range tags {
		minor, ok := strings.CutPrefix(t.Python, "cp3")
		n, err := strconv.Atoi(minor)
		if (t.ABI == "abi3" || t.ABI == "abi3t") && ok && err == nil && (lowest < 0 || n < lowest) {
			lowest = n
		}
	}
	return lowest
}
