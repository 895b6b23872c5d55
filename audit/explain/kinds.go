package explain

import (
	"cmp"
	"regexp"
	"slices"
	"sync"
)

// kind is one sort of message. To add one: write it into the list of its topic, before the
// ones that are more general, and a true message of it into testdata/messages.txt.
type kind struct {
	// id names the kind for ever.
	id string
	// rank is how much such a message tells beside others.
	rank rank
	// pattern finds the message in a text that is plain. It names what explain uses.
	pattern string
	// explain tells what was found; see told.
	explain func(values) Explanation
}

// rank is how much a message tells: of the kinds in a text, the first of the lowest rank counts.
type rank int

const (
	// cause is what went wrong.
	cause rank = iota
	// general is a cause that is told before only when nothing special is known about it.
	general
	// consequence is what fails for want of something that is told elsewhere.
	consequence
	// signal is how a process ended, which has many causes.
	signal
	// notice is a warning: the program goes on.
	notice
)

// kinds are all that is known, topic for topic. A missing library is told before what fails for want of it.
var kinds = slices.Concat(
	serverLibraryKinds, databaseKinds, packingKinds, libraryKinds, symbolKinds, fileKinds,
	startKinds, containerKinds, systemdKinds, serverKinds,
	interpreterKinds, buildKinds, moduleKinds, numpyKinds, gpuKinds, displayKinds,
	opensslKinds, pipKinds, uvKinds, machineKinds,
)

// matcher is a kind that is ready to be looked for.
type matcher struct {
	kind
	regexp   *regexp.Regexp
	literals literals
}

// compiled are the kinds in the order in which they count.
var compiled = sync.OnceValue(func() []*matcher {
	all := make([]*matcher, len(kinds))
	for i, k := range kinds {
		all[i] = &matcher{k, regexp.MustCompile(k.pattern), literalsOf(k.pattern)}
	}
	slices.SortStableFunc(all, func(a, b *matcher) int { return cmp.Compare(a.rank, b.rank) })
	return all
})
