package cli

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
)

// whySession is a session whose lock has idna, and what it requires in the store.
func whySession(t *testing.T) (*Session, *bytes.Buffer, *store.Store) {
	t.Helper()
	s, out, _ := session(t, goodRecipe)
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("idna-3.10.dist-info/METADATA")
	if err == nil {
		_, err = w.Write([]byte("Metadata-Version: 2.1\nName: idna\nVersion: 3.10\nRequires-Dist: six>=1\n"))
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	sum, _, err := st.Put(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	lock := lockOf(t, s.Recipe, "3.10", sum)
	build := &recipes.BuildSet{Requires: []string{"setuptools>=61"}, Dists: []string{"setuptools==80.9.0", "wheel==0.45.1"}}
	lock.Dists = append(
		lock.Dists,
		recipes.Dist{Name: "setuptools", Version: "80.9.0", File: "setuptools-80.9.0-py3-none-any.whl", SHA256: sumB},
		recipes.Dist{Name: "six", Version: "1.17.0", File: "six-1.17.0.tar.gz", SHA256: sumA, Build: build},
		recipes.Dist{Name: "wheel", Version: "0.45.1", File: "wheel-0.45.1-py3-none-any.whl", SHA256: sumB},
	)
	lock.Requirements = append(lock.Requirements, "six==1.17.0")
	if err := os.WriteFile(lockPath(s.Recipe), lock.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	return s, out, st
}

func TestWhy(t *testing.T) {
	t.Parallel()
	s, out, st := whySession(t)
	unknown := "not known is what these require (fetch or build, and ask again): six==1.17.0\n"
	for name, want := range map[string]string{
		"Six":        "six==1.17.0 is in the tree\n  " + s.Recipe + ":7:16: idna==3.10 → idna==3.10: six>=1\n" + unknown,
		"idna":       "idna==3.10 is in the tree\n  " + s.Recipe + ":7:16: idna==3.10\n" + unknown,
		"setuptools": "setuptools==80.9.0 is taken by builds\n  build of six==1.17.0: setuptools>=61\n",
		"wheel":      "wheel==0.45.1 is taken by builds\n  build of six==1.17.0: another build requirement brings it\n",
		"libc6":      "libc6 2.36-9 is a Debian package of bookworm that is taken by\n  the base\n  the target container\n",
	} {
		out.Reset()
		if err := Why(t.Context(), s, st, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhyOfUnknownName(t *testing.T) {
	t.Parallel()
	s, _, st := whySession(t)
	for name, near := range map[string]string{"setuptool": "setuptools", "libc-6": "libc6"} {
		err := Why(t.Context(), s, st, name)
		if faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), "\n"), `did you mean "`+near+`"?`) {
			t.Errorf("error %v, hints %q", err, faults.Hints(err))
		}
	}
}
