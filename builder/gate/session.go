package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// maxChain bounds how many modules one sandbox loads after another: those of other chains are
// loaded meanwhile.
const maxChain = 100

// job is what one owner, or all that have no native code, wants loaded.
type job struct {
	owner   string
	modules []audit.Module
	// pure are the own modules of distributions without native code, by owner.
	pure map[string]audit.Module
	// seen are the owners that it sees at first.
	seen owners
}

// weight is how many modules a job has.
func (j job) weight() int {
	n := 0
	for _, m := range slices.Concat(j.modules, slices.Collect(maps.Values(j.pure))) {
		if isOwn(m) {
			n += len(m.Packages)
			continue
		}
		n++
	}
	return n
}

// jobs shares what is loaded out.
func (r *round) jobs() []job {
	var list []job
	all := job{pure: map[string]audit.Module{}, seen: owners{}}
	for owner, modules := range r.owned() {
		seen := r.firstSeen(owner)
		if len(modules) == 1 && isOwn(modules[0]) {
			all.pure[owner] = modules[0]
			maps.Copy(all.seen, seen)
			continue
		}
		list = append(list, job{owner: owner, modules: modules, seen: seen})
	}
	if len(all.pure) > 0 {
		list = append(list, all)
	}
	return list
}

// chains puts jobs behind one another that may use one sandbox: each sees all that the ones before
// it see, so that what ran there before is what its own imports may run.
func chains(jobs []job) [][]job {
	slices.SortFunc(jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(len(a.seen), len(b.seen)), cmp.Compare(a.owner, b.owner))
	})
	var all [][]job
	var weights []int
	for _, j := range jobs {
		best, most := -1, -1
		for i, chain := range all {
			last := chain[len(chain)-1].seen
			if j.seen.all(last) && weights[i]+j.weight() <= maxChain && len(last) > most {
				best, most = i, len(last)
			}
		}
		if best < 0 {
			all, weights = append(all, []job{j}), append(weights, j.weight())
			continue
		}
		all[best], weights[best] = append(all[best], j), weights[best]+j.weight()
	}
	return all
}

// loadAll loads what a chain has, in one sandbox as long as that serves.
func (r *round) loadAll(ctx context.Context, chain []job) error {
	s := &session{round: r}
	defer s.drop()
	for _, j := range chain {
		var err error
		if j.pure != nil {
			err = s.loadPure(ctx, j.pure)
		} else {
			err = s.load(ctx, j.owner, j.modules)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// session has the sandbox in which some loads run, one after the other. Whatever ran in it before
// is of owners that the next load sees, and so the key of what is remembered of it has their files;
// where that is not so, the next one gets another sandbox.
type session struct {
	*round
	sb sandbox.Sandbox
	// ran are the owners whose code may have run in it; whole says that the whole tree was shown.
	ran   owners
	whole bool
	// hidden are the paths that are closed now, and uses counts the loads.
	hidden map[string]bool
	uses   int
}

// take makes sure that there is a sandbox for a load that sees some owners; nil is the whole tree.
func (r *session) take(ctx context.Context, seen owners) (err error) {
	if r.sb != nil && seen != nil && (r.whole || !seen.all(r.ran)) {
		r.drop()
	}
	if r.sb == nil {
		r.ran, r.whole, r.hidden, r.uses = owners{}, false, map[string]bool{}, 0
		if r.sb, err = r.start(ctx); err != nil {
			r.sb = nil
			return err
		}
	}
	r.uses++
	r.whole = r.whole || seen == nil
	maps.Copy(r.ran, seen)
	return nil
}

// drop gives the sandbox up. Nobody waits for its removal but the trial.
func (r *session) drop() {
	if r.sb != nil {
		r.closing.Go(r.sb.Close)
		r.sb = nil
	}
}

// prepare puts script, list and view into the sandbox, hides the rest of the tree, and gives
// the command. All of that is root's: what is loaded cannot change it.
func (r *session) prepare(ctx context.Context, seen owners, modules []audit.Module) ([]string, error) {
	wanted, err := json.Marshal(modules)
	if err != nil {
		return nil, err
	}
	at := path.Join(gateDir, strconv.Itoa(r.uses))
	entries := []tree.Entry{tree.FileEntry("load.py", 0o644, loadScript), tree.FileEntry("modules.json", 0o644, wanted)}
	directory, mode := r.site(), "tree"
	var sight view
	if seen != nil {
		directory, mode = at+"/site", "view"
		sight = *r.sub.parts.view(seen, r.Place, r.left())
		entries = append(entries, tree.Entry{Path: "site", Kind: tree.Dir, Mode: 0o755})
		for _, e := range sight.links {
			e.Path = path.Join("site", e.Path)
			entries = append(entries, e)
		}
	}
	for i := range entries {
		entries[i].Path = path.Join(at[1:], entries[i].Path)
	}
	files, err := tree.New(append(entries, r.cover(sight.hidden)...))
	if err != nil {
		return nil, err
	}
	if err := sandbox.ImportOwned(ctx, r.sb, "/", files); err != nil {
		return nil, err
	}
	args := []string{
		"/bin/sh", "-c", `file=$1; shift; exec "$@" < "$file"`, "sh", at + "/modules.json",
		r.python(), "-I", "-S", at + "/load.py", directory, path.Join("/", r.Place), mode,
	}
	if r.startup {
		args = append(args, "startup")
	}
	return args, nil
}

// cover is what closes the tree's files that are to be hidden and are not yet, and what opens those
// again that are hidden and need not be.
func (r *session) cover(hidden []tree.Entry) []tree.Entry {
	var entries []tree.Entry
	now := map[string]bool{}
	for _, e := range hidden {
		now[e.Path] = true
		if !r.hidden[e.Path] {
			entries = append(entries, e)
		}
	}
	for file := range r.hidden {
		e, ok := r.sub.Tree.Lookup(strings.TrimPrefix(file, r.Place+"/"))
		if !now[file] && ok {
			e.Path, e.UID, e.GID, e.Owner = file, 0, 0, ""
			entries = append(entries, e)
		}
	}
	r.hidden = now
	return entries
}
