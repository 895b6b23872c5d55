package table

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMeasuredIsShown wants docs/measured to have what the page is made of and nothing else:
// without any of its files there is another page.
func TestMeasuredIsShown(t *testing.T) {
	t.Parallel()
	measured := filepath.Join("..", "..", "..", "docs", "measured")
	whole, err := Render(measured)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(measured)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(measured)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
		if page, err := Render(dir); err != nil || page == whole {
			t.Errorf("the page is made without %s (%v)", e.Name(), err)
		}
	}
	if len(entries) < 5 {
		t.Errorf("only %d files", len(entries))
	}
}
