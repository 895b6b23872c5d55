package builder

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
)

func TestFetchInputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := "registry.invalid/base@" + digest
	w.reqs.Patches = map[string][]byte{"own.patch": []byte("own")}
	w.lock.Dists[0].Build.Patches = []recipes.Patch{{File: "own.patch", SHA256: w.put("own")}}
	got, err := w.builder().FetchInputs(t.Context(), w.request())
	if err != nil {
		t.Fatal(err)
	}
	want := Inputs{Name: "web", Key: got.Key, Files: []Input{
		{Source: "cpython", Name: "cpython", Version: "3.13.5", File: "Python-3.13.5.tar.xz", SHA256: w.put("source"), Size: 6},
		{Source: "image", Name: image, File: "layer-0", SHA256: w.put(basePart), Size: 7},
		{Source: "patch", Name: "demo", Version: "1.0", File: "own.patch", SHA256: w.put("own"), Size: 3},
		{Source: "pypi", Name: "demo", Version: "1.0", File: "demo-1.0.tar.gz", SHA256: w.put("sdist"), Size: 5},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var recorded Inputs
	if ok, err := w.st.Lookup(InputsKind, got.Key, &recorded); !ok || err != nil || cmp.Diff(want, recorded) != "" {
		t.Errorf("recorded: %t, %v, %+v", ok, err, recorded)
	}
	if w.opened != 0 {
		t.Error("a sandbox was opened")
	}
}
