// Package catalogue holds the recipes that ship with Ampoule: a directory for each,
// named as its recipe, with its lock and every file that it names.
package catalogue

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"ampoule/faults"
)

//go:embed */*
var files embed.FS

// recipeFile is the recipe's name in its directory.
const recipeFile = "ampoule.yaml"

// Names lists the recipes, sorted.
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		// The program has its own files.
		panic("catalogue: reading the embedded recipes: " + err.Error())
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Open gives the directory of a recipe: ampoule.yaml, ampoule.lock and the files
// that the recipe names. A name that is none of [Names] is an [*UnknownError].
func Open(name string) (fs.FS, error) {
	if !slices.Contains(Names(), name) {
		return nil, unknown(name)
	}
	return fs.Sub(files, name)
}

// Summary says in one line what a recipe is for: the comment on top of it, up to
// the first line without one. It is empty for a name that is none of [Names].
func Summary(name string) string {
	data, err := fs.ReadFile(files, name+"/"+recipeFile)
	if err != nil {
		return ""
	}
	var words []string
	for line := range strings.Lines(string(data)) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		words = append(words, strings.TrimSpace(comment))
	}
	return strings.Join(words, " ")
}

// List is a line for each recipe: its name and its summary.
func List() string {
	var b strings.Builder
	width := 0
	for _, name := range Names() {
		width = max(width, len(name))
	}
	for _, name := range Names() {
		fmt.Fprintf(&b, "%-*s  %s\n", width, name, Summary(name))
	}
	return b.String()
}

// unknown says that the catalogue has no recipe of that name. Its hint names the nearest
// recipe, if one is near, and lists them all.
func unknown(name string) error {
	hint := "the recipes are:\n" + strings.TrimSuffix(List(), "\n")
	if near := nearest(name); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	return faults.New(faults.NotFound, hint, "the catalogue has no recipe %q", name)
}

// nearest gives the recipe whose name begins as the one given, or needs the fewest
// letters changed to be it; empty if that is more than a third of them and one.
func nearest(name string) string {
	name = strings.ToLower(name)
	best, distance := "", len(name)/3+2
	for _, known := range Names() {
		if len(name) > 1 && strings.HasPrefix(known, name) {
			return known
		}
		if n := edits(name, known); n < distance {
			best, distance = known, n
		}
	}
	return best
}

// edits counts the bytes to insert, remove or replace (Levenshtein's distance); for
// names longer than any recipe's can be near to, it is the length.
func edits(a, b string) int {
	if len(a) > 4*len(b) {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
