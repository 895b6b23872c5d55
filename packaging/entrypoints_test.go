package packaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEntryPoints(t *testing.T) {
	t.Parallel()
	const text = "# comment\n[console_scripts]\na = pkg.mod:main [x]\r\n; comment\nb=pkg:C.run\nc\n\n[other.group]\nd = pkg\n"
	want := []EntryPoint{
		{"console_scripts", "a", "pkg.mod:main [x]", "a = pkg.mod:main [x]", true}, {"console_scripts", "b", "pkg:C.run", "b=pkg:C.run", true},
		{"console_scripts", "c", "", "c", false}, {"other.group", "d", "pkg", "d = pkg", true},
	}
	got := slices.Collect(EntryPoints([]byte(text)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var objects []string
	for _, e := range got {
		module, attribute, ok := e.Object()
		if ok != (module != "") {
			t.Errorf("%+v leads to %q", e, module)
		}
		if ok && e.IsScript() {
			objects = append(objects, module+" "+attribute)
		}
	}
	if diff := cmp.Diff([]string{"pkg.mod main", "pkg C.run"}, objects); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for range EntryPoints([]byte(text)) {
		break
	}
}

func FuzzEntryPoints(f *testing.F) {
	f.Add([]byte("[console_scripts]\na = b:c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for e := range EntryPoints(data) {
			module, attribute, ok := e.Object()
			if e.Line == "" || ok && (module == "" || attribute == "" || strings.ContainsAny(module+attribute, " :\n")) {
				t.Errorf("%+v: %q %q", e, module, attribute)
			}
		}
	})
}
