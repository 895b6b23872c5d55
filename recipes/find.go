package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileName is the name of a recipe that is found in a directory.
const FileName = "ampoule.yaml"

// foreignDirs hold what others wrote, or what tools made.
var foreignDirs = []string{"vendor", "vendored", "third_party", "node_modules", "site-packages", "__pycache__"}

// Find gives the paths of the recipes in a directory and below it, sorted: each ampoule.yaml
// that has a name, or that cannot be read as one. Without a name it is a file to extend.
// Directories whose names begin with a dot, those with others' code, virtual environments and
// symbolic links are not entered.
func Find(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && file != dir:
			return enter(file, e.Name())
		case e.IsDir() || e.Name() != FileName:
			return nil
		}
		data, err := readFile(file, maxRecipeBytes)
		if err != nil {
			return err
		}
		root, _ := readYAML(file, data, maxRecipeBytes)
		if root == nil || root.value("name") != nil {
			found = append(found, file)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for recipes: %w", err)
	}
	return found, nil
}

// enter returns fs.SkipDir for a directory that has no recipes of one's own.
func enter(dir, name string) error {
	if strings.HasPrefix(name, ".") || slices.Contains(foreignDirs, name) {
		return fs.SkipDir
	}
	_, err := os.Lstat(filepath.Join(dir, "pyvenv.cfg"))
	switch {
	case err == nil:
		return fs.SkipDir
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}
