package builder

import (
	"maps"
	"slices"
	"strings"

	"ampoule/builder/buildenv"
	"ampoule/builder/workspace"
	"ampoule/recipes"
)

// Budget is what one call may take of the machine.
type Budget = buildenv.Budget

// StepTime is what one build step may take, unless told otherwise.
const StepTime = buildenv.StepTime

// Request is what one call is about, and what it may take: all that differs from call to
// call. A Builder does not change it. Events go to the feed of the call's context.
type Request struct {
	Recipe *recipes.Recipe
	// Requirements are the recipe's.
	Requirements *recipes.RequirementSet
	// Lock answers recipe and requirements. [Builder.Lock], which makes one, keeps its
	// pins where they still satisfy the recipe; it can do without.
	Lock *recipes.Lock
	// Workspace is the recipe's first-party code. Where it is nil, and the recipe has an app,
	// the code is read from the working tree that the recipe is in.
	Workspace *workspace.Workspace
	// Budget never decides what is made.
	Budget Budget
	// KeepGoing builds what can be built after a wheel's build has failed, and tells of
	// all that failed at once.
	KeepGoing bool
	// Groups are dependency groups to build and publish beside the artifact.
	Groups []string
}

// platform is the one platform that is built for, as os/architecture.
func (r Request) platform() string { return r.Recipe.Platforms[0] }

// plan plans the request's build.
func (r Request) plan() Plan {
	source := ""
	if r.Workspace != nil {
		source = r.Workspace.Hash()
	}
	return MakePlan(r.Recipe, r.Lock, r.platform(), source)
}

// check refuses what need not be begun. Without a lock that is [ErrNoLock], with one that
// does not answer the recipe [recipes.Faults].
func (r Request) check() error {
	if r.Lock == nil {
		return ErrNoLock
	}
	if err := r.checkGroups(); err != nil {
		return err
	}
	return recipes.CheckFresh(r.Recipe, r.Requirements, r.Lock)
}

// checkGroups refuses groups that the recipe does not have.
func (r Request) checkGroups() error {
	for _, name := range r.Groups {
		if _, ok := r.Recipe.DependencyGroups[name]; !ok {
			known := "it has none"
			if names := slices.Sorted(maps.Keys(r.Recipe.DependencyGroups)); len(names) > 0 {
				known = "it has " + strings.Join(names, ", ")
			}
			return recipes.Faults{r.Recipe.Fault("the recipe has no dependency group "+name, known, "dependency-groups")}
		}
	}
	return nil
}
