package packaging

import (
	"strings"
	"testing"
)

func TestRequirement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Foo_Bar [B, a,b] >= 1.0 , <2 ; python_version>='3.9' and (os.name == \"nt\")": `foo-bar[a,b]<2,>=1.0; python_version >= "3.9" and (os_name == "nt")`,
		"foo===abc":  "foo===abc",
		"foo (>=1,)": "foo>=1",
		"foo()":      "foo",
		"foo @ https://x.example/a;b.whl ; extra=='x'":  `foo @ https://x.example/a;b.whl ; extra == "x"`,
		"foo; python_implementation == 'CPython'":       `foo; platform_python_implementation == "CPython"`,
		`foo; 'a"b' == platform_version or os_name!=''`: `foo; 'a"b' == platform_version or os_name != ""`,
	} {
		r, err := ParseRequirement(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %q, %v, want %q", text, r.String(), err, want)
		}
	}
	for text, want := range map[string]string{
		"":                       "is no requirement",
		"foo 1.0":                "stands where",
		"foo>=1 || <0":           "stands where",
		"foo @":                  "ends where an address",
		"foo @ https://x y":      "stands where",
		"foo; os_name":           "ends where a comparison",
		"foo; 'x' == 'y'":        "compares",
		"foo; os_nam == 'x'":     "is no marker variable",
		"foo; os_name == 'a\\n'": "stands where",
		"foo; " + strings.Repeat("(", 300) + "os_name": "nested too deeply",
		strings.Repeat("x", maxRequirement+1):          "too long",
	} {
		if r, err := ParseRequirement(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %s, %v, want %q", text, r, err, want)
		}
	}
}

func TestApplies(t *testing.T) {
	t.Parallel()
	env := LinuxEnvironment("3.13.5", "x86_64")
	for _, c := range []struct {
		marker string
		extras []string
		want   bool
	}{
		{"python_version >= '3.9'", nil, true}, {"python_version < '3.10'", nil, false}, {"python_full_version == '3.13.*'", nil, true},
		{"sys_platform == 'win32' or platform_machine in 'x86_64 aarch64'", nil, true}, {"'linux' not in sys_platform", nil, false},
		{"extra == 'a_B'", []string{"x", "a-b"}, true}, {"extra == 'a'", nil, false}, {"extra != 'a'", []string{"a"}, false},
		{"platform_release >= '5'", nil, false}, {"sys_platform ~= 'linux'", nil, false}, {"sys_platform > 'a'", nil, false},
		{"python_version in '3.12, 3.13'", nil, true},
	} {
		r, err := ParseRequirement("foo; " + c.marker)
		if err != nil || r.Applies(env, c.extras) != c.want {
			t.Errorf("%s for %q: %t, %v", c.marker, c.extras, !c.want, err)
		}
	}
}

// Whatever is taken has one spelling, which is taken for the same.
func FuzzRequirement(f *testing.F) {
	for _, text := range []string{
		"foo", "foo[a,b]>=1,<2; python_version < '3' and (extra == 'x' or os_name == \"a\")", "foo @ https://x ; 'a' in sys_platform", "a(~=1.2rc1+x,)",
	} {
		f.Add(text)
	}
	env := LinuxEnvironment("3.13.5", "x86_64")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequirement(text)
		if err != nil {
			return
		}
		again, err := ParseRequirement(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is %q, which is %q, %v", text, r, again, err)
		}
		if r.Applies(env, nil) != again.Applies(env, nil) || r.Admits("1.0") != again.Admits("1.0") {
			t.Errorf("%q and %q do not mean the same", text, r)
		}
	})
}

// Markers of lock files take extras and groups for sets.
func TestLockMarker(t *testing.T) {
	t.Parallel()
	env := LinuxEnvironment("3.13.5", "x86_64")
	for _, c := range []struct {
		marker         string
		extras, groups []string
		want           bool
	}{
		{"'Prod_X' in extras", []string{"prod-x"}, nil, true},
		{"'prod' in extras", nil, []string{"prod"}, false},
		{"'prod' not in extras", nil, nil, true},
		{"'dev' in dependency_groups and python_version >= '3.13'", nil, []string{"dev"}, true},
		{"'dev' not in dependency_groups", nil, []string{"dev"}, false},
		{"extra == 'a' and extra == 'b'", []string{"a", "b"}, nil, true},
		{"extra == 'a' and extra != 'b'", []string{"a", "b"}, nil, false},
		{"extra != 'a'", []string{"b"}, nil, true},
		{"extra != 'a'", nil, nil, true},
		{"extra in 'a b'", []string{"b"}, nil, true},
		{"extra not in 'a b'", []string{"b"}, nil, false},
		{"sys_platform == 'win32' or 'b' == extra", []string{"b"}, nil, true},
	} {
		m, err := ParseLockMarker(c.marker)
		if err != nil || m.HoldsIn(env, c.extras, c.groups) != c.want {
			t.Errorf("%s for %q, %q: %t, %v", c.marker, c.extras, c.groups, !c.want, err)
		}
	}
	for _, text := range []string{"", "extras == 'a'", "extras in 'a'", "'a' in extra s", "os_name == 'a'; extra == 'b'", strings.Repeat("x", maxRequirement+1)} {
		if m, err := ParseLockMarker(text); err == nil {
			t.Errorf("%.40q is %s", text, m)
		}
	}
	if _, err := ParseRequirement("a; 'b' in extras"); err == nil {
		t.Error("a requirement asks for the set of extras")
	}
}
