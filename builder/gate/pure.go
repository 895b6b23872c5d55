package gate

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
)

// What distributions without native code show decides warnings alone. They share a sandbox, each
// with a process of its own: one for each would cost a gate more than all else that it does.
// They see what any of them requires. Whatever could have been seen or run there is noted with what
// is remembered, and must be as it was.

// pureKind is the store's kind of records about the imports of distributions without native
// code.
const (
	pureKind = "gate-imports"
	// pureFormat is raised when the same answers are understood in another way.
	pureFormat = 1
)

// pure is a distribution whose own modules are imported beside those of others.
type pure struct {
	owner  string
	module audit.Module
	// sees are the owners that it has to see.
	sees owners
}

// pureShown is what is remembered of it.
type pureShown struct {
	// Packages are the modules that were imported, and Shown has what each showed.
	Packages []string
	Shown    []outcome
	// Beside are the hashes of what every owner has that could be seen, by owner.
	Beside map[string]string
}

// loadPure imports the own modules of distributions without native code. What looked for
// something else that the tree has sees that in the next round.
func (r *session) loadPure(ctx context.Context, modules map[string]audit.Module) error {
	var todo []pure
	for _, owner := range slices.Sorted(maps.Keys(modules)) {
		todo = append(todo, pure{owner, modules[owner], r.firstSeen(owner)})
	}
	for range maxRounds {
		var wanted []pure
		for _, p := range todo {
			shown, ok, err := r.recallPure(p)
			if err != nil {
				return err
			}
			if ok {
				r.tell(p.module, shown)
				continue
			}
			wanted = append(wanted, p)
		}
		if len(wanted) == 0 {
			return nil
		}
		var err error
		if todo, err = r.importPure(ctx, wanted); err != nil {
			return err
		}
	}
	_, err := r.inSight(ctx, todo, nil)
	return err
}

// importPure imports modules where all that they have to see is seen, and tells what they
// showed. It returns those that have to see more.
func (r *session) importPure(ctx context.Context, list []pure) ([]pure, error) {
	seen := owners{}
	for _, p := range list {
		maps.Copy(seen, p.sees)
	}
	return r.inSight(ctx, list, seen)
}

// inSight imports modules where some owners are seen; nil is the whole tree.
func (r *session) inSight(ctx context.Context, list []pure, seen owners) (again []pure, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	byModule := map[string]pure{}
	var modules []audit.Module
	for _, p := range list {
		byModule[p.module.Packages[0]] = p
		modules = append(modules, p.module)
	}
	asked := r.ask(ctx, seen, modules, func(m audit.Module, answers []answer) {
		p, shown := byModule[m.Packages[0]], r.outcomes(m, answers)
		if more := r.beyond(shown, seen); seen != nil && len(more) > 0 {
			p.sees = p.sees.with(more, r.sub)
			again = append(again, p)
			return
		}
		r.tell(m, shown)
		if seen != nil && err == nil {
			err = r.notePure(p, seen, shown)
		}
	})
	if asked != nil {
		err = asked
	}
	return again, err
}

// pureKey names what is remembered of a distribution.
func (r *round) pureKey(owner string) string {
	return layers.Key(pureKind, pureFormat, map[string]any{
		"script": string(loadScript), "place": r.Place, "base": layers.DiffIDs(r.Base), "host": layers.DiffIDs(sandbox.Image{Layers: r.host}),
		"interpreter": r.sub.parts.of[audit.OwnerInterpreter], "nobody": r.sub.parts.of[""], "shared": r.sub.parts.shared,
		"owner": owner, "files": r.sub.parts.of[owner], "startup": r.startup,
	})
}

// recallPure returns what a distribution's imports showed before, if all that could be seen then is
// in the tree as it was, and the tree has nothing more of what was looked for.
func (r *round) recallPure(p pure) ([]outcome, bool, error) {
	var known pureShown
	ok, err := r.stage.Store.Lookup(pureKind, r.pureKey(p.owner), &known)
	if err != nil || !ok || !slices.Equal(known.Packages, p.module.Packages) {
		return nil, false, err
	}
	seen := owners{}
	for owner, sum := range known.Beside {
		if r.sub.parts.of[owner] != sum {
			return nil, false, nil
		}
		seen[owner] = true
	}
	for owner := range p.sees {
		if !seen.sees(owner) {
			return nil, false, nil
		}
	}
	at := memory{tree: r.sub}
	holds := !slices.ContainsFunc(known.Shown, func(o outcome) bool { return !at.holds(o) })
	return known.Shown, holds && len(r.beyond(known.Shown, seen)) == 0, nil
}

// notePure remembers what a distribution's imports showed where some owners were seen. What ended
// its process, or failed for want of something that the machine has for a time, is tried anew.
func (r *round) notePure(p pure, seen owners, shown []outcome) error {
	for _, o := range shown {
		if len(o.Report.Maps) > 0 || !o.Report.OK && !isMissing(o.Report.Error) {
			return nil
		}
	}
	known := pureShown{Packages: p.module.Packages, Shown: shown, Beside: map[string]string{}}
	for owner := range seen {
		known.Beside[owner] = r.sub.parts.of[owner]
	}
	if text, err := json.Marshal(known); err != nil || len(text) > maxRemembered {
		return err
	}
	return r.stage.Store.Record(pureKind, r.pureKey(p.owner), known)
}

// isMissing reports whether an import failed since something is not there.
func isMissing(message string) bool {
	return strings.HasPrefix(message, "ImportError") || strings.HasPrefix(message, "ModuleNotFoundError")
}
