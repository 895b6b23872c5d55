package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// LockedGroup is what a dependency group (PEP 735) takes beside what the rest of the lock
// has. Nothing of it has a part in the artifact's key.
type LockedGroup struct {
	// Answers holds each requirement and constraint of the group in canonical spelling, sorted.
	Answers []string `yaml:"answers" is:"text" set:"yes"`
	// Requirements are the dists that are laid over the artifact, as NAME==VERSION. None has
	// the name of one that the artifact has.
	Requirements []string `yaml:"requirements" is:"dist ID" set:"yes"`
	// Libraries are what is loaded by name beside what the artifact has; nil where nothing is.
	Libraries *LockedLibraries `yaml:"libraries"`
	// Debian holds the packages that only the group takes, by suite.
	Debian map[string]Suite `yaml:"debian" keys:"suite"`
	// Dists are the sdists and wheels that the rest of the lock does not have.
	Dists []Dist `yaml:"dists"`
}

// MakeGroupAnswers gives what a group's section of the lock answers.
func MakeGroupAnswers(set *RequirementSet) []string { return texts(requirementAnswers(set)) }

// Alone is the lock without its groups: what the artifact is built of.
func (l *Lock) Alone() *Lock {
	base := *l
	base.Groups = nil
	return &base
}

// With is the lock of the artifact with one of its groups in it, as if the recipe required
// both. A group that the lock does not have adds nothing.
func (l *Lock) With(group string) *Lock {
	g := l.Groups[group]
	both := *l
	both.Groups, both.positions = nil, nil
	both.Requirements = slices.Sorted(slices.Values(slices.Concat(l.Requirements, g.Requirements)))
	both.Dists = slices.Concat(l.Dists, g.Dists)
	both.Libraries = l.Libraries.with(g.Libraries)
	both.Debian = maps.Clone(l.Debian)
	for suite, debs := range g.Debian {
		if both.Debian == nil {
			both.Debian = map[string]Suite{}
		}
		both.Debian[suite] = slices.Concat(both.Debian[suite], debs)
	}
	return &both
}

// GroupKey is what a group's build for an artifact is addressed by: "sha256:" and the hash of
// the artifact's digest, the group's section of the lock, what the recipe excepts for it, and
// the builder.
func GroupKey(r *Recipe, l *Lock, group, digest, builder string) string {
	e := &lockEncoder{}
	e.group(group, l.Groups[group])
	section := sha256.Sum256(e.Bytes())
	excepted := r.Gate.For(group)
	if excepted == nil {
		excepted = []Exception{}
	}
	var accept json.RawMessage
	if accepted := acceptedInGroup(r, l, group); len(accepted) > 0 {
		accept = canonicalOf(accepted)
	}
	return "sha256:" + hashJSON(struct {
		Artifact string          `json:"artifact"`
		Group    string          `json:"group"`
		Section  string          `json:"section"`
		Except   json.RawMessage `json:"except"`
		Builder  string          `json:"builder"`
		Accept   json.RawMessage `json:"accept,omitempty"`
	}{digest, group, "sha256:" + hex.EncodeToString(section[:]), canonicalOf(excepted), builder, accept})
}

// For are the exceptions that hold for a group beside those of the artifact.
func (g Gate) For(group string) []Exception {
	var own []Exception
	for _, e := range g.Groups {
		if e.Group == group {
			own = append(own, e.Exception)
		}
	}
	return own
}

// checkGroups tells of what is wrong in the recipe's groups beyond the rules of single values.
func (r *Recipe) checkGroups() Faults {
	var faults Faults
	for _, name := range slices.Sorted(maps.Keys(r.DependencyGroups)) {
		for i, text := range r.DependencyGroups[name].List {
			if _, err := parseRequirement(text); err != nil {
				faults = append(faults, r.Fault(err.what, err.hint, "dependency-groups", name, strconv.Itoa(i)))
			}
		}
	}
	for i, e := range r.Gate.Groups {
		if _, known := r.DependencyGroups[e.Group]; !known && e.Group != "" {
			faults = append(faults, r.Fault(
				fmt.Sprintf("the dependency group %s, of which gate.groups excepts something, is missing", e.Group),
				suggestion(e.Group, slices.Sorted(maps.Keys(r.DependencyGroups)), "the groups"), "gate", "groups", strconv.Itoa(i), "group"))
		}
	}
	return faults
}

// staleGroups tells what of the recipe's groups the lock does not answer any more.
func staleGroups(r *Recipe, reqs *RequirementSet, l *Lock) Faults {
	var faults Faults
	written := map[string]*RequirementSet{}
	if reqs != nil {
		written = reqs.Groups
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		locked, known := l.Groups[name]
		if !known {
			faults = append(faults, r.Fault("the lock does not know the dependency group "+name, hintStale, "dependency-groups", name))
			continue
		}
		old := stale(requirementAnswers(written[name]), locked.Answers, requirementKey, func(i int) Position {
			return l.At("groups", name, "answers", strconv.Itoa(i))
		})
		if len(old) == 0 {
			old = unlisted(written[name], locked.Requirements, l.With(name).Dist, func(i int) Position {
				return l.At("groups", name, "requirements", strconv.Itoa(i))
			})
		}
		faults = append(faults, old...)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Groups)) {
		if _, known := written[name]; !known {
			faults = append(faults, l.At("groups", name).fault("the lock has the dependency group "+name+", which is written nowhere", hintStale))
		}
	}
	return faults
}

// groups holds each group's section to what it refers to, in itself and in the rest of the
// lock, which has no faults.
func (c *lockCheck) groups() {
	for _, name := range slices.Sorted(maps.Keys(c.lock.Groups)) {
		both := &lockCheck{lock: c.lock.With(name)}
		both.debian()
		both.dists()
		both.cycles()
		for _, f := range both.faults {
			c.add(f.What, "groups", name)
		}
	}
}
