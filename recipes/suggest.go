package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Suggest writes a first recipe from what a directory holds: the version of
// .python-version, runtime.txt, Pipfile or pyproject.toml, the requirements files,
// the project's name. The notes say what it chose and what it could not read.
// Files that disagree about the version are an error of type [Faults].
func Suggest(dir string) (recipe []byte, notes []string, err error) {
	s := &suggester{dir: dir}
	if err := s.pyproject(); err != nil {
		return nil, nil, err
	}
	version, err := s.version()
	if err != nil {
		return nil, nil, err
	}
	requirements, err := s.requirements()
	if err != nil {
		return nil, nil, err
	}
	name, err := s.name()
	if err != nil {
		return nil, nil, err
	}
	recipe = fmt.Appendf(nil, firstRecipe, scalar(name), version, requirements)
	parsed, err := ParseRecipe(filepath.Join(dir, "ampoule.yaml"), recipe)
	if err != nil {
		return nil, nil, fmt.Errorf("suggesting a recipe for %s: %w", dir, err)
	}
	_, err = ReadRequirements(parsed)
	if faults, ok := errors.AsType[Faults](err); ok {
		for _, fault := range faults {
			s.note("%s", fault)
		}
	} else if err != nil {
		return nil, nil, err
	}
	return recipe, s.notes, nil
}

const firstRecipe = `# What is built, and where it must run. docs/recipe.md explains every key.
apiVersion: ampoule/v1
name: %s
python:
  version: %s
  # CPython's own configure flags. With these it runs faster and takes several
  # times as long to build: [--enable-optimizations, --with-lto]
  configure: []
  # Standard modules that may be missing: the default toolchain has no Tk.
  optional: [_tkinter]
# Everything is compiled on this base.
base: {debian: bookworm}
%s
# Debian packages that one wheel needs to compile:
# packages:
#   psycopg2: {build: [libpq-dev]}
runtime:
  # The image that the artifact stands on. A plain machine is a target too:
  # vm: {glibc: "2.36", cpu: x86-64-v2}
  container: {base: {debian: bookworm}}
# What must work in each target before anything is published:
# test:
#   imports: [flask]
#   commands: [[flask, --version]]
`

type suggester struct {
	dir     string
	project pyproject
	notes   []string
}

func (s *suggester) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// read gives a file of the directory; ok is false if there is none.
func (s *suggester) read(name string) (data []byte, ok bool, err error) {
	data, err = readFile(filepath.Join(s.dir, name), maxRecipeBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	case len(data) > maxRecipeBytes:
		return nil, false, fmt.Errorf("reading %s: more than %d bytes", name, maxRecipeBytes)
	}
	return data, true, nil
}

// pyproject is what is read of a pyproject.toml (PEP 621, and Poetry's own).
type pyproject struct {
	Project struct {
		Name           string   `toml:"name"`
		RequiresPython string   `toml:"requires-python"`
		Dependencies   []string `toml:"dependencies"`
	} `toml:"project"`
	Tool struct {
		Poetry struct {
			Name         string         `toml:"name"`
			Dependencies map[string]any `toml:"dependencies"`
		} `toml:"poetry"`
	} `toml:"tool"`
}

func (s *suggester) pyproject() error {
	data, ok, err := s.read("pyproject.toml")
	if err != nil || !ok {
		return err
	}
	return s.toml("pyproject.toml", data, &s.project)
}

// toml decodes a file of the directory; what is wrong in it is told as [Faults].
func (s *suggester) toml(name string, data []byte, v any) error {
	err := toml.Unmarshal(data, v)
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := wrong.Position()
		return Faults{{File: filepath.Join(s.dir, name), Line: line, Column: column, What: "this is not TOML: " + wrong.Error()}}
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// name is the project's, or the directory's.
func (s *suggester) name() (string, error) {
	absolute, err := filepath.Abs(s.dir)
	if err != nil {
		return "", fmt.Errorf("finding the directory's name: %w", err)
	}
	for _, candidate := range []string{s.project.Project.Name, s.project.Tool.Poetry.Name, filepath.Base(absolute)} {
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

// requirements gives the recipe's lines for what is required.
func (s *suggester) requirements() (string, error) {
	files, err := s.requirementsFiles()
	if err != nil {
		return "", err
	}
	switch {
	case len(files) > 0:
		if len(files) > 1 {
			s.note("requirements are taken from %s, not from %s", files[0], strings.Join(files[1:], ", "))
		}
		return "requirements: " + scalar(files[0]), nil
	case len(s.project.Project.Dependencies) > 0:
		return s.dependencies(), nil
	}
	if len(s.project.Tool.Poetry.Dependencies) > 0 {
		s.note("pyproject.toml has Poetry's own dependencies, which are not read; `poetry export` writes a requirements file")
	}
	for _, name := range []string{"uv.lock", "poetry.lock", "Pipfile.lock", "Pipfile", "pylock.toml"} {
		if _, err := os.Lstat(filepath.Join(s.dir, name)); err == nil {
			s.note("%s is not read; export a requirements file from it", name)
		}
	}
	s.note("no requirements were found; the recipe builds the interpreter alone")
	return "# Distributions to install, from a file or a list:\n# requirements: requirements.txt", nil
}

// requirementsFiles gives the files that may hold what is required, the likeliest first.
func (s *suggester) requirementsFiles() ([]string, error) {
	candidates := []string{"requirements.txt", "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt", "requirements.in"}
	entries, err := os.ReadDir(filepath.Join(s.dir, "requirements"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !isFile(filepath.Join(s.dir, "requirements")) {
		return nil, fmt.Errorf("reading requirements: %w", err)
	}
	for _, entry := range entries {
		if name := "requirements/" + entry.Name(); strings.HasSuffix(name, ".txt") && !slices.Contains(candidates, name) {
			candidates = append(candidates, name)
		}
	}
	return slices.DeleteFunc(candidates, func(name string) bool {
		return !isFile(filepath.Join(s.dir, name))
	}), nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// dependencies gives pyproject.toml's own dependencies as a list.
func (s *suggester) dependencies() string {
	lines := []string{"# From pyproject.toml, which Ampoule does not read by itself.", "requirements:"}
	for _, text := range s.project.Project.Dependencies {
		requirement, err := parseRequirement(text)
		if err != nil {
			s.note("pyproject.toml: %s; it is left out", err.what)
			continue
		}
		lines = append(lines, "  - "+scalar(requirement.Spec))
	}
	if len(lines) == 2 {
		lines[1] = "requirements: []"
	}
	return strings.Join(lines, "\n")
}
