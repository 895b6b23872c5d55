package ci

import (
	"errors"
	"path/filepath"
	"strings"

	"ampoule/faults"
	"ampoule/recipes"
)

// maxAnnotations is how many annotations of one kind a step may have on GitHub.
const maxAnnotations = 10

// Annotations are what an error says of files, at their lines, or the error as a whole. Root
// is the directory of the checkout, which files are named from.
func Annotations(err error, root string) []Annotation {
	if err == nil {
		return nil
	}
	var wrong recipes.Faults
	if !errors.As(err, &wrong) {
		return []Annotation{{Level: Failure, Message: withHints(err.Error(), faults.Hints(err)...)}}
	}
	var all []Annotation
	for _, f := range wrong[:min(len(wrong), maxAnnotations)] {
		all = append(all, Annotation{
			Level: Failure, File: fromRoot(f.File, root), Line: f.Line, Column: f.Column, Message: withHints(f.What, f.Hint),
		})
	}
	return all
}

func withHints(text string, hints ...string) string {
	for _, h := range hints {
		if h != "" {
			text += "\n" + h
		}
	}
	return text
}

// fromRoot names a file from a directory, if it is below that.
func fromRoot(file, root string) string {
	absolute, err := filepath.Abs(file)
	if err != nil || root == "" {
		return file
	}
	name, err := filepath.Rel(root, absolute)
	if err != nil || name == ".." || strings.HasPrefix(name, "../") {
		return file
	}
	return name
}

// Root is the directory of the checkout, as systems say; empty if none does.
func (p Place) Root() string {
	for _, name := range []string{"GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BUILDKITE_BUILD_CHECKOUT_PATH", "WORKSPACE"} {
		if dir := p.get(name); dir != "" {
			return dir
		}
	}
	return ""
}
