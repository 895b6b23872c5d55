package wheel

import (
	"errors"
	"strings"
	"testing"
)

func TestRequirementApplies(t *testing.T) {
	t.Parallel()
	env := LinuxEnvironment("3.13.5", "x86_64")
	for text, want := range map[string]bool{
		"a":                         true,
		"a>=1 ; python_version<'4'": true,
		"a; python_version < '3.9'": false,
		"a; python_version >= '3.9' and python_version < '3.14'":                           true,
		"a; python_version == '3.13.*'":                                                    true,
		"a; '3.9' <= python_version":                                                       true,
		"a; python_full_version < '3.13.6'":                                                true,
		"a; python_full_version <= '3.13.0'":                                               false,
		"a; sys_platform == 'win32' or os_name == 'posix'":                                 true,
		"a; (sys_platform == 'win32' or os_name == 'posix') and platform_system=='Darwin'": false,
		"a; sys_platform == 'win32' or os_name == 'posix' and platform_system=='Darwin'":   false,
		"a; platform_machine in 'x86_64 AMD64'":                                            true,
		"a; platform_machine not in 'x86_64 AMD64'":                                        false,
		"a; platform_python_implementation != \"PyPy\"":                                    true,
		"a; extra == 'test'":                                                               false,
		"a; extra == 'Some_Extra'":                                                         true,
		"a; python_implementation == 'CPython'":                                            true,
		"a; os.name=='nt'":                                                                 false,
		"a@ https://example.org/a.tar.gz?x=1;2 ; extra == 'some.extra'":                    true,
		"a[b, c_d]>=1,!=2,<3;implementation_name=='cpython'":                               true,
		"a (>=1,<2)": true,
		"greenlet!=0.4.17; (python_version >= \"3\" and platform_machine == \"x86_64\")": true,
		"greenlet; platform_machine == \"aarch64\" or (platform_machine == \"ppc64le\")": false,
		"a; python_version in '3.12 3.13'":                                               true,
		"a; python_version not in \"3.0, 3.1, 3.2\"":                                     true,
	} {
		r, err := ParseRequirement(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := r.Applies(env, []string{"some-extra"}); got != want {
			t.Errorf("%s: applies is %t", text, got)
		}
	}
}

func TestRequirementAdmits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, version string
		want          bool
	}{
		{"a", "1", true}, {"a>=1,<3", "2.5", true}, {"a>=1,<3", "3", false}, {"a (>=1)", "0.9", false},
		{"a>=1", "2.0rc1", true}, {"a==1.*", "1.4.post1", true}, {"a~=1.4", "2.0", false}, {"a==1.0", "1.0+local", true},
		{"a @ https://example.org/a.whl", "7", true}, {"a>=1", "not a version", false},
		{"a<2", "2.0.dev1", false}, {"a<2.0rc2", "2.0rc1", true}, {"a<2", "1.9rc1", true}, {"a<=2", "2.0rc1", true},
	} {
		r, err := ParseRequirement(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Admits(tt.version); got != tt.want {
			t.Errorf("%s admits %s: %t", tt.text, tt.version, got)
		}
	}
}

func TestParseRequirement(t *testing.T) {
	t.Parallel()
	r, err := ParseRequirement("  Some.Name [ B_c , d]  >=1, <2 ; extra == 'x'")
	if err != nil || r.Name != "Some.Name" || strings.Join(r.Extras, " ") != "b-c d" || r.Versions != ">=1, <2" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, text := range []string{
		"", ";", "[x]", "a[b", "a[!]", "a>=", "a (>=1", "a @ ", "a b", "a; ", "a; x == 'y'", "a; 'x' == 'y'", "a; os_name == sys_platform",
		"a; os_name 'nt'", "a; os_name == 'nt", "a; (os_name == 'nt'", "a; os_name == 'nt' and", "a; os_name == 'nt' os_name", "a; os_name not 'nt'",
		"a; " + strings.Repeat("(", 100) + "os_name == 'nt'" + strings.Repeat(")", 100),
		"a; os_name == '" + strings.Repeat("x", maxRequirement) + "'",
	} {
		if _, err := ParseRequirement(text); !errors.Is(err, ErrRequirement) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func FuzzParseRequirement(f *testing.F) {
	for _, text := range []string{"a[b]>=1,<2; python_version < '3' and (extra == 'x' or os_name in 'nt')", "a @ file:///x ; extra == 'x'", "a (==1.*)"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequirement(text)
		if err != nil {
			return
		}
		if r.Name == "" || len(r.Name) > len(text) {
			t.Errorf("%q: name %q", text, r.Name)
		}
		r.Applies(LinuxEnvironment("3.13.5", "x86_64"), r.Extras)
		r.Admits("1.0")
	})
}
