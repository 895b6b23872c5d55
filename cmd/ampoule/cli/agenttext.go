package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/cmd/ampoule/display"
)

// shownEvents is how many events people are shown.
const shownEvents = 10

// text shows an agent's state to people.
func (r AgentReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", cmp.Or(r.Digest, "nothing"))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-8s %s\n", name, value)
		}
	}
	line("channel", r.Channel)
	line("root", r.Root)
	line("state", r.State)
	line("since", r.Since)
	line("phase", r.Phase)
	if r.Wanted != r.Digest {
		line("wanted", r.Wanted)
	}
	line("later", r.Later)
	line("entry", r.Entry)
	line("alarm", r.Alarm)
	for _, digest := range slices.Sorted(maps.Keys(r.Failed)) {
		line("failed", digest+": "+r.Failed[digest])
	}
	for _, e := range r.Events[:min(len(r.Events), shownEvents)] {
		fmt.Fprintf(&b, "  %s  %s\n", e.Time, strings.TrimPrefix(e.Digest+": "+e.What, ": "))
	}
	return display.Clean(b.String(), true)
}
