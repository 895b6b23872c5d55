package builder

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/recipes"
)

// The gate is told what was compiled with another version than the tree has, and of no
// tool that only builds.
func TestCompiledWith(t *testing.T) {
	t.Parallel()
	built := func(name string, with ...string) recipes.Dist {
		return recipes.Dist{Name: name, Version: "1", Build: &recipes.BuildSet{Dists: with}}
	}
	l := &recipes.Lock{
		Requirements: []string{"numpy==1", "other==1", "pandas==1", "pure==1"},
		Dists: []recipes.Dist{
			built("numpy", "cython==3"), built("other", "numpy==1"), built("pandas", "cython==3", "numpy==2"),
			{Name: "pure", Version: "1"}, built("tool", "numpy==2"),
		},
	}
	want := map[string][]audit.Locked{"pandas": {{Name: "numpy", Version: "2"}}}
	if diff := cmp.Diff(want, compiledWith(l)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
