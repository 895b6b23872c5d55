package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"ampoule/recipes"
)

// change is one pin that is not as it was.
type change struct {
	// What it is: "python", "image", "dist", "group" with its name, or "deb" with its suite and
	// architecture.
	What string `json:"what"`
	Name string `json:"name"`
	// From and To are versions, or an image's reference; empty where there is none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String is the change in one line: "flask 3.0.1 → 3.1.0", "+ flask 3.1.0", "- flask 3.0.1".
func (c change) String() string {
	suffix := ""
	if c.What != "dist" {
		suffix = " (" + c.What + ")"
	}
	switch {
	case c.From == "":
		return fmt.Sprintf("+ %s %s%s", c.Name, c.To, suffix)
	case c.To == "":
		return fmt.Sprintf("- %s %s%s", c.Name, c.From, suffix)
	case c.From == c.To:
		return fmt.Sprintf("%s %s: another file%s", c.Name, c.To, suffix)
	default:
		return fmt.Sprintf("%s %s → %s%s", c.Name, c.From, c.To, suffix)
	}
}

// pin is what a lock says of one thing.
type pin struct{ version, sha256 string }

// pinName names what is pinned.
type pinName struct{ what, name string }

// diffLocks lists the pins that differ, in order; none without a previous lock.
func diffLocks(previous, lock *recipes.Lock) []change {
	changes := []change{}
	if previous == nil {
		return changes
	}
	before, after := pins(previous), pins(lock)
	all := maps.Clone(before)
	maps.Copy(all, after)
	for name := range all {
		if before[name] != after[name] {
			changes = append(changes, change{name.what, name.name, before[name].version, after[name].version})
		}
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.What, b.What), cmp.Compare(a.Name, b.Name))
	})
	return changes
}

// rank puts what people look for first.
func rank(c change) int {
	if i := slices.Index([]string{"python", "dist", "image"}, c.What); i >= 0 {
		return i
	}
	return 3
}

// pins lists what a lock pins.
func pins(l *recipes.Lock) map[pinName]pin {
	found := map[pinName]pin{{"python", "CPython"}: {l.Python.Version, l.Python.SHA256}}
	for _, d := range l.Dists {
		found[pinName{"dist", d.Name}] = pin{d.Version, d.SHA256}
	}
	for suite, debs := range l.Debian {
		for _, d := range debs {
			found[pinName{fmt.Sprintf("deb %s %s", suite, d.Arch), d.Name}] = pin{d.Version, d.SHA256}
		}
	}
	for name, g := range l.Groups {
		for _, d := range g.Dists {
			found[pinName{"group " + name, d.Name}] = pin{d.Version, d.SHA256}
		}
	}
	if l.Base.Image != "" {
		found[pinName{"image", "base"}] = pin{version: l.Base.Image}
	}
	for name, target := range l.Targets {
		if target.Image != "" {
			found[pinName{"image", name}] = pin{version: target.Image}
		}
	}
	return found
}
