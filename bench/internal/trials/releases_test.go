package trials

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/bench/internal/index/indextest"
	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
)

// published is one file of an index: an sdist where it has build requirements, else a wheel.
type published struct {
	file     string
	requires []string
	yanked   bool
	python   string
}

// pagesOf are those of an index that has files of projects.
func pagesOf(t *testing.T, files []published) map[string]string {
	t.Helper()
	listed, pages := map[string][]map[string]any{}, map[string]string{}
	for _, f := range files {
		project, _, _ := strings.Cut(f.file, "-")
		project = packaging.NormalName(project)
		listed[project] = append(listed[project], map[string]any{"filename": f.file, "url": "/files/" + f.file, "yanked": f.yanked, "requires-python": f.python})
		if f.requires != nil {
			requires, err := json.Marshal(f.requires)
			if err != nil {
				t.Fatal(err)
			}
			pages["/files/"+f.file] = indextest.Sdist(t, "top/pyproject.toml", fmt.Sprintf("[build-system]\nrequires = %s\n", requires))
		}
	}
	for project, of := range listed {
		page, err := json.Marshal(map[string]any{"files": of})
		if err != nil {
			t.Fatal(err)
		}
		pages["/simple/"+project+"/"] = string(page)
	}
	return pages
}

func TestReleases(t *testing.T) {
	t.Parallel()
	server := indextest.Serve(t, pagesOf(t, []published{
		// Its override adds cython<3 below 6.0.1. What 5.6 and 5.7 want is not there, for any or for this Python.
		{file: "PyYAML-3.0.zip", requires: []string{"x"}},
		{file: "PyYAML-5.4.tar.gz", requires: []string{"setuptools", "Cython"}},
		{file: "PyYAML-5.5.tar.gz", requires: []string{"Cython>=3; python_version<'3'"}},
		{file: "PyYAML-5.6.tar.gz", requires: []string{"Cython<0.29"}},
		{file: "PyYAML-5.7.tar.gz", requires: []string{"Cython==0.29.1"}},
		{file: "PyYAML-6.0.tar.gz", requires: []string{"Cython>=3"}},
		{file: "PyYAML-6.0.2.tar.gz", requires: []string{"Cython>=9"}},
		{file: "PyYAML-6.0.3.tar.gz", requires: []string{"x"}, yanked: true},
		{file: "PyYAML-6.1rc1.tar.gz", requires: []string{"x"}},
		{file: "PyYAML-6.1.tar.gz", requires: []string{"x"}, python: ">=3.14"},
		{file: "PyYAML-6.2-cp313-cp313-manylinux_2_17_x86_64.whl"},
		// Builds take its pure wheels; 0.29.1 and 3.1 have none, and the one of them is not here for this Python.
		{file: "cython-0.29.0.tar.gz", requires: []string{}},
		{file: "cython-0.29.1.tar.gz", requires: []string{}, python: "<3"},
		{file: "cython-0.29.2-py2.py3-none-any.whl"},
		{file: "cython-3.0-py3-none-any.whl"},
		{file: "cython-3.1-cp313-cp313-manylinux_2_17_x86_64.whl"},
		// Limits of scipy and of numpy on bullseye.
		{file: "scipy-1.16.tar.gz", requires: []string{"numpy==2.3rc1"}},
		{file: "scipy-1.17.tar.gz", requires: []string{"numpy>=2.5"}},
		{file: "scipy-1.18.tar.gz", requires: []string{"numpy>=2.5"}},
		{file: "numpy-2.3rc1.tar.gz", requires: []string{}},
		{file: "numpy-2.4.tar.gz", requires: []string{}},
		{file: "numpy-2.5.tar.gz", requires: []string{}},
		{file: "numpy-2.5-cp313-cp313-manylinux_2_17_x86_64.whl"},
		// A release fits one GDAL.
		{file: "gdal-3.6.2.tar.gz", requires: []string{}},
		{file: "wrapt-1.0.tar.gz", requires: []string{}}, {file: "wrapt-1.1.tar.gz", requires: []string{}}, {file: "wrapt-1.10.tar.gz", requires: []string{}},
		{file: "wrapt-1.2.tar.gz", requires: []string{}}, {file: "wrapt-1.3.tar.gz", requires: []string{}}, {file: "wrapt-1.4.tar.gz", requires: []string{}},
		{file: "ninja-1.0-py3-none-manylinux_2_17_x86_64.whl"},
		{file: "ninja-1.1-py3-none-win_amd64.whl"}, {file: "ninja-1.1.tar.gz", requires: []string{}},
		// Nothing is declared where there is but a pure wheel.
		{file: "pyzbar-0.1-py3-none-any.whl"},
		{file: "lxml-6.0-cp313-cp313-manylinux_2_17_x86_64.whl"},
	}))
	trials, _ := faked(t, "FAKE_INDEX="+server.URL)
	names := []string{"PyYAML", "cython", "scipy", "gdal", "ninja", "pyzbar", "lxml", "uwsgi", "wrapt"}
	if err := trials.Releases(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	all := []string{"bullseye", "bookworm", "trixie"}
	want := []recorded.Fit{
		{Name: "cython", Releases: []recorded.Release{{Version: "0.29.0"}, {Version: "0.29.2"}, {Version: "3.0"}, {Version: "3.1"}},
			Conflicts: []string{"0.29.0: it has no published wheel for builds to take", "3.1: it has no published wheel for builds to take"}},
		{Name: "gdal", Releases: []recorded.Release{{Version: "3.6.2", Held: []string{"bullseye", "trixie"}}},
			Conflicts: []string{"no release is within the limit ==3.2.2.* (bullseye)", "no release is within the limit ==3.10.3.* (trixie)",
				"3.6.2: the override adds numpy<2 (bookworm)"}},
		{Name: "lxml", Conflicts: []string{"the index has no release of it that builds could take"}},
		{Name: "ninja", Releases: []recorded.Release{{Version: "1.0"}, {Version: "1.1"}}, Conflicts: []string{"1.1: it has no published wheel for builds to take"}},
		{Name: "pyyaml", Releases: []recorded.Release{
			{Version: "5.4", Requires: []string{"setuptools", "Cython"}}, {Version: "5.5", Requires: []string{"Cython>=3; python_version<'3'"}},
			{Version: "5.6", Requires: []string{"Cython<0.29"}}, {Version: "5.7", Requires: []string{"Cython==0.29.1"}},
			{Version: "6.0", Requires: []string{"Cython>=3"}}, {Version: "6.0.2", Requires: []string{"Cython>=9"}}},
			Conflicts: []string{
				"6.0: its sdist wants cython>=3, the override adds cython<3 (bullseye, bookworm, trixie)"}},
		{Name: "pyzbar", Releases: []recorded.Release{{Version: "0.1"}}},
		{Name: "scipy", Releases: []recorded.Release{{Version: "1.16", Requires: []string{"numpy==2.3rc1"}}, {Version: "1.17", Requires: []string{"numpy>=2.5"}}, {Version: "1.18", Requires: []string{"numpy>=2.5"}, Held: all[:1]}},
			Conflicts: []string{"1.17: its sdist wants numpy>=2.5, the override of numpy sets numpy<2.5 (bullseye)"}},
		{Name: "uwsgi", Conflicts: []string{"the index has no release of it that builds could take"}},
		{Name: "wrapt", Releases: []recorded.Release{{Version: "1.1"}, {Version: "1.2"}, {Version: "1.3"}, {Version: "1.4"}, {Version: "1.10"}}},
	}
	got := recordedIn[recorded.Fit](t, trials, recorded.ReleasesFile)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(recorded.Fit{}, "When"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	for _, f := range got {
		if f.When != "2026-05-04" {
			t.Errorf("%s was recorded on %q", f.Name, f.When)
		}
	}

	// What is recorded is not asked for again, unless that is wanted.
	server.Close()
	if err := trials.Releases(t.Context(), names); err != nil {
		t.Errorf("a second run: %v", err)
	}
	trials.Again = true
	if err := trials.Releases(t.Context(), names); err == nil {
		t.Error("a second run, which compares again, does not ask the index")
	}
}

func TestReleasesStops(t *testing.T) {
	t.Parallel()
	pages := pagesOf(t, []published{{file: "blosc-1.0.tar.gz", requires: []string{"x"}}, {file: "wrapt-1.0.tar.gz", requires: []string{"x"}}})
	pages["/files/wrapt-1.0.tar.gz"] = "no archive"
	trials, _ := faked(t, "FAKE_INDEX="+indextest.Serve(t, pages).URL)
	err := trials.Releases(t.Context(), []string{"blosc", "wrapt"})
	if err == nil || !strings.Contains(err.Error(), "wrapt-1.0.tar.gz") {
		t.Errorf("an sdist that is none: %v", err)
	}
	if got := recordedIn[recorded.Fit](t, trials, recorded.ReleasesFile); len(got) != 1 || got[0].Name != "blosc" || len(got[0].Conflicts) > 0 {
		t.Errorf("recorded %+v", got)
	}
}
