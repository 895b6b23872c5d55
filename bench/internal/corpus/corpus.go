// Package corpus holds environments that people have, as requirement files, and ways in
// which such environments break. It is data for a comparison of what an audit says with what
// works: the breakages were written down before anything was audited.
package corpus

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed environments breakages notes.txt
var files embed.FS

// Environment is a set of requirements that a public project has.
type Environment struct {
	Name string
	// What says what it is for, Source which file of which repository it was taken from,
	// and LeftOut what of that file is not in it, and why.
	What, Source, LeftOut string
	// Pythons are the minor versions that it is installed for, as "3.11".
	Pythons []string
	// System are Debian packages that are installed first.
	System []string
	// Requirements is the text of a requirements file.
	Requirements string
}

// Breakage is something that happens to an environment after it was installed.
type Breakage struct {
	Name string
	// Of is the environment and the Python, as "shop/3.11".
	Of string
	// What says what happens.
	What string
	// Now is where the environment is afterwards; empty if it stays.
	Now string
	// Script is what a POSIX shell does to the machine, as root. ENV is the environment's
	// directory, SITE its site-packages, BASE the interpreter's prefix, and OTHER the prefix of
	// another minor version.
	Script string
}

// Environments lists the environments by name.
func Environments() ([]Environment, error) {
	return each("environments", ".txt", func(name string, head map[string]string, text string) (Environment, error) {
		e := Environment{
			Name: name, What: head["what"], Source: head["source"], LeftOut: head["left out"],
			Pythons: strings.Fields(head["python"]), System: strings.Fields(head["system"]), Requirements: text,
		}
		return e, wanted(head, "what", "source", "python")
	})
}

// Breakages lists the breakages by name.
func Breakages() ([]Breakage, error) {
	return each("breakages", ".sh", func(name string, head map[string]string, text string) (Breakage, error) {
		b := Breakage{Name: name, Of: head["environment"], What: head["what"], Now: head["now"], Script: text}
		return b, wanted(head, "environment", "what")
	})
}

// Notes argue for verdicts that are not what one would expect, by the name of a breakage or of a
// wheel's distribution.
func Notes() (map[string]string, error) {
	data, err := files.ReadFile("notes.txt")
	if err != nil {
		return nil, err
	}
	notes := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, note, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			return nil, fmt.Errorf("reading notes.txt of the corpus: %q is no NAME: NOTE", line)
		}
		notes[name] = note
	}
	return notes, nil
}

// each makes something of each file of a directory, sorted by the files' names.
func each[T any](dir, ext string, make func(name string, head map[string]string, text string) (T, error)) ([]T, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return cmp.Compare(x.Name(), y.Name()) })
	var all []T
	for _, entry := range entries {
		data, err := files.ReadFile(path.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		head, text := headed(string(data))
		one, err := make(strings.TrimSuffix(entry.Name(), ext), head, text)
		if err != nil {
			return nil, fmt.Errorf("reading %s of the corpus: %w", entry.Name(), err)
		}
		all = append(all, one)
	}
	return all, nil
}

// headed takes the lines "# KEY: VALUE" from the head of a text.
func headed(text string) (head map[string]string, rest string) {
	head = map[string]string{}
	for {
		line, after, _ := strings.Cut(text, "\n")
		comment, ok := strings.CutPrefix(line, "# ")
		key, value, pair := strings.Cut(comment, ": ")
		if !ok || !pair {
			return head, text
		}
		head[key], text = value, after
	}
}

func wanted(head map[string]string, keys ...string) error {
	for _, key := range keys {
		if head[key] == "" {
			return fmt.Errorf("no line %q at its head", "# "+key+": …")
		}
	}
	return nil
}
