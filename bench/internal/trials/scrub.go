package trials

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	hostOfURL = regexp.MustCompile(`\b([a-z][a-z0-9+.-]*)://[^/\s"']+`)
	hostAsked = regexp.MustCompile(`\blookup [^\s:]+`)
)

// scrub takes out of a message what is of this machine alone, since what is recorded
// is published: the hosts of its mirrors, and the directories that it works in.
func (t *Trials) scrub(message string) string {
	message = hostOfURL.ReplaceAllString(message, "$1://…")
	message = hostAsked.ReplaceAllString(message, "lookup …")
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	here, err := os.Getwd()
	if err != nil {
		here = ""
	}
	dirs := []string{t.Store, os.TempDir(), here, home}
	// One may lie in another.
	slices.SortFunc(dirs, func(a, b string) int { return len(b) - len(a) })
	for _, dir := range dirs {
		// The root directory is no one's own.
		dir = filepath.Clean(dir)
		if len(dir) > 1 && filepath.IsAbs(dir) {
			message = strings.ReplaceAll(message, dir+"/", "…/")
		}
	}
	return message
}
