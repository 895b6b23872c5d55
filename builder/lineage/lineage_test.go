package lineage_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/lineage"
	"ampoule/recipes"
	"ampoule/store"
)

// metadata is that of a release, of a version of the format.
func metadata(format, name, version string, requires ...string) string {
	text := fmt.Sprintf("Metadata-Version: %s\nName: %s\nVersion: %s\n", format, name, version)
	for _, r := range requires {
		text += r + "\n"
	}
	return text
}

// wheelOf is a wheel that has metadata alone.
func wheelOf(t *testing.T, name, version, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name + "-" + version + ".dist-info/METADATA")
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sdistOf is an sdist that has metadata alone.
func sdistOf(t *testing.T, name, version, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	w := tar.NewWriter(gz)
	err := w.WriteHeader(&tar.Header{Name: name + "-" + version + "/PKG-INFO", Mode: 0o644, Size: int64(len(text)), Format: tar.FormatPAX})
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = gz.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// example is a store, and a lock of flask, whose releases say what they require in different
// ways.
func example(t *testing.T) (*store.Store, *recipes.Recipe, *recipes.RequirementSet, *recipes.Lock) {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	put := func(data []byte) string {
		sum, _, err := st.Put(t.Context(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	build := &recipes.BuildSet{Requires: []string{"setuptools>=61"}, Dists: []string{"setuptools==80.9.0", "wheel==0.45"}}
	lock := &recipes.Lock{Dists: []recipes.Dist{
		{Name: "click", Version: "8.1", File: "click-8.1.tar.gz", Build: build,
			SHA256: put(sdistOf(t, "click", "8.1", metadata("2.2", "click", "8.1", "Requires-Dist: colorama; sys_platform == 'win32'", "Requires-Dist: flask")))},
		{Name: "flask", Version: "3.0", File: "flask-3.0-py3-none-any.whl",
			SHA256: put(wheelOf(t, "flask", "3.0", metadata("2.1", "Flask", "3.0", "Requires-Dist: Click>=8", "Requires-Dist: jinja2", "Requires-Dist: six<2; extra == 'old'")))},
		{Name: "jinja2", Version: "3.1", File: "jinja2-3.1.tar.gz", Build: build,
			SHA256: put(sdistOf(t, "jinja2", "3.1", metadata("2.1", "jinja2", "3.1")))},
		{Name: "six", Version: "1.17", File: "six-1.17.tar.gz", Build: build,
			SHA256: put(sdistOf(t, "six", "1.17", metadata("2.4", "six", "1.17")))},
		{Name: "setuptools", Version: "80.9.0", File: "setuptools-80.9.0-py3-none-any.whl", SHA256: strings.Repeat("0", 64)},
		{Name: "stray", Version: "1", File: "stray-1-py3-none-any.whl", SHA256: strings.Repeat("1", 64)},
	}}
	for _, d := range lock.Dists {
		if d.Name != "setuptools" {
			lock.Requirements = append(lock.Requirements, d.ID())
		}
	}
	at := recipes.Position{File: "requirements.txt", Line: 1, Column: 1}
	reqs := &recipes.RequirementSet{Requirements: []recipes.Requirement{
		{Name: "flask", Spec: "flask[old]>=2", Position: at},
		{Name: "six", Spec: "six<1.18", Constraint: true},
	}}
	return st, &recipes.Recipe{Python: recipes.Python{Version: "3.13.5"}}, reqs, lock
}

// spelled is chains in one line each.
func spelled(chains []lineage.Chain) []string {
	var found []string
	for _, c := range chains {
		text := ""
		if !c.Whole {
			text = "… "
		}
		for _, e := range c.Edges {
			text += fmt.Sprintf("%s %s; ", e.From, e.Requires)
		}
		found = append(found, strings.TrimSuffix(text, "; "))
	}
	return found
}

func TestChains(t *testing.T) {
	t.Parallel()
	st, recipe, reqs, lock := example(t)
	g, err := lineage.Read(t.Context(), st, recipe, reqs, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"flask": {" flask[old]>=2"},
		"click": {" flask[old]>=2; flask==3.0 click>=8"},
		// An extra that is asked for counts, a marker that does not hold does not.
		"six":      {` flask[old]>=2; flask==3.0 six<2; extra == "old"`},
		"colorama": nil,
		"stray":    nil,
	} {
		if diff := cmp.Diff(want, spelled(g.Chains(name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Old metadata of an sdist says nothing of what is built, and the store has no file of stray.
	if diff := cmp.Diff([]string{"jinja2==3.1", "stray==1"}, g.Unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	g.Limit("an override", "six<1.17")
	for version, want := range map[string][]string{
		"1.16": nil, "1.17": {"six<1.17"}, "1.18": {"six<1.18", "six<1.17"}, "2.0": {`six<2; extra == "old"`, "six<1.18", "six<1.17"},
	} {
		var got []string
		for _, e := range g.Refusing("six", version) {
			got = append(got, e.Requires)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("six %s is refused by (-want +got):\n%s", version, diff)
		}
	}
}

// A wheel that was built says what its old sdist does not.
func TestBuiltWheelIsRead(t *testing.T) {
	t.Parallel()
	st, recipe, reqs, lock := example(t)
	sum, _, err := st.Put(t.Context(), bytes.NewReader(wheelOf(t, "jinja2", "3.1", metadata("2.1", "jinja2", "3.1", "Requires-Dist: stray"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Record("wheel", "sha256:"+strings.Repeat("2", 64), map[string]string{"File": "jinja2-3.1-py3-none-any.whl", "SHA256": sum}); err != nil {
		t.Fatal(err)
	}
	g, err := lineage.Read(t.Context(), st, recipe, reqs, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{" flask[old]>=2; flask==3.0 jinja2; jinja2==3.1 stray"}
	if diff := cmp.Diff(want, spelled(g.Chains("stray"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where nothing is known of what brings a requirer, the chain says so.
func TestChainIsNotWhole(t *testing.T) {
	t.Parallel()
	st, recipe, _, lock := example(t)
	g, err := lineage.Read(t.Context(), st, recipe, &recipes.RequirementSet{}, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"… flask==3.0 click>=8"}, spelled(g.Chains("click"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBuilds(t *testing.T) {
	t.Parallel()
	_, _, _, lock := example(t)
	want := []lineage.Build{
		{Of: "click==8.1", Requires: []string{"setuptools>=61"}},
		{Of: "jinja2==3.1", Requires: []string{"setuptools>=61"}},
		{Of: "six==1.17", Requires: []string{"setuptools>=61"}},
	}
	if diff := cmp.Diff(want, lineage.Builds(lock, "setuptools==80.9.0")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := lineage.Builds(lock, "wheel==0.45"); len(got) != 3 || len(got[0].Requires) != 0 {
		t.Errorf("builds %v", got)
	}
}
