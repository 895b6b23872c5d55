package table

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
)

// writeReleases tells how overrides go with the last releases of their distributions.
func writeReleases(b *strings.Builder, book *recorded.Book[recorded.Fit]) {
	names := slices.Sorted(maps.Keys(recipes.ShippedOverrides()))
	agree := 0
	for _, name := range names {
		if f, ok := book.Get(name); ok && len(f.Conflicts) == 0 {
			agree++
		}
	}
	fmt.Fprintf(b, `
### Beside the last releases

`+"`make releases`"+` compares each override that ships with the last five releases of its distribution (those with an sdist that is a .tar.gz file, or a pure wheel), and each of its rules with the last five
that the rule is for, one that adds build requirements with the last 30. Nothing is built: for every build requirement that both an override and the release's sdist (PEP 518) speak of there has to be a version that
all admit, which builds for CPython 3.13.5 could take; a limit has to leave a release; and what builds take as it is published has to be
published. What a build backend adds when it runs (PEP 517), and what requirements require in turn, is not compared. *held back* is how many of them limits leave out on purpose.
**%d of %d agree.**

| package | releases | held back | result | day |
|---|---|---|---|---|
`, agree, len(names))
	for _, name := range names {
		f, ok := book.Get(name)
		if !ok {
			row(b, code(name), none, none, "not compared", none)
			continue
		}
		outcome := "agrees"
		if len(f.Conflicts) > 0 {
			outcome = "**does not agree**: " + strings.Join(f.Conflicts, "; ")
		}
		row(b, code(name), versions(f.Releases), or(heldBack(f.Releases)), outcome, f.When)
	}
}

func versions(releases []recorded.Release) string {
	all := make([]string, len(releases))
	for i, r := range releases {
		all[i] = r.Version
	}
	return or(strings.Join(all, ", "))
}

// heldBack counts the releases that limits leave out, by suite.
func heldBack(releases []recorded.Release) string {
	counts := map[string]int{}
	for _, r := range releases {
		for _, suite := range r.Held {
			counts[suite]++
		}
	}
	var told []string
	for _, suite := range slices.Sorted(maps.Keys(counts)) {
		told = append(told, fmt.Sprintf("%d on %s", counts[suite], suite))
	}
	return strings.Join(told, ", ")
}
