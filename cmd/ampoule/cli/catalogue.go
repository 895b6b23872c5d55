package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ampoule/recipes/catalogue"
)

// ListCatalogue prints the names of the catalogue's recipes and what they are for.
func ListCatalogue(s *Session) error {
	type entry struct {
		Name    string `json:"name"`
		Summary string `json:"summary"`
	}
	entries := []entry{}
	for _, name := range catalogue.Names() {
		entries = append(entries, entry{name, catalogue.Summary(name)})
	}
	return s.print(catalogue.List(), entries)
}

// InitFrom copies a recipe of the catalogue to the session's recipe, its lock and
// the files that it names beside it. When one of them is there already, it is wrong
// usage and nothing is written.
func InitFrom(s *Session, name string) error {
	source, err := catalogue.Open(name)
	if err != nil {
		return &UsageError{Verb: "ampoule init", Err: err}
	}
	files, err := s.placed(source)
	if err != nil {
		return fmt.Errorf("copying the recipe %s: %w", name, err)
	}
	written := []string{}
	for _, f := range files {
		if err := writeBeside(f.path, f.data); err != nil {
			return fmt.Errorf("copying the recipe %s: %w", name, err)
		}
		written = append(written, f.path)
	}
	for _, path := range written {
		if path != s.Recipe {
			s.tell("wrote %s", path)
		}
	}
	return s.print(s.Recipe, struct {
		Recipe string   `json:"recipe"`
		Files  []string `json:"files"`
	}{s.Recipe, written})
}

// placedFile is a file of the catalogue and where it goes.
type placedFile struct {
	path string
	data []byte
}

// placed reads a recipe's files and says where each goes: the recipe and its lock
// to the session's, the others beside them. The recipe is the last one, so that a
// copy that was cut short is none.
func (s *Session) placed(source fs.FS) ([]placedFile, error) {
	var files []placedFile
	var recipe placedFile
	err := fs.WalkDir(source, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f := placedFile{path: filepath.Join(filepath.Dir(s.Recipe), filepath.FromSlash(name))}
		switch name {
		case "ampoule.yaml":
			f.path = s.Recipe
		case "ampoule.lock":
			f.path = lockPath(s.Recipe)
		}
		if f.data, err = fs.ReadFile(source, name); err != nil {
			return err
		}
		if err := absent(f.path); err != nil {
			return err
		}
		if name == "ampoule.yaml" {
			recipe = f
			return nil
		}
		files = append(files, f)
		return nil
	})
	return append(files, recipe), err
}

// absent refuses a path where something is.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &UsageError{Verb: "ampoule init", Err: fmt.Errorf("%s is there already: --from replaces nothing", path)}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// writeBeside writes a file whose directory may be missing.
func writeBeside(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceFile(path, data)
}

// completeCatalogue completes the names of the catalogue's recipes.
func completeCatalogue(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, name := range catalogue.Names() {
		names = append(names, cobra.CompletionWithDesc(name, catalogue.Summary(name)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
