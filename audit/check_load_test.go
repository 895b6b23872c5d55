package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// loadSubject has an interpreter's module and a distribution with a package, a
// module in it, and one whose directory import cannot name; another requires it.
func loadSubject(t *testing.T) Subject {
	t.Helper()
	s := subject(t, append(installed("pkg",
		tree.FileEntry(site+"pkg/__init__.py", 0o644, nil),
		tree.FileEntry(site+"side.py", 0o644, nil),
		fromFile(t, site+"pkg/sub/_fast"+suffix, extension(t, "_fast")),
		fromFile(t, site+"_top.abi3.so", extension(t, "_top")),
		fromFile(t, site+"pkg/not-a-name/_fast.so", extension(t, "_fast"))),
		fromFile(t, dynload+"_json"+suffix, extension(t, "_json")))...)
	var err error
	s.Tree, err = s.Tree.With(installed("user",
		tree.FileEntry(site+"user/__init__.py", 0o644, nil),
		tree.FileEntry(site+"user-1.0.dist-info/METADATA", 0o644, []byte("Name: user\nVersion: 1.0\nRequires-Dist: PKG[x] (>=1) ; extra == 'c'\nRequires-Dist: user[c]\n")),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	s.Targets = s.Targets[:1]
	s.Loads = loadReports(t, s)
	return s
}

func TestLoadable(t *testing.T) {
	t.Parallel()
	got, err := Loadable(loadSubject(t).Tree, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Module{
		{File: dynload + "_json" + suffix, Name: "_json"},
		{File: site + "_top.abi3.so", Name: "_top", Packages: []string{"pkg", "side"}, Behind: []string{"user"}},
		{File: site + "pkg/not-a-name/_fast.so", Packages: []string{"_top", "pkg", "side"}, Behind: []string{"user"}},
		{File: site + "pkg/sub/_fast" + suffix, Name: "pkg.sub._fast", Packages: []string{"_top", "pkg", "side"}, Behind: []string{"user"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	fast, odd := site+"pkg/sub/_fast"+suffix, site+"pkg/not-a-name/_fast.so"
	top, json := site+"_top.abi3.so", dynload+"_json"+suffix
	change := func(file string, to func(*LoadReport)) func(*Subject) {
		return func(s *Subject) {
			i := slices.IndexFunc(s.Loads, func(r LoadReport) bool { return r.File == file })
			to(&s.Loads[i])
		}
	}
	fails := func(r *LoadReport) { r.OK, r.Error, r.Runtimes = false, "ImportError: circular", 0 }
	ends := func(r *LoadReport) { fails(r); r.Ended = true }
	add := func(kind, module, file string, ok bool) func(*Subject) {
		return func(s *Subject) {
			s.Loads = append(s.Loads, LoadReport{Target: "container", Kind: kind, Module: module, File: file, OK: ok, Runtimes: 1})
		}
	}
	behind := func(file string, ok bool) func(*Subject) {
		return func(s *Subject) {
			add(KindImport, "pkg.sub._fast", file, ok)(s)
			s.Loads[len(s.Loads)-1].Behind = []string{"user"}
		}
	}
	tests := []struct {
		name    string
		changes []func(*Subject)
		want    []string
	}{
		{"all loaded", nil, nil},
		{"no report", []func(*Subject){func(s *Subject) { s.Loads = s.Loads[1:] }}, []string{"refuse load " + json + ": import _json"}},
		{"report of another target", []func(*Subject){change(json, func(r *LoadReport) { r.Target = "vm" })}, []string{"refuse load " + json + ": import _json"}},
		{"fails", []func(*Subject){change(fast, fails)}, []string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"fails, file loads", []func(*Subject){change(fast, fails), add(KindDlopen, "", fast, true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"fails, package works", []func(*Subject){change(fast, fails), add(KindImport, "pkg", "", true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"fails, another package works", []func(*Subject){change(fast, fails), add(KindDlopen, "", fast, true), add(KindImport, "side", "", true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"fails for a Python reason", []func(*Subject){change(fast, fails), add(KindDlopen, "", fast, true), add(KindImport, "pkg", "", true)},
			[]string{"warn load " + fast + ": import pkg.sub._fast"}},
		{"fails, passes behind what requires it", []func(*Subject){change(fast, fails), behind(fast, true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"ends the process, passes behind what requires it", []func(*Subject){change(fast, ends), behind(fast, true), add(KindDlopen, "", fast, true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"ends the process, package works", []func(*Subject){change(fast, ends), add(KindDlopen, "", fast, true), add(KindImport, "pkg", "", true)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"fails, passes behind what requires it, file loads", []func(*Subject){change(fast, fails), behind(fast, true), add(KindDlopen, "", fast, true)},
			[]string{"warn load " + fast + ": import pkg.sub._fast"}},
		{"fails, also behind what requires it", []func(*Subject){change(fast, fails), behind(fast, false)},
			[]string{"refuse load " + fast + ": import pkg.sub._fast"}},
		{"top-level module fails, one sibling does not work", []func(*Subject){change(top, fails), add(KindDlopen, "", top, true), add(KindImport, "pkg", "", true), add(KindImport, "side", "", false)},
			[]string{"refuse load " + top + ": import _top"}},
		{"top-level module fails, its siblings work", []func(*Subject){change(top, fails), add(KindDlopen, "", top, true), add(KindImport, "pkg", "", true), add(KindImport, "side", "", true)},
			[]string{"warn load " + top + ": import _top"}},
		{"the interpreter's own fails, file loads", []func(*Subject){change(json, fails), add(KindDlopen, "", json, true)},
			[]string{"refuse load " + json + ": import _json"}},
		{"without a name, dlopen fails", []func(*Subject){change(odd, fails)}, []string{"refuse load " + odd + ": dlopen "}},
		{"two runtimes", []func(*Subject){change(fast, func(r *LoadReport) { r.Runtimes = 2 })}, []string{"refuse load " + fast + ": /proc/self/maps 2"}},
		{"no runtime", []func(*Subject){change(fast, func(r *LoadReport) { r.Runtimes = 0 })}, []string{"refuse load " + fast + ": /proc/self/maps 0"}},
		{"stray file", []func(*Subject){change(fast, func(r *LoadReport) { r.Maps = []string{"/usr/lib/libz.so.1"} })},
			[]string{"refuse load " + fast + ": /proc/self/maps /usr/lib/libz.so.1"}},
		{"the host's file", []func(*Subject){
			change(fast, func(r *LoadReport) { r.Maps = []string{"/usr/lib/libcuda.so.1"} }),
			func(s *Subject) { s.Targets[0].Host = []string{"libcuda.so.1"} },
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := loadSubject(t)
			for _, c := range tt.changes {
				c(&s)
			}
			v := judge(t, s)
			expect(t, v, tt.want...)
			for _, f := range v.Findings {
				if f.Field != "/proc/self/maps" && strings.Contains(f.Cause, "circular") != (strings.Contains(tt.name, "fails") || strings.Contains(tt.name, "ends")) {
					t.Errorf("cause: %s", f.Cause)
				}
			}
		})
	}
}

func TestRecipeTests(t *testing.T) {
	t.Parallel()
	wanted := []Test{{KindImport, []string{"flask"}}, {KindCommand, []string{"python3", "-V"}}}
	passed := func() []TestReport {
		var list []TestReport
		for _, target := range []string{"container", "vm"} {
			for _, w := range wanted {
				list = append(list, TestReport{Target: target, Kind: w.Kind, Args: w.Args})
			}
		}
		return list
	}
	for name, tt := range map[string]struct {
		change func([]TestReport) []TestReport
		want   []string
	}{
		"passed":  {func(r []TestReport) []TestReport { return r }, nil},
		"not run": {func(r []TestReport) []TestReport { return r[:3] }, []string{"refuse recipe-tests : command python3 -V"}},
		"failed":  {func(r []TestReport) []TestReport { r[0].Code = 139; return r }, []string{"refuse recipe-tests : import flask"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t)
			s.Tests, s.Reports = wanted, tt.change(passed())
			expect(t, judge(t, s), tt.want...)
		})
	}
}
