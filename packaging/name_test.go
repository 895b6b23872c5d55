package packaging

import "testing"

func TestNormalName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"My.Pkg": "my-pkg", "a__b--c..d": "a-b-c-d", "x": "x"} {
		if got := NormalName(name); got != want {
			t.Errorf("NormalName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestRequiredName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Foo.Bar>=1": "foo-bar", " foo [x] ; y": "foo", "foo-": "foo", "": "", ">=1": "", "-r x": "",
	} {
		if got := RequiredName(text); got != want {
			t.Errorf("%q begins with %q, want %q", text, got, want)
		}
	}
}
