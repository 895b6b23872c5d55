package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/builder"
	"ampoule/builder/fetch"
	"ampoule/recipes"
	"ampoule/store"
)

// inputsOf is an InputFetcher whose inputs the store has.
type inputsOf builder.Inputs

func (i inputsOf) FetchInputs(context.Context, builder.Request) (builder.Inputs, error) {
	return builder.Inputs(i), nil
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	s.Output = JSON
	st, err := store.Open(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	sum, size, err := st.Put(t.Context(), strings.NewReader("a package"))
	if err != nil {
		t.Fatal(err)
	}
	in := inputsOf{Name: "team/web", Key: "sha256:" + sumA, Files: []builder.Input{{Source: "debian", Name: "a", File: "pool/a.deb", SHA256: sum, Size: size}}}
	dir := filepath.Join(t.TempDir(), "deep", "kept")
	keep, err := keepIn(st, dir)
	if err != nil {
		t.Fatal(err)
	}
	var faults recipes.Faults
	if err := Fetch(t.Context(), s, in, keep); !errors.As(err, &faults) || !strings.Contains(err.Error(), "there is no lock") {
		t.Errorf("without a lock: %v", err)
	}
	if err := os.WriteFile(lockPath(s.Recipe), lockOf(t, s.Recipe, "3.10", sumA).Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Fetch(t.Context(), s, in, keep); err != nil {
		t.Fatal(err)
	}
	var told fetchResult
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || told.Kept != dir || told.Key != in.Key || len(told.Files) != 1 {
		t.Errorf("told %s, %v", out, err)
	}
	if !strings.Contains(errs.String(), "1 inputs, 9 B") {
		t.Errorf("said %s", errs)
	}
	content, err := fetch.Directory(dir).Open(t.Context(), sum)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil || string(data) != "a package" {
		t.Errorf("kept %q, %v", data, err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "team--web-93e583f24345.json"))
	if err != nil || !strings.Contains(string(list), "pool/a.deb") {
		t.Errorf("list: %s, %v", list, err)
	}
}

func TestKeepPlaces(t *testing.T) {
	t.Parallel()
	if _, err := keepIn(nil, "registry.example/Team"); err == nil {
		t.Error("a wrong registry was taken")
	}
}
