package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ampoule/packaging"
)

const hintStale = "run `ampoule lock`"

// answer is one line of [Answers] with its place.
type answer struct {
	// key names what the line is about. Of a single key there is one value at a time.
	key    string
	single bool
	text   string
	at     Position
}

// MakeAnswers gives what a lock of the recipe and its requirements answers: what
// decides which files are locked, and how wheels are built. How CPython is
// configured, what is tested and what the gate is told do not.
func MakeAnswers(r *Recipe, reqs *RequirementSet) Answers {
	return Answers{Recipe: texts(recipeAnswers(r, reqs)), Requirements: texts(requirementAnswers(reqs))}
}

func texts(answers []answer) []string {
	all := make([]string, 0, len(answers))
	for _, a := range answers {
		all = append(all, a.text)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func recipeAnswers(r *Recipe, reqs *RequirementSet) []answer {
	var answers []answer
	one := func(value string, path ...string) {
		if key := strings.Join(path, "."); value != "" {
			answers = append(answers, answer{key, true, key + ": " + value, r.At(path...)})
		}
	}
	many := func(values []string, path ...string) {
		key := strings.Join(path, ".")
		for i, value := range values {
			answers = append(answers, answer{key, false, key + ": " + value, r.At(child(path, strconv.Itoa(i))...)})
		}
	}
	one(r.Python.Version, "python", "version")
	one(r.Python.SHA256, "python", "sha256")
	one(r.Python.Compiler, "python", "compiler")
	if r.Python.Bolt() {
		one(r.Python.BoltVersion(), "python", "bolt")
	}
	one(r.Base.Debian, "base", "debian")
	one(r.Base.Image, "base", "image")
	many(r.Toolchain.Packages, "toolchain", "packages")
	for _, name := range slices.Sorted(maps.Keys(r.Packages)) {
		p := r.Packages[name]
		many(p.Build, "packages", name, "build")
		many(p.Requires, "packages", name, "requires")
		for _, variable := range slices.Sorted(maps.Keys(p.Env)) {
			one(strconv.Quote(p.Env[variable]), "packages", name, "env", variable)
		}
		for _, setting := range slices.Sorted(maps.Keys(p.ConfigSettings)) {
			one(p.ConfigSettings[setting].String(), "packages", name, "config-settings", setting)
		}
		if len(p.Patches) > 0 {
			one(patchesAnswer(p.Patches, reqs), "packages", name, "patches")
		}
		many(p.Crates, "packages", name, "crates")
		one(p.Overrides, "packages", name, "overrides")
	}
	for i, a := range r.Binary.Accept {
		many(a.Match, "binary", "accept", strconv.Itoa(i), "match")
	}
	many(r.Pure, "pure")
	if c := r.Runtime.Container; c != nil {
		one(c.Base.Debian, "runtime", "container", "base", "debian")
		one(c.Base.Image, "runtime", "container", "base", "image")
	}
	if vm := r.Runtime.VM; vm != nil {
		one(vm.Glibc, "runtime", "vm", "glibc")
	}
	many(r.Runtime.Libraries, "runtime", "libraries")
	return append(answers, appAnswers(r, reqs)...)
}

// patchesAnswer tells patches in their order, each by its content.
func patchesAnswer(files []string, reqs *RequirementSet) string {
	all := make([]string, len(files))
	for i, file := range files {
		sum := sha256.Sum256(reqs.Patches[file])
		all[i] = file + " sha256:" + hex.EncodeToString(sum[:])
	}
	return strings.Join(all, ", ")
}

func requirementAnswers(reqs *RequirementSet) []answer {
	if reqs == nil {
		return nil
	}
	var answers []answer
	for _, q := range reqs.Requirements {
		text := strings.Join(append([]string{q.Spec}, prefixed("--hash=", q.Hashes)...), " ")
		key := q.Name
		if q.Constraint {
			key, text = "-c "+key, "-c "+text
		}
		answers = append(answers, answer{key: key, text: text, at: q.Position})
	}
	return answers
}

func prefixed(prefix string, texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = prefix + text
	}
	return all
}

// requirementKey finds the key of a line of [Answers.Requirements].
func requirementKey(text string) string {
	prefix := ""
	if rest, ok := strings.CutPrefix(text, "-c "); ok {
		prefix, text = "-c ", rest
	}
	return prefix + packaging.RequiredName(text)
}

// recipeKey finds the key of a line of [Answers.Recipe].
func recipeKey(text string) string {
	key, _, _ := strings.Cut(text, ": ")
	return key
}

// CheckFresh tells what in the recipe or its requirements files the lock does not
// answer any more, as [Faults]: what was added or changed at its own line, what
// was removed at the lock's line. nil means that the lock is fresh.
func CheckFresh(r *Recipe, reqs *RequirementSet, l *Lock) error {
	faults := stale(recipeAnswers(r, reqs), l.Answers.Recipe, recipeKey, func(i int) Position {
		return l.At("answers", "recipe", strconv.Itoa(i))
	})
	faults = append(faults, stale(requirementAnswers(reqs), l.Answers.Requirements, requirementKey, func(i int) Position {
		return l.At("answers", "requirements", strconv.Itoa(i))
	})...)
	if len(faults) == 0 {
		faults = contradictions(r, reqs, l)
	}
	faults = append(faults, staleGroups(r, reqs, l)...)
	return faults.Err()
}

// stale compares what is written with what the lock answers.
func stale(written []answer, locked []string, keyOf func(string) string, lockedAt func(int) Position) Faults {
	var faults Faults
	have := texts(written)
	// gone holds, by key, the lines of the lock that are not written any more.
	gone := map[string][]int{}
	for i, text := range locked {
		if !slices.Contains(have, text) {
			gone[keyOf(text)] = append(gone[keyOf(text)], i)
		}
	}
	for _, a := range written {
		if slices.Contains(locked, a.text) {
			continue
		}
		what := fmt.Sprintf("the lock does not know %s", shortHashes(a.text))
		if old := gone[a.key]; len(old) > 0 {
			what = fmt.Sprintf("the lock answers %s, not %s", shortHashes(locked[old[0]]), shortHashes(a.text))
			gone[a.key] = old[1:]
		}
		faults = append(faults, a.at.fault(what, hintStale))
	}
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		for _, i := range gone[key] {
			faults = append(faults, lockedAt(i).fault(fmt.Sprintf("the lock answers %s, which is written nowhere", shortHashes(locked[i])), hintStale))
		}
	}
	return faults
}

// shortHashes shortens a line with hashes to what a person can compare.
func shortHashes(text string) string {
	head, hashes, found := strings.Cut(text, " --hash=")
	if !found {
		return text
	}
	shown := strings.Fields(hashes)
	for i, h := range shown {
		h = strings.TrimPrefix(h, "--hash=")
		shown[i] = h[:min(len(h), len("sha256:")+12)] + "…"
	}
	return fmt.Sprintf("%s with %s", head, strings.Join(shown, " "))
}

// contradictions tells of locked files that are not what the answers ask for.
func contradictions(r *Recipe, reqs *RequirementSet, l *Lock) Faults {
	var faults Faults
	if l.Python.Version != r.Python.Version {
		faults = append(faults, l.At("python", "version").fault("the lock has CPython "+l.Python.Version+", the recipe "+r.Python.Version, hintStale))
	}
	if r.Python.SHA256 != "" && l.Python.SHA256 != r.Python.SHA256 {
		faults = append(faults, l.At("python", "sha256").fault("the lock has another source archive than the recipe", hintStale))
	}
	faults = append(faults, UselessExcludes(r, l)...)
	if reqs == nil {
		return faults
	}
	faults = append(faults, appContradictions(reqs, l)...)
	return append(faults, unlisted(reqs, l.Requirements, l.Dist, func(i int) Position { return l.At("requirements", strconv.Itoa(i)) })...)
}

// unlisted tells of locked dists whose hashes the requirements do not give, where they give
// hashes.
func unlisted(reqs *RequirementSet, ids []string, dist func(string) (Dist, bool), at func(int) Position) Faults {
	if reqs == nil || !reqs.RequireHashes {
		return nil
	}
	var faults Faults
	allowed := map[string][]string{}
	for _, q := range reqs.Requirements {
		allowed[q.Name] = append(allowed[q.Name], q.Hashes...)
	}
	for i, id := range ids {
		d, ok := dist(id)
		if ok && !slices.Contains(allowed[d.Name], "sha256:"+d.SHA256) {
			faults = append(faults, at(i).fault(fmt.Sprintf("%s is none of the files whose hashes the requirements give for %s", d.File, d.Name), hintStale))
		}
	}
	return faults
}
