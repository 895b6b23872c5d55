package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"ampoule/recipes"
)

// What ships is what its name says, and a recipe can name it.
func TestShipped(t *testing.T) {
	t.Parallel()
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ext))
	}
	// Without BOLT, shared and embed have the same one.
	if named := slices.Compact(slices.Sorted(maps.Values(shipped))); !slices.Equal(names, named) {
		t.Errorf("%q ship, and %q are named", names, named)
	}
	for what := range shipped {
		profile, ok := For(what)
		sum, named := strings.CutPrefix(profile, "sha256:")
		if !ok || !named {
			t.Fatalf("for %v it is %q", what, profile)
		}
		content, err := Shipped{}.Open(t.Context(), sum)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, content); err != nil {
			t.Error(err)
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			t.Errorf("the profile for %v has the sha256 %s, not %s", what, got, sum)
		}
	}
}

// Whoever writes a recipe by hand finds each of them.
func TestShippedIsTold(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/interpreter.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, sum := range shipped {
		of := string(what.Mode)
		if what.Compiler != "" {
			of += fmt.Sprintf(", `compiler: %s`", what.Compiler)
		}
		if what.Bolt {
			of += ", `--enable-bolt`"
		}
		if what.Builtin {
			of += ", `builtin` as [below](#modules)"
		}
		if what.InitialExec {
			of += fmt.Sprintf(", `%s`", InitialExec)
		}
		row := fmt.Sprintf("| %s | %s | %s | `sha256:%s` |", what.Version, what.Suite, of, sum)
		if !strings.Contains(string(doc), row+"\n") {
			t.Errorf("it lacks %s", row)
		}
	}
	if list := "builtin: [" + strings.Join(Builtin, ", ") + "]"; !strings.Contains(strings.Join(strings.Fields(string(doc)), " "), list) {
		t.Errorf("it lacks %s", list)
	}
}

func TestNotShipped(t *testing.T) {
	t.Parallel()
	if profile, ok := For(Build{Version: "3.13.5", Suite: "sid", Mode: recipes.Static}); ok {
		t.Errorf("for sid it is %q", profile)
	}
	for _, sum := range []string{strings.Repeat("a", 64), "profiles"} {
		if _, err := (Shipped{}).Open(t.Context(), sum); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", sum, err)
		}
	}
}
