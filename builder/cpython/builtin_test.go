package cpython

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/faults"
)

// rulesOf313 are lines of CPython 3.13's rules.
const rulesOf313 = `# a comment
*@MODULE_BUILDTYPE@*

@MODULE_ARRAY_TRUE@array arraymodule.c
@MODULE__JSON_TRUE@_json _json.c
@MODULE__SHA2_TRUE@_sha2 sha2module.c -I$(srcdir)/Modules/_hacl/include Modules/_hacl/libHacl_Hash_SHA2.a
@MODULE__CTYPES_TRUE@_ctypes _ctypes/_ctypes.c _ctypes/cfield.c @MODULE__CTYPES_MALLOC_CLOSURE@

*shared*
@MODULE__CTYPES_TEST_TRUE@_ctypes_test _ctypes/_ctypes_test.c
`

func TestRulesFor(t *testing.T) {
	t.Parallel()
	got, err := rulesFor("3.13.5", rulesOf313, []string{"array", "_sha2"})
	want := "*static*\n_sha2 sha2module.c -I$(srcdir)/Modules/_hacl/include Modules/_hacl/libHacl_Hash_SHA2.a\narray arraymodule.c\n"
	if err != nil || got != want {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	for what, modules := range map[string][]string{
		"a module of tests":          {"_ctypes_test"},
		"one that configure changes": {"_ctypes"},
		"the head of a name":         {"arr"},
		"another's source":           {"arraymodule"},
	} {
		if _, err := rulesFor("3.13.5", rulesOf313, modules); faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "CPython 3.13.5 has no extension module "+modules[0]) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestBuiltin: what is linked in is decided before configure runs, and is part of the key.
func TestBuiltin(t *testing.T) {
	t.Parallel()
	wrote := false
	s := newScene(t, func(ctx context.Context, box *fake.Sandbox, step sandbox.Step) error {
		switch step.Args[0] {
		case "cat":
			fmt.Fprint(step.Stdout, rulesOf313)
		case "./configure":
			local, ok := box.Files().Lookup(strings.TrimPrefix(source, "/") + "/" + setupLocal)
			if ok {
				text, err := local.ReadAll()
				wrote = err == nil && string(text) == "*static*\n_json _json.c\narray arraymodule.c\n"
			}
		}
		return compiler(ctx, box, step)
	})
	without := Key(s.spec)
	s.spec.Builtin = []string{"array", "_json"}
	if _, err := s.build(t); err != nil || !wrote {
		t.Errorf("it was linked in: %v, %v", wrote, err)
	}
	one := Key(s.spec)
	s.spec.Builtin = []string{"_json", "array"}
	if one == without || Key(s.spec) != one {
		t.Error("the key does not follow what is linked in")
	}
	s.spec.Builtin = []string{"nothing"}
	if _, err := s.build(t); faults.Of(err) != faults.Input {
		t.Errorf("a module that CPython has not: %v", err)
	}
}
