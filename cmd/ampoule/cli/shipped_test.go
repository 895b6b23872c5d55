package cli

import (
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/builder/cpython"
	"ampoule/recipes"
	"ampoule/recipes/catalogue"
	shipped "ampoule/recipes/profiles"
	"ampoule/store"
)

// Each recipe of the catalogue names a training profile. It ships, and fits what the recipe's lock has: CPython's source,
// the flags, the modules that are linked in and the compiler's packages.
func TestCatalogueProfiles(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range catalogue.Names() {
		dir := "../../../recipes/catalogue/" + name + "/"
		r, err := recipes.ReadRecipe(dir + "ampoule.yaml")
		if err != nil {
			t.Fatal(err)
		}
		lock, err := recipes.ReadLock(dir + "ampoule.lock")
		if err != nil {
			t.Fatal(err)
		}
		sum, ok := strings.CutPrefix(r.Python.Profile, "sha256:")
		if !ok {
			t.Errorf("%s names no profile", name)
			continue
		}
		content, err := shipped.Shipped{}.Open(t.Context(), sum)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, _, err := st.Put(t.Context(), content); err != nil {
			t.Fatal(err)
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
		spec := cpython.Spec{
			Version: lock.Python.Version, Source: lock.Python.SHA256, Configure: r.Python.Configure, Knows: cpython.Flags(lock.Python),
			NoPIE: r.Python.Executable == recipes.NoPIE, Compiler: r.Python.Compiler, CPU: r.Python.CPU, Env: r.Python.Env, Builtin: r.Python.Builtin,
			Profile: sum, Compilers: cpython.Compilers(r.Python, lock), Prefix: artifact.Prefix,
		}
		if err := (&cpython.Stage{Store: st}).CheckProfile(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
