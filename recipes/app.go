package recipes

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Dirs are the source directories of first-party code: the application's, then those of its
// members, sorted.
func (a *App) Dirs() []string {
	if a == nil {
		return nil
	}
	return append([]string{a.Source}, set(a.Members)...)
}

// checkApp tells what is wrong with app beyond the rules of single values.
func (r *Recipe) checkApp() Faults {
	if r.App == nil {
		return nil
	}
	var faults Faults
	for i, dir := range r.App.Members {
		if dir == r.App.Source {
			faults = append(faults, r.Fault(dir+" is the source already", "members are further directories; remove it", "app", "members", strconv.Itoa(i)))
		}
	}
	if command := r.App.Command; r.positions.has("app", "command") && (len(command) == 0 || command[0] == "") {
		faults = append(faults, r.Fault("app.command has no program", `for example [gunicorn, "web:app"]`, "app", "command"))
	}
	return faults
}

// isSourceDirectory reports whether a text names a directory from the recipe's on, above it
// too.
func isSourceDirectory(text string) bool {
	return text != "" && path.Clean(text) == text && !path.IsAbs(text) && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' })
}

func hintSourceDirectory(text string) string {
	if clean := path.Clean(text); text != "" && clean != text && isSourceDirectory(clean) {
		return "write " + clean
	}
	return "it is relative to the recipe's directory, such as . or ../libs/foo"
}

// isSourcePattern reports whether a text is a pattern of paths below the recipe's directory.
func isSourcePattern(text string) bool {
	return isGlob(text) && path.Clean(text) == text && !slices.ContainsFunc([]byte(text), func(c byte) bool { return c < ' ' || c == 0x7f })
}

// appAnswers are the lines about first-party code: where it is, and what its projects say of
// their builds. What they require is among the requirements; their code is no part of it.
func appAnswers(r *Recipe, reqs *RequirementSet) []answer {
	if r.App == nil {
		return nil
	}
	var answers []answer
	add := func(key, value string, single bool, at Position) {
		answers = append(answers, answer{key, single, key + ": " + value, at})
	}
	add("app.source", r.App.Source, true, r.At("app", "source"))
	for i, dir := range r.App.Members {
		add("app.members", dir, false, r.At("app", "members", strconv.Itoa(i)))
	}
	for i, extra := range r.App.Extras {
		add("app.extras", extra, false, r.At("app", "extras", strconv.Itoa(i)))
	}
	if reqs == nil {
		return answers
	}
	for _, p := range reqs.Projects {
		of := "app[" + p.Dir + "]"
		if p.Name != "" {
			add(of+".name", p.Name, true, p.At)
		}
		add(of+".version", p.Version, true, p.At)
		if !p.Static {
			add(of+".dependencies", VersionBackend, true, p.At)
		}
		for _, text := range p.BuildRequires {
			add(of+".build-system.requires", spelled(text), false, p.At)
		}
	}
	return answers
}

// spelled is a requirement in its one spelling, and what is none in one line.
func spelled(text string) string {
	if r, err := parseRequirement(text); err == nil {
		return r.Spec
	}
	return strings.Join(strings.Fields(text), " ")
}

// BuildingOwn gives how first-party code is built: what the recipe says.
func (r *Recipe) BuildingOwn(name string) Settings {
	settings := Settings{Env: map[string]string{}, ConfigSettings: map[string]Setting{}}
	settings.lay(r.Packages[name].Settings)
	settings.Build, settings.Requires = set(settings.Build), set(settings.Requires)
	return settings
}

// appContradictions tells of first-party code that the lock does not have, or has elsewhere.
func appContradictions(reqs *RequirementSet, l *Lock) Faults {
	var faults Faults
	for i, p := range reqs.Projects {
		if i >= len(l.App) || l.App[i].Source != p.Dir {
			faults = append(faults, l.At("app").fault("the lock does not have the first-party code in "+p.Dir, hintStale))
		}
	}
	return faults
}
