package foreign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/packaging"
)

// project is as much of a pyproject.toml as says what a lock was made for (PEP 621, PEP
// 735, and the tools' own tables).
type project struct {
	Project struct {
		Name         string              `toml:"name"`
		Requires     string              `toml:"requires-python"`
		Dependencies []string            `toml:"dependencies"`
		Optional     map[string][]string `toml:"optional-dependencies"`
		Dynamic      []string            `toml:"dynamic"`
	} `toml:"project"`
	Groups map[string][]any `toml:"dependency-groups"`
	Tool   struct {
		UV struct {
			Dev     []string       `toml:"dev-dependencies"`
			Sources map[string]any `toml:"sources"`
		} `toml:"uv"`
		PDM struct {
			Dev map[string][]string `toml:"dev-dependencies"`
		} `toml:"pdm"`
		Poetry struct {
			Dependencies map[string]any      `toml:"dependencies"`
			Dev          map[string]any      `toml:"dev-dependencies"`
			Extras       map[string][]string `toml:"extras"`
			Groups       map[string]struct {
				Dependencies map[string]any `toml:"dependencies"`
			} `toml:"group"`
		} `toml:"poetry"`
	} `toml:"tool"`

	file string
	// whole is the file as it is.
	whole map[string]any
}

// project reads a pyproject.toml; nil stands for none, and for one that is wrong, which
// is told.
func (r *reader) project(file string) (*project, error) {
	data, ok, err := r.optional(file)
	if err != nil || !ok {
		return nil, err
	}
	p := &project{file: file}
	if _, ok := r.toml(file, data, p, &p.whole); !ok {
		return nil, nil
	}
	return p, nil
}

// group gives the requirements of a dependency group with those that it includes (PEP 735).
func (p *project) group(name string, seen ...string) []string {
	name = packaging.NormalName(name)
	if slices.Contains(seen, name) {
		return nil
	}
	seen = append(seen[:len(seen):len(seen)], name)
	var all []string
	for key, items := range p.Groups {
		if packaging.NormalName(key) != name {
			continue
		}
		for _, item := range items {
			switch item := item.(type) {
			case string:
				all = append(all, item)
			case map[string]any:
				if included, ok := item["include-group"].(string); ok {
					all = append(all, p.group(included, seen...)...)
				}
			}
		}
	}
	if name == "dev" {
		all = append(all, p.Tool.UV.Dev...)
	}
	return all
}

// wish is a requirement as far as two spellings of it can be compared.
type wish struct {
	name string
	// text has extras and specifiers; empty where a tool's own table says where the
	// distribution comes from.
	text string
}

func newWish(name string, extras []string, specifiers string, isOwn bool) wish {
	w := wish{name: packaging.NormalName(name)}
	if isOwn {
		return w
	}
	sorted := make([]string, len(extras))
	for i, extra := range extras {
		sorted[i] = packaging.NormalName(extra)
	}
	slices.Sort(sorted)
	w.text = "[" + strings.Join(slices.Compact(sorted), ",") + "]" + oneSpelling(specifiers)
	return w
}

// oneSpelling gives specifiers sorted, with versions as PEP 440 normalises them.
func oneSpelling(text string) string {
	specifiers, err := packaging.ParseSpecifiers(text)
	if err != nil {
		return text
	}
	all := make([]string, len(specifiers))
	for i, s := range specifiers {
		stem, star := strings.CutSuffix(s.Version, ".*")
		if v, err := packaging.ParseVersion(stem); err == nil {
			stem = v.String()
		}
		if star {
			stem += ".*"
		}
		all[i] = s.Operator + stem
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

func (w wish) String() string {
	if text, ok := strings.CutPrefix(w.text, "[]"); ok {
		return w.name + text
	}
	return w.name + w.text
}

// wishes gives those of a list of requirements that count here, each once. Where a table of
// the tool says where a name comes from, its name alone can be compared.
func (r *reader) wishes(texts []string, own map[string]any) []wish {
	var all []wish
	for _, text := range texts {
		q, err := packaging.ParseRequirement(text)
		if err != nil || !q.Applies(r.env, nil) {
			continue
		}
		isOwn := q.URL != "" || slices.ContainsFunc(slices.Collect(maps.Keys(own)), func(n string) bool { return packaging.NormalName(n) == q.Name })
		all = append(all, newWish(q.Name, q.Extras, q.Specifiers.String(), isOwn))
	}
	return sortWishes(all)
}

func sortWishes(all []wish) []wish {
	slices.SortFunc(all, func(a, b wish) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.text, b.text)) })
	return slices.Compact(all)
}

// differ says how what is required differs from what a lock was made for; empty if it
// does not.
func differ(required, locked []wish) string {
	// Where one of both has a name alone, the rest cannot be compared.
	match := func(all []wish, w wish) bool {
		return slices.ContainsFunc(all, func(o wish) bool { return o.name == w.name && (o.text == w.text || o.text == "" || w.text == "") })
	}
	var parts []string
	for _, w := range required {
		if !match(locked, w) {
			parts = append(parts, fmt.Sprintf("%s is required and is not locked", w))
		}
	}
	for _, w := range locked {
		if !match(required, w) {
			parts = append(parts, fmt.Sprintf("%s is locked and is not required", w))
		}
	}
	if len(parts) > 4 {
		parts = append(parts[:4], fmt.Sprintf("and %d more", len(parts)-4))
	}
	return strings.Join(parts, "; ")
}
