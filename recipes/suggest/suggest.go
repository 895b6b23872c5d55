// Package suggest writes a first recipe from what a repository has, and lists what it
// could not take over.
package suggest

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/address"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/recipes/project"
)

// Options say how the recipe is to begin.
type Options struct {
	// Adopt, a day, accepts all published wheels for 90 days from it: nothing but the
	// interpreter is compiled. The zero time accepts none.
	Adopt time.Time
}

// Suggestion is a recipe and what is to be said of it.
type Suggestion struct {
	Recipe []byte
	// Chosen says what was chosen and why, a line each.
	Chosen []string
	// Left is what a person has to look at: it is not in the recipe, or not as it was.
	Left []Left
}

// Left is one thing that was not taken over.
type Left struct {
	recipes.Position `json:"position"`
	// What stands there, and Why it is not in the recipe.
	What string `json:"what"`
	Why  string `json:"why"`
	// Do says what to do about it; it may be empty.
	Do string `json:"do,omitempty"`
}

// String gives the place, what stands there, why it was left, and what to do.
func (l Left) String() string {
	text := l.What + ": " + l.Why
	if l.Do != "" {
		text += "; " + l.Do
	}
	if where := l.Position.String(); where != "" {
		return where + ": " + text
	}
	return text
}

// Recipe writes a recipe for a directory. A repository that wants a Python which Ampoule
// does not build at all gives [recipes.Faults].
func Recipe(dir string, o Options) (*Suggestion, error) {
	repository, err := project.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = repository.Close() }()
	s := &suggester{dir: dir, repository: repository, metadata: repository.Metadata(), dockerfiles: repository.Dockerfiles()}
	statements := repository.Pythons()
	// A project's metadata that cannot be read would give a recipe of something else.
	for _, fault := range repository.Told() {
		if filepath.Base(fault.File) == "pyproject.toml" {
			return nil, recipes.Faults{fault}
		}
	}
	var r draft
	if r.version, r.known, err = s.version(statements); err != nil {
		return nil, err
	}
	r.except = s.except
	if r.name, err = s.name(); err != nil {
		return nil, err
	}
	s.python = r.version
	r.requirements = s.requirements()
	r.groups = s.taken
	s.dockerfile(&r)
	s.started()
	s.ownCode(&r)
	if !o.Adopt.IsZero() {
		r.until = o.Adopt.UTC().AddDate(0, 0, adoptedDays).Format(time.DateOnly)
		s.choose("published wheels are taken until %s: `ampoule plan` lists what is left to build", r.until)
	}
	for _, fault := range repository.Told() {
		s.leave(fault.Position(), "a file", fault.What, fault.Hint)
	}
	if err := s.check(dir, r); err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.left, func(a, b Left) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	s.left = slices.Compact(s.left)
	r.left = s.below(s.left)
	return &Suggestion{r.text(), s.chosen, s.left}, nil
}

// adoptedDays is for how many days adopted wheels are accepted.
const adoptedDays = 90

type suggester struct {
	dir         string
	repository  *project.Repository
	metadata    project.Metadata
	dockerfiles []project.Dockerfile
	// python is the version that was chosen.
	python string
	// names are the distributions that the recipe requires, as far as they are known.
	names map[string]bool
	// isListed says that the recipe's requirements are a copy of what the metadata requires.
	isListed bool
	// except are the recipe's lines for files that want a Python which is not built.
	except []string
	chosen []string
	left   []Left
	// taken are the lines of dependency groups.
	taken []string
}

func (s *suggester) choose(format string, args ...any) {
	s.chosen = append(s.chosen, fmt.Sprintf(format, args...))
}

func (s *suggester) leave(at recipes.Position, what, why, do string) {
	s.left = append(s.left, Left{at, oneLine(what), oneLine(why), oneLine(do)})
}

// below names files as they stand from the recipe: it says the same from wherever it was
// written.
func (s *suggester) below(all []Left) []Left {
	all = slices.Clone(all)
	for i, l := range all {
		if name, err := filepath.Rel(s.dir, l.File); err == nil && l.File != "" {
			all[i].File = name
		}
	}
	return all
}

// check reads the recipe as it will be read, and tells what its requirements file has
// that is refused.
func (s *suggester) check(dir string, r draft) error {
	parsed, err := recipes.ParseRecipe(filepath.Join(dir, "ampoule.yaml"), r.text())
	if err != nil {
		return fmt.Errorf("suggesting a recipe for %s: %w", dir, err)
	}
	_, err = recipes.ReadRequirements(parsed)
	var faults recipes.Faults
	if errors.As(err, &faults) {
		for _, fault := range faults {
			s.leave(fault.Position(), "a requirement", fault.What, fault.Hint)
		}
		return nil
	}
	return err
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// name is the project's, or the directory's.
func (s *suggester) name() (string, error) {
	absolute, err := filepath.Abs(s.dir)
	if err != nil {
		return "", fmt.Errorf("finding the directory's name: %w", err)
	}
	for _, candidate := range []string{s.metadata.Name, filepath.Base(absolute)} {
		name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(candidate), "-"), "-")
		if len(name) > 100 {
			name = strings.Trim(name[:100], "-")
		}
		if name != "" {
			return name, nil
		}
	}
	return "app", nil
}

// oneLine makes a foreign text fit for a comment and a terminal: without the credentials
// of addresses, which would go into version control with the recipe.
func oneLine(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
	return address.Redact(strings.Join(strings.Fields(text), " "))
}

// requires reports whether the recipe requires a distribution, as far as is known.
func (s *suggester) requires(name string) bool { return s.names[packaging.NormalName(name)] }
