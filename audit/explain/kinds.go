package explain

import (
	"slices"
	"strings"
)

// kinds are all that is known. A missing library is told before what fails for want of it,
// and last comes what has many causes.
var kinds = slices.Concat(libraryKinds, symbolKinds, fileKinds, startKinds, moduleKinds, numpyKinds, machineKinds)

const (
	sealed  = "Ampoule builds interpreter and wheels together under one digest, and its gate refuses a tree that has such a file."
	ownBase = "Build on a base that is not newer than the oldest machine: base and runtime targets stand in the recipe, and the gate compares every required version with each target."
	glibc   = "Ampoule builds for glibc: ampoule preflight says whether a tree runs on a machine, and ampoule install looks before it switches."
)

// run is a step with a command, and what it shows.
func run(command, shows string) Step { return Step{Run: command, Says: shows} }

// look is a step without a command.
func look(says string) Step { return Step{Says: says} }

// begins tells whether a text has one of some beginnings.
func begins(text string, beginnings ...string) bool {
	return slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(text, b) })
}
