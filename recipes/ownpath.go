package recipes

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
)

// ownLines are requirements that name first-party code by its path, as pip takes them. All of
// them have one hint: the app that has them all.
type ownLines struct {
	recipe *Recipe
	lines  []ownLine
}

// ownLine is one of them.
type ownLine struct {
	// dir is the directory, relative to the recipe's; text is the requirement as written.
	dir, text string
	extras    []string
	at        Position
}

var (
	// directDirectory is a directory as a requirement, with extras: ./libs/foo[dev]. One
	// that begins with no dot has a slash in it.
	directDirectory = regexp.MustCompile(`^((?:\.{1,2}(?:/[^\[\];@]*)?)|(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/[^\[\];@:]*))(?:\[([A-Za-z0-9._, -]*)\])?\s*(?:;.*)?$`)
	editable        = regexp.MustCompile(`^(?:-e|--editable)(?:\s*=\s*|\s*)(\S.*)$`)
	directReference = regexp.MustCompile(`^[A-Za-z0-9._-]+\s*(?:\[([A-Za-z0-9._, -]*)\])?\s*@\s*(file:.*)$`)
)

// take takes a line if it requires first-party code by its path.
func (o *ownLines) take(text string, at Position) bool {
	line := ownLine{text: strings.TrimSpace(text), at: at}
	place, extras := placeIn(line.text)
	m := directDirectory.FindStringSubmatch(place)
	if m == nil || strings.HasPrefix(place, ".//") || isArchive(m[1]) {
		return false
	}
	line.dir = path.Clean(strings.TrimSpace(m[1]))
	for name := range strings.SplitSeq(extras+","+m[2], ",") {
		if strings.TrimSpace(name) != "" {
			line.extras = append(line.extras, packaging.NormalName(strings.TrimSpace(name)))
		}
	}
	o.lines = append(o.lines, line)
	return true
}

// placeIn is what a requirement names in place of a distribution, if it does: the path of
// an editable one, a file's address, or the whole. Extras are those before an address.
func placeIn(text string) (place, extras string) {
	place = text
	if m := editable.FindStringSubmatch(text); m != nil {
		place = strings.Trim(m[1], `"'`)
		if packaging.IsName(place) {
			place = "./" + place
		}
	} else if m := directReference.FindStringSubmatch(text); m != nil {
		extras, place = m[1], m[2]
	}
	file, ok := strings.CutPrefix(place, "file:")
	if !ok {
		return place, extras
	}
	file = strings.TrimPrefix(file, "./")
	if !strings.HasPrefix(file, ".") {
		file = "./" + file
	}
	return file, extras
}

// isArchive reports whether a path is that of a file that was built.
func isArchive(name string) bool {
	return slices.ContainsFunc([]string{packaging.WheelSuffix, ".tar.gz", ".tgz", ".zip"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// told is what is wrong with the lines, and what to write in their place. Nothing is wrong with
// a line that the recipe's app answers: tools write such lines of their own accord.
func (o *ownLines) told() Faults {
	var faults Faults
	hint := o.hint()
	for _, line := range o.lines {
		if o.answered(line) {
			continue
		}
		faults = append(faults, line.at.fault(fmt.Sprintf("%s is first-party code, which is built from app and not from requirements", shorten(line.text)), hint))
	}
	return faults
}

// answered reports whether the recipe's app has what a line requires.
func (o *ownLines) answered(line ownLine) bool {
	app := o.recipe.App
	if app == nil {
		return false
	}
	known := func(extra string) bool { return slices.Contains(app.Extras, extra) }
	if line.dir == path.Clean(app.Source) {
		return !slices.ContainsFunc(line.extras, func(extra string) bool { return !known(extra) })
	}
	return slices.ContainsFunc(app.Members, func(dir string) bool { return path.Clean(dir) == line.dir })
}

// hint says what to do about all lines: the recipe's app with the directories that it does
// not have yet.
func (o *ownLines) hint() string {
	app := App{}
	if o.recipe.App != nil {
		app = *o.recipe.App
	}
	for _, line := range o.lines {
		switch {
		case app.Source == "":
			app.Source = line.dir
		case app.Source != line.dir && !slices.Contains(app.Members, line.dir):
			app.Members = append(slices.Clip(app.Members), line.dir)
		}
		for _, extra := range line.extras {
			if line.dir == app.Source && !slices.Contains(app.Extras, extra) {
				app.Extras = append(slices.Clip(app.Extras), extra)
			}
		}
	}
	return "remove the line, and write into the recipe: app: " + app.flow()
}

// plainDirectory is a directory that needs no quotes.
var plainDirectory = regexp.MustCompile(`^[./]*[A-Za-z_][A-Za-z0-9._/-]*$|^[./]+$`)

// directory spells one as people do.
func directory(dir string) string {
	if plainDirectory.MatchString(dir) && !ambiguous.MatchString(dir) {
		return dir
	}
	return scalar(dir)
}

// flow spells the directories and extras in one line of YAML.
func (a App) flow() string {
	dirs := make([]string, len(a.Members))
	for i, dir := range a.Members {
		dirs[i] = directory(dir)
	}
	text := "{source: " + directory(a.Source)
	if len(dirs) > 0 {
		text += ", members: [" + strings.Join(dirs, ", ") + "]"
	}
	if len(a.Extras) > 0 {
		text += ", extras: " + flow(a.Extras)
	}
	return text + "}"
}
