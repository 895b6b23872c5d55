package locking

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/recipes"
)

// acceptDays is how long a proposed acceptance holds, in days.
const acceptDays = 90

// acceptEntry writes the recipe's binary entry with one more acceptance: it takes the place
// of the one that is there.
func acceptEntry(r *recipes.Recipe, names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	until := time.Now().UTC().AddDate(0, 0, acceptDays).Format(time.DateOnly)
	all := append(slices.Clone(r.Binary.Accept), recipes.Acceptance{Match: names, Why: "no sdist that can be built", Until: until})
	var b strings.Builder
	b.WriteString("in the recipe, this accepts the published wheels for " + fmt.Sprint(acceptDays) + " days:\nbinary:\n  accept:")
	for _, a := range all {
		quoted := make([]string, len(a.Match))
		for i, m := range a.Match {
			quoted[i] = fmt.Sprintf("%q", m)
		}
		fmt.Fprintf(&b, "\n    - {match: [%s], why: %q, until: %s}", strings.Join(quoted, ", "), a.Why, a.Until)
	}
	return b.String()
}
