package recipes

import (
	"slices"
	"strings"
)

// layoutNames are what a repository's directory holds in an image layout, and what a registry
// keeps beside it: a team's repositories stand in such a directory, too.
var layoutNames = []string{"blobs", "index.json", "oci-layout", "_uploads"}

// isName reports whether a text of a name's characters can be the name of a repository. What
// stands before the first slash must not look like a host.
func isName(text string) bool {
	parts := strings.Split(text, "/")
	if len(text) > 100 {
		return false
	}
	if len(parts) == 1 {
		return true
	}
	return parts[0] != "localhost" && !strings.Contains(parts[0], ".") &&
		!slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(layoutNames, part) })
}

func hintName(text string) string {
	if first, _, teams := strings.Cut(text, "/"); teams && (first == "localhost" || strings.ContainsAny(first, ".:")) {
		return "no registry's host stands in a name: --registry names it"
	}
	return ""
}

// NameInFile gives a recipe's name as it stands in names of files: team--web for team/web. No
// two names have the same one.
func NameInFile(name string) string { return strings.ReplaceAll(name, "/", "--") }
