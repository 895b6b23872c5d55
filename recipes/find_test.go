package recipes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{
		"ampoule.yaml": "python: {version: 3.13.5}\n", "web/ampoule.yaml": "name: web\n", "a/b/c/ampoule.yaml": "name: c\n", "broken/ampoule.yaml": "a: [\n",
		"web/other.yaml": "name: other\n", ".hidden/ampoule.yaml": "name: x\n", "node_modules/x/ampoule.yaml": "name: x\n", "vendor/ampoule.yaml": "name: x\n",
		"env/pyvenv.cfg": "", "env/ampoule.yaml": "name: x\n",
	})
	if err := os.Symlink("web", filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	found, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range found {
		found[i], _ = filepath.Rel(dir, file)
	}
	if diff := cmp.Diff([]string{"a/b/c/ampoule.yaml", "broken/ampoule.yaml", "web/ampoule.yaml"}, found); diff != "" {
		t.Error(diff)
	}
	if _, err := Find(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
