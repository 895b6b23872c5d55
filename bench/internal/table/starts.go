package table

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ampoule/bench/internal/recorded"
)

// writeStarts tells how far public projects get with the recipe that `ampoule init` writes.
func writeStarts(b *strings.Builder, starts []recorded.Start) {
	if len(starts) == 0 {
		return
	}
	var lines []int
	unfinished := 0
	for _, s := range starts {
		switch {
		case s.Locked:
			lines = append(lines, s.Lines)
		case s.Unfinished:
			unfinished++
		}
	}
	fmt.Fprintf(b, `
## First recipes

What [`+"`ampoule init`"+`](init.md) writes for public projects, as they are, and how many lines a person has to write, change or remove until
`+"`ampoule lock`"+` has locked it. %d of %d lock, and the median of their lines is %s. %d were not run to their end: theirs are the lines until then. *For the release* are those of the lines that another release of CPython
takes, where the machine's mirrors do not have the one that the project names.

| project | commit | requirements of | Python | locked | lines | for the release | what for | day |
|---|---|---|---|---|--:|--:|---|---|
`, len(lines), len(starts), median(lines), unfinished)
	for _, s := range starts {
		count, release := strconv.Itoa(s.Lines), strconv.Itoa(s.Release)
		locked := yes(s.Locked)
		switch {
		case s.Unfinished:
			locked = "not run to its end"
		case !s.Locked:
			count, release = none, none
		}
		row(b, s.Name, code(s.Revision), code(s.From), s.Python, locked, count, release, or(s.Why), s.When)
	}
}

// median is the middle one of some numbers, or what is between the two in the middle.
func median(numbers []int) string {
	numbers = slices.Sorted(slices.Values(numbers))
	switch n := len(numbers); {
	case n == 0:
		return none
	case n%2 == 1:
		return strconv.Itoa(numbers[n/2])
	default:
		return strconv.FormatFloat(float64(numbers[n/2-1]+numbers[n/2])/2, 'f', -1, 64)
	}
}
