package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	product = "ampoule/"
	bench   = "ampoule/bench/"
)

// taken are the packages of the program that its measuring may use: formats of files and
// of events, and what starts a server for it. It uses the program itself as people do, so that what makes it is out of reach.
var taken = []string{"artifact", "packaging", "recipes", "recipes/catalogue", "recipes/profiles", "store", "builder/progress", "internal/postgres"}

// listed is what `go list -json` tells of a package, as far as it matters here.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestRooms(t *testing.T) {
	t.Parallel()
	for _, tags := range []string{"", "docker"} {
		t.Run("tags="+tags, func(t *testing.T) {
			t.Parallel()
			packages := list(t, tags)
			if len(packages) == 0 {
				t.Fatal("go list names no packages")
			}
			if faults := trespasses(packages); len(faults) > 0 {
				t.Error(strings.Join(faults, "\n"))
			}
		})
	}
}

func TestRoomsRefuses(t *testing.T) {
	t.Parallel()
	got := trespasses([]listed{
		{ImportPath: "ampoule/bench/measure", Imports: []string{"io", "ampoule/bench/internal/drive", "ampoule/recipes"}},
		{ImportPath: "ampoule/bench/internal/drive", Imports: []string{"ampoule/builder"}, TestImports: []string{"ampoule/registry"}},
		{ImportPath: "ampoule/bench/internal/table", XTestImports: []string{"ampoule/recipes/lint"}},
	})
	want := []string{
		"ampoule/bench/internal/drive imports ampoule/builder",
		"ampoule/bench/internal/drive imports ampoule/registry",
		"ampoule/bench/internal/table imports ampoule/recipes/lint",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("trespasses (-want +got):\n%s", diff)
	}
}

// trespasses lists what is used of the program and may not be, sorted. Tests are held to it
// too.
func trespasses(packages []listed) []string {
	var faults []string
	for _, p := range packages {
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			name, ours := strings.CutPrefix(imported, product)
			if ours && !strings.HasPrefix(imported, bench) && !slices.Contains(taken, name) {
				faults = append(faults, fmt.Sprintf("%s imports %s", p.ImportPath, imported))
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// list asks the go command for the packages of this module.
func list(t *testing.T, tags string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "-tags", tags, bench+"...")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("running %s: %v\n%s", cmd, err, stderr.String())
	}
	var packages []listed
	for dec := json.NewDecoder(&stdout); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
