package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

func TestTable(t *testing.T) {
	t.Parallel()
	docs := t.TempDir()
	var out, errs bytes.Buffer
	if code := Main([]string{"table", "--docs", docs}, &out, &errs); code != 0 {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	page, err := os.ReadFile(filepath.Join(docs, "catalogue.md"))
	if err != nil || !strings.Contains(string(page), "# Catalogue") {
		t.Errorf("%v, page %q", err, page)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	broken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(broken, "measured"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "measured", recorded.LoopFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"catalogue", "xyzzy", "--docs", t.TempDir()}, `"xyzzy" is none of`},
		{[]string{"packages", "xyzzy", "--docs", t.TempDir()}, `"xyzzy" is none of`},
		{[]string{"releases", "xyzzy", "--docs", t.TempDir()}, `"xyzzy" is none of`},
		{[]string{"loop", "--ampoule", filepath.Join(t.TempDir(), "none"), "--docs", t.TempDir()}, "no such file"},
		{[]string{"bench", "--ampoule", filepath.Join(t.TempDir(), "none"), "--docs", t.TempDir()}, "no such file"},
		{[]string{"table", "--docs", broken}, recorded.LoopFile},
		{[]string{"table", "more"}, "more"},
		{[]string{"tabel"}, "tabel"},
	} {
		var out, errs bytes.Buffer
		if code := Main(tt.args, &out, &errs); code != 1 || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
			t.Errorf("%q: code %d, stdout %q, stderr %q", tt.args, code, out.String(), errs.String())
		}
	}
}

func TestFigure(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]recorded.Figure{
		"build              1.06  limit 1.05     DOES NOT HOLD  (x)": {Name: "build", Value: 1.06, Limit: 1.05, Of: "x"},
		"peak memory     120 MiB  limit 300 MiB  holds  (y)":         {Name: "peak memory", Value: 120, Limit: 300, Unit: "MiB", Of: "y"},
	} {
		if got := figure(f); got != want {
			t.Errorf("figure %q, want %q", got, want)
		}
	}
}
