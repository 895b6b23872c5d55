package recipes

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
)

// wish is what a file says about the version of Python.
type wish struct {
	// file is the file, line the line of it that says so; 0 is not known.
	file string
	line int
	// text is what stands there.
	text string
	// specifiers are what a version must fit, as PEP 440 has them; pinned is a full
	// version, empty for none.
	specifiers packaging.Specifiers
	pinned     string
}

// version picks the newest known version that every file wants, or the one that
// they pin.
func (s *suggester) version() (string, error) {
	wishes, err := s.wishes()
	if err != nil {
		return "", err
	}
	candidates := preferredVersions()
	for _, w := range wishes {
		if w.pinned != "" && !slices.Contains(candidates, w.pinned) {
			candidates = append(candidates, w.pinned)
		}
	}
	for i, w := range wishes {
		for _, other := range wishes[:i] {
			if !slices.ContainsFunc(candidates, func(v string) bool { return w.fits(v) && other.fits(v) }) && w.possible(candidates) && other.possible(candidates) {
				return "", s.disagreement(other, w)
			}
		}
	}
	for _, v := range candidates {
		if !slices.ContainsFunc(wishes, func(w wish) bool { return !w.fits(v) }) {
			s.noteVersion(v, wishes)
			return v, nil
		}
	}
	return "", s.unknown(wishes, candidates)
}

// preferredVersions gives the releases with a known source, best first: from the newest
// that is a [KnownPython] down, and then those that are newer still.
func preferredVersions() []string {
	var versions, newer []string
	known := KnownPythons()
	for _, r := range slices.Backward(sources()) {
		if compareVersions(r.Version, known[len(known)-1].Version) > 0 {
			newer = append(newer, r.Version)
		} else {
			versions = append(versions, r.Version)
		}
	}
	return append(versions, newer...)
}

func (w wish) possible(versions []string) bool { return slices.ContainsFunc(versions, w.fits) }

func (w wish) fits(version string) bool {
	if w.pinned != "" {
		return version == w.pinned
	}
	v, err := packaging.ParseVersion(version)
	return err == nil && w.specifiers.Contains(v)
}

func (s *suggester) disagreement(a, b wish) error {
	return Faults{{
		File: filepath.Join(s.dir, b.file), Line: b.line,
		What: fmt.Sprintf("%s wants Python %s and %s wants Python %s", b.file, b.text, a.file, a.text),
		Hint: "make the files agree: one version is built, tested and run",
	}}
}

func (s *suggester) unknown(wishes []wish, candidates []string) error {
	f := Faults{}
	for _, w := range wishes {
		if !w.possible(candidates) || len(wishes) == 1 {
			f = append(f, Fault{
				File: filepath.Join(s.dir, w.file), Line: w.line,
				What: fmt.Sprintf("%s wants Python %s, and no release that this Ampoule knows is that; the newest known are %s", w.file, w.text, strings.Join(newestPythons(), ", ")),
				Hint: "a full version of 3.11 or later may stand there, even one that is not known; earlier ones are not built",
			})
		}
	}
	if len(f) == 0 {
		w := wishes[len(wishes)-1]
		f = append(f, Fault{File: filepath.Join(s.dir, w.file), Line: w.line, What: "no known version of Python is what all files want together", Hint: "make the files agree"})
	}
	return f.Err()
}

func (s *suggester) noteVersion(version string, wishes []wish) {
	if len(wishes) == 0 {
		s.note("no file says which Python is wanted; the recipe has %s, the newest known", version)
		return
	}
	for _, w := range wishes {
		if w.pinned != version {
			s.note("%s wants Python %s; the recipe has %s", w.file, w.text, version)
		}
	}
}

// wishes reads what the directory's files say about the version.
func (s *suggester) wishes() ([]wish, error) {
	var wishes []wish
	for _, file := range []string{".python-version", "runtime.txt"} {
		data, ok, err := s.read(file)
		if err != nil {
			return nil, err
		}
		if ok {
			of, err := s.versionLines(file, string(data))
			if err != nil {
				return nil, err
			}
			wishes = append(wishes, of...)
		}
	}
	if pipfile, ok, err := s.pipfile(); err != nil {
		return nil, err
	} else if ok {
		wishes = append(wishes, pipfile)
	}
	if text := s.project.Project.RequiresPython; text != "" {
		w := wish{file: "pyproject.toml", text: text}
		specifiers, err := packaging.ParseSpecifiers(text)
		if err != nil {
			return nil, s.badVersion(w)
		}
		w.specifiers = specifiers
		wishes = append(wishes, w)
	} else if _, ok := s.project.Tool.Poetry.Dependencies["python"]; ok {
		s.note("pyproject.toml has Poetry's own python constraint, which is not read")
	}
	return wishes, nil
}

// versionLines reads files of one version a line, with or without "python-".
func (s *suggester) versionLines(file, text string) ([]wish, error) {
	var wishes []wish
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		w := wish{file: file, line: number, text: line}
		if !w.version(strings.TrimPrefix(line, "python-")) {
			return nil, s.badVersion(w)
		}
		wishes = append(wishes, w)
	}
	return wishes, nil
}

var partialVersion = regexp.MustCompile(`^3(\.[0-9]+)?$`)

// version takes a full version for a pin and a partial one for its series.
func (w *wish) version(text string) bool {
	switch {
	case rules["full version"].allows(text):
		w.pinned = text
	case partialVersion.MatchString(text):
		w.specifiers = packaging.Specifiers{{Operator: "==", Version: text + ".*"}}
	default:
		return false
	}
	return true
}

func (s *suggester) badVersion(w wish) error {
	return Faults{{
		File: filepath.Join(s.dir, w.file), Line: w.line,
		What: fmt.Sprintf("%q is no version of CPython 3", shorten(w.text)),
		Hint: "write a full version, such as 3.13.5",
	}}
}

func (s *suggester) pipfile() (wish, bool, error) {
	data, ok, err := s.read("Pipfile")
	if err != nil || !ok {
		return wish{}, false, err
	}
	var pipfile struct {
		Requires struct {
			Version string `toml:"python_version"`
			Full    string `toml:"python_full_version"`
		} `toml:"requires"`
	}
	if err := s.toml("Pipfile", data, &pipfile); err != nil {
		return wish{}, false, err
	}
	w := wish{file: "Pipfile", text: pipfile.Requires.Full}
	if w.text == "" {
		w.text = pipfile.Requires.Version
	}
	if w.text == "" {
		return wish{}, false, nil
	}
	if !w.version(w.text) {
		return wish{}, false, s.badVersion(w)
	}
	return w, true, nil
}
