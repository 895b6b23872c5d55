package foreign

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"testing/fstest"

	"ampoule/packaging"
)

// fuzz reads a lock and its project file, of which anything may be wrong. What is read is in
// order, whatever stands there.
func fuzz(f *testing.F, lock, project string, samples ...string) {
	for _, sample := range samples {
		text, err := os.ReadFile(filepath.Join("testdata", sample, lock))
		if err != nil {
			f.Fatal(err)
		}
		beside, err := os.ReadFile(filepath.Join("testdata", sample, project))
		if err != nil && project != "" {
			f.Fatal(err)
		}
		f.Add(text, beside, "prod", "test")
	}
	f.Fuzz(func(t *testing.T, text, beside []byte, extra, group string) {
		files := fstest.MapFS{lock: {Data: text}, project: {Data: beside}}
		if project == "" {
			delete(files, project)
		}
		read, err := Read(files, lock, Query{Python: "3.12.4", Extras: []string{extra}, Groups: []string{group}})
		if err != nil {
			told, ok := errors.AsType[Faults](err)
			if !ok || len(told) == 0 || len(told) > maxFaults+1 {
				t.Fatal(err)
			}
			return
		}
		for i, p := range read.Packages {
			switch {
			case p.Name != packaging.NormalName(p.Name) || !packaging.IsName(p.Name) || !packaging.IsVersion(p.Version):
				t.Errorf("%s==%s", p.Name, p.Version)
			case i > 0 && read.Packages[i-1].Name >= p.Name:
				t.Errorf("%s after %s", p.Name, read.Packages[i-1].Name)
			case p.Line < 1 || p.Column < 1 || p.File != lock:
				t.Errorf("%s at %s", p.Name, p.Place)
			case (len(p.Hashes) > 0) != (len(read.Packages[0].Hashes) > 0):
				t.Errorf("%s has %d hashes, and %s others", p.Name, len(p.Hashes), read.Packages[0].Name)
			case !slices.IsSorted(p.Hashes) || slices.ContainsFunc(p.Hashes, func(h string) bool { return !fuzzHash.MatchString(h) }):
				t.Errorf("%s has hashes %q", p.Name, p.Hashes)
			}
		}
	})
}

var fuzzHash = regexp.MustCompile(`^sha(256|384|512):[0-9a-f]{64,128}$`)

func FuzzUV(f *testing.F)      { fuzz(f, "uv.lock", "pyproject.toml", "uv-app") }
func FuzzPoetry(f *testing.F)  { fuzz(f, "poetry.lock", "pyproject.toml", "poetry-1", "poetry-2") }
func FuzzPDM(f *testing.F)     { fuzz(f, "pdm.lock", "pyproject.toml", "pdm-app", "pdm-plain") }
func FuzzPipfile(f *testing.F) { fuzz(f, "Pipfile.lock", "Pipfile", "pipenv") }
func FuzzPylock(f *testing.F)  { fuzz(f, "pylock.toml", "", "pdm-pylock") }
