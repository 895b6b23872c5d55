package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// ownSubject has distributions with packages, modules, portions of a namespace, and what no
// program imports.
func ownSubject(t *testing.T) Subject {
	t.Helper()
	s := subject(t, installed("pkg",
		tree.FileEntry(site+"pkg/__init__.py", 0o644, nil), tree.FileEntry(site+"pkg/deep/__init__.py", 0o644, nil), tree.FileEntry(site+"side.py", 0o644, nil),
		tree.FileEntry(site+"_hidden.py", 0o644, nil), tree.FileEntry(site+"tests/__init__.py", 0o644, nil), tree.FileEntry(site+"setup.py", 0o644, nil),
		tree.FileEntry(site+"not-a-name.py", 0o644, nil), tree.FileEntry(site+"data/file.txt", 0o644, nil), fromFile(t, site+"fast"+suffix, extension(t, "fast")),
		tree.FileEntry(site+"space/one/__init__.py", 0o644, nil), tree.FileEntry(site+"space/tests/__init__.py", 0o644, nil), tree.FileEntry(site+"space/module.py", 0o644, nil),
		tree.FileEntry(site+"pkg-1.0.dist-info/METADATA", 0o644, []byte("Name: pkg\nVersion: 1.0\nRequires-Dist: python-dotenv ; extra == 'env'\nRequires-Dist: always ; python_version < '3'\n")),
	)...)
	var err error
	s.Tree, err = s.Tree.With(installed("user", tree.FileEntry(site+"user.py", 0o644, nil), tree.FileEntry(site+"space/two/__init__.py", 0o644, nil),
		tree.FileEntry(site+"user-1.0.dist-info/METADATA", 0o644, []byte("Name: user\nVersion: 1.0\nRequires-Dist: pkg\n")))...)
	if err != nil {
		t.Fatal(err)
	}
	s.Targets = s.Targets[:1]
	s.Loads = loadReports(t, s)
	return s
}

func TestTopLevels(t *testing.T) {
	t.Parallel()
	got, err := TopLevels(ownSubject(t).Tree, "")
	if err != nil {
		t.Fatal(err)
	}
	behind := []string{"user"}
	want := []TopLevel{
		{Dist: "pkg", Name: "pkg", File: site + "pkg/__init__.py", Behind: behind},
		{Dist: "pkg", Name: "side", File: site + "side.py", Behind: behind},
		{Dist: "pkg", Name: "space.one", File: site + "space/one/__init__.py", Behind: behind},
		{Dist: "user", Name: "space.two", File: site + "space/two/__init__.py"},
		{Dist: "user", Name: "user", File: site + "user.py"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var many []tree.Entry
	for i := range maxTopLevels + 9 {
		many = append(many, tree.FileEntry(fmt.Sprintf("%sm%02d.py", site, i), 0o644, nil))
	}
	if got, err := TopLevels(subject(t, installed("many", many...)...).Tree, ""); err != nil || len(got) != maxTopLevels {
		t.Errorf("%d of many modules are imported, %v", len(got), err)
	}
}

// A distribution that cannot be imported is a warning that says what is missing.
func TestOwnImports(t *testing.T) {
	t.Parallel()
	fails := func(message string) func(*LoadReport) {
		return func(r *LoadReport) { r.OK, r.Error, r.Runtimes = false, message, 0 }
	}
	for name, c := range map[string]struct {
		change func(*LoadReport)
		// cause and remedy are parts of the finding; empty when there is none.
		cause, remedy string
	}{
		"passes":                {change: func(*LoadReport) {}},
		"a module":              {fails("ModuleNotFoundError: No module named 'magic.compat'"), "No module named 'magic.compat'", "module magic.compat is missing"},
		"an extra's module":     {fails("ModuleNotFoundError: No module named 'dotenv'"), "'dotenv'", "optional dependency, python-dotenv. Nothing, if no program imports it. Else require pkg[env]"},
		"a required one":        {fails("ModuleNotFoundError: No module named 'always'"), "'always'", "module always is missing"},
		"a library":             {fails("OSError: libmagic.so.1: cannot open shared object file: No such file or directory"), "libmagic.so.1", "libraries: [libmagic1]"},
		"a library of cffi's":   {fails(`OSError: cannot load library 'libodd-7': libodd-7: cannot open`), "libodd-7", "The library libodd-7 is missing. Nothing, if no program imports it. Else add the Debian package"},
		"several lines":         {fails("ImportError: no pq wrapper available.\nAttempts made:\n- couldn't import 'c': No module named 'c'\n- libpq library not found"), "no pq wrapper available. … - libpq library not found", "libraries: [libpq5]"},
		"ends its process":      {func(r *LoadReport) { fails("the process ended by exit code 0")(r); r.Ended = true }, "exit code 0", "ends its process"},
		"another reason":        {fails("RuntimeError: \x1b[2Jno"), `RuntimeError: \u001b[2Jno`, "find out why"},
		"two runtimes":          {func(r *LoadReport) { r.Runtimes = 2 }, "2 Python runtimes", "another libpython"},
		"of another target":     {func(r *LoadReport) { r.Target = "vm" }, "no report", "Run the gate again"},
		"of an extension's own": {func(r *LoadReport) { r.Own = false }, "no report", "Run the gate again"},
	} {
		s := ownSubject(t)
		i := slices.IndexFunc(s.Loads, func(r LoadReport) bool { return r.Module == "pkg" })
		c.change(&s.Loads[i])
		v := judge(t, s)
		found := slices.DeleteFunc(slices.Clone(v.Findings), func(f Finding) bool { return f.Check != "load" })
		if c.cause == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Severity != Warn || found[0].File != site+"pkg/__init__.py" || !v.Passed {
			t.Errorf("%s: %+v, passed %t", name, found, v.Passed)
			continue
		}
		if f := found[0]; !strings.Contains(f.Cause, c.cause) || !strings.Contains(f.Remedy, c.remedy) {
			t.Errorf("%s: %s %s", name, f.Cause, f.Remedy)
		}
	}
	// What is meant to be imported behind another one, and passes there, is no fault.
	s := ownSubject(t)
	i := slices.IndexFunc(s.Loads, func(r LoadReport) bool { return r.Module == "pkg" })
	behind := s.Loads[i]
	behind.Behind = []string{"user"}
	fails("ImportError: user should be imported before")(&s.Loads[i])
	s.Loads = append(s.Loads, behind)
	v := judge(t, s)
	if found := slices.DeleteFunc(v.Findings, func(f Finding) bool { return f.Check != "load" }); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
