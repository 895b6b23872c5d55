package lint

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// suffix is that of a module for CPython 3.13; interpreters of musl look for another one.
const suffix = ".cpython-313-x86_64-linux-gnu.so"

// TestPlatform holds the policies against modules that are compiled here, on x86-64.
func TestPlatform(t *testing.T) {
	t.Parallel()
	libc := library(t, "libc.so.6", "f225@GLIBC_2.2.5", "f217@GLIBC_2.17", "f228@GLIBC_2.28", "f234@GLIBC_2.34", "fpriv@GLIBC_PRIVATE", "__cxa_thread_atexit_impl@GLIBC_2.18")
	for _, test := range []struct {
		name  string
		tags  string
		files func(t *testing.T) map[string]string
		want  string
		// limits are KIND NAME of what admits nothing better.
		limits []string
		rules  []string
	}{
		{
			name: "old", tags: "manylinux1_x86_64", want: "manylinux_2_5_x86_64",
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f225"}, libc)) },
		},
		{
			name: "as tagged", tags: "manylinux_2_17_x86_64", want: "manylinux_2_17_x86_64", limits: []string{"symbol version GLIBC_2.17"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"f225", "f217"}, libc))
			},
		},
		{
			name: "newer than tagged", tags: "manylinux2014_x86_64", want: "manylinux_2_28_x86_64", limits: []string{"symbol version GLIBC_2.28"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"f217", "f228"}, libc))
			},
		},
		{
			name: "newer than one of its tags", tags: "manylinux_2_17_x86_64.manylinux_2_34_x86_64", want: "manylinux_2_28_x86_64", limits: []string{"symbol version GLIBC_2.28"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f228"}, libc)) },
		},
		{
			name: "older than tagged", tags: "manylinux_2_34_x86_64", want: "manylinux_2_28_x86_64", limits: []string{"symbol version GLIBC_2.28"}, rules: []string{"platform-older"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f228"}, libc)) },
		},
		{
			name: "between two policies", tags: "manylinux_2_33_x86_64", want: "manylinux_2_34_x86_64", limits: []string{"symbol version GLIBC_2.34"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f234"}, libc)) },
		},
		{
			name: "not tagged", tags: "linux_x86_64", want: "manylinux_2_17_x86_64", limits: []string{"symbol version GLIBC_2.17"}, rules: []string{"platform-older"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f217"}, libc)) },
		},
		{
			name: "a private version", tags: "linux_x86_64", want: "linux_x86_64", limits: []string{"symbol version GLIBC_PRIVATE"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"fpriv"}, libc)) },
		},
		{
			name: "a symbol that came later than its version says", tags: "manylinux_2_17_x86_64", want: "manylinux_2_24_x86_64",
			limits: []string{"symbol __cxa_thread_atexit_impl", "symbol version GLIBC_2.18"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"__cxa_thread_atexit_impl"}, libc))
			},
		},
		{
			name: "a library of the system", tags: "manylinux_2_17_x86_64", want: "linux_x86_64", limits: []string{"library libgomp.so.1"}, rules: []string{"platform-libraries"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"g", "f225"}, library(t, "libgomp.so.1", "g"), libc))
			},
		},
		{
			name: "a library that it carries", tags: "manylinux_2_17_x86_64", want: "manylinux_2_17_x86_64", limits: []string{"symbol version GLIBC_2.17"},
			files: func(t *testing.T) map[string]string {
				lib := library(t, "libgomp-1234.so.1", "g@GCC_99.0.0")
				return map[string]string{
					"spam/eggs" + suffix:          module(t, "eggs", []string{"g", "f217"}, lib, libc, "-Wl,-rpath,$ORIGIN/../spam.libs"),
					"spam.libs/libgomp-1234.so.1": read(t, lib), "spam/__init__.py": "",
				}
			},
		},
		{
			name: "a carried library needs another one", tags: "manylinux_2_17_x86_64", want: "manylinux_2_5_x86_64", rules: []string{"platform-older"},
			files: func(t *testing.T) map[string]string {
				inner := library(t, "libinner.so", "i")
				outer := read(t, specimenOf(t, "void i(void); void o(void) { i(); }", "-Wl,-soname,libouter.so", inner))
				return map[string]string{
					"spam" + suffix:         module(t, "spam", []string{"o", "f225"}, file(t, "libouter.so", outer), libc, "-Wl,-rpath,$ORIGIN/spam.libs"),
					"spam.libs/libouter.so": outer, "spam.libs/libinner.so": read(t, inner),
				}
			},
		},
		{
			name: "a library where no search path leads", tags: "manylinux_2_17_x86_64", want: "linux_x86_64", limits: []string{"library libgomp.so.1"}, rules: []string{"platform-libraries"},
			files: func(t *testing.T) map[string]string {
				lib := library(t, "libgomp.so.1", "g")
				return map[string]string{"spam" + suffix: module(t, "spam", []string{"g", "f225"}, lib, libc), "spam.libs/libgomp.so.1": read(t, lib)}
			},
		},
		{
			name: "a level of the processor", tags: "manylinux_2_17_x86_64", want: "linux_x86_64", limits: []string{"processor x86-64-v3"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"f225"}, libc, "-Wl,-z,x86-64-v3"))
			},
		},
		{
			name: "zlib's own symbols", tags: "manylinux_2_17_x86_64", want: "linux_x86_64", limits: []string{"symbol inflate_table"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"inflate_table", "f225"}, library(t, "libz.so.1", "inflate_table"), libc))
			},
		},
		{
			name: "Python with fpectl", tags: "manylinux1_x86_64", want: "linux_x86_64", limits: []string{"python PyFPE_jbuf"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"PyFPE_jbuf", "f225"}, libc))
			},
		},
		{
			name: "musl", tags: "musllinux_1_1_x86_64", want: "musllinux_1_1_x86_64",
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"m"}, library(t, "libc.musl-x86_64.so.1", "m")))
			},
		},
		{
			name: "a newer musl", tags: "musllinux_1_1_x86_64", want: "musllinux_1_2_x86_64", limits: []string{"symbol reallocarray"}, rules: []string{"musl-symbols", "platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"reallocarray"}, library(t, "libc.musl-x86_64.so.1", "reallocarray")))
			},
		},
		{
			name: "musl, and what only glibc has", tags: "musllinux_1_2_x86_64", want: "linux_x86_64", limits: []string{"symbol __cxa_thread_atexit_impl"}, rules: []string{"musl-symbols", "platform-claim"},
			files: func(t *testing.T) map[string]string {
				return one(module(t, "spam", []string{"__cxa_thread_atexit_impl", "m"}, library(t, "libc.musl-x86_64.so.1", "m", "__cxa_thread_atexit_impl")))
			},
		},
		{
			name: "musl in its tag, glibc in its code", tags: "musllinux_1_2_x86_64", want: "manylinux_2_17_x86_64", limits: []string{"symbol version GLIBC_2.17"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f217"}, libc)) },
		},
		{
			name: "tagged for both", tags: "manylinux_2_17_x86_64.musllinux_1_2_x86_64", want: "manylinux_2_17_x86_64", limits: []string{"symbol version GLIBC_2.17"}, rules: []string{"platform-claim"},
			files: func(t *testing.T) map[string]string { return one(module(t, "spam", []string{"f217"}, libc)) },
		},
		{
			name: "in the part for all machines", tags: "manylinux1_x86_64", want: "manylinux_2_5_x86_64", rules: []string{"purelib-native"},
			files: func(t *testing.T) map[string]string {
				return map[string]string{"spam-1.0.data/purelib/spam" + suffix: module(t, "spam", []string{"f225"}, libc)}
			},
		},
		{
			name: "no C library", tags: "manylinux1_x86_64.musllinux_1_1_x86_64", want: "manylinux_2_5_x86_64",
			files: func(t *testing.T) map[string]string {
				return map[string]string{"spam-1.0.data/scripts/spam": read(t, specimenOf(t, "void _start(void) {}", "-static-pie")), "spam/__init__.py": ""}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := check(t, wheelOf("cp313-cp313-"+test.tags, test.files(t)))
			got, limits := told(r.Platform)
			if got != test.want {
				t.Errorf("satisfies %v, want %s; limits %+v", r.Platform.Satisfies, test.want, r.Platform.Limits)
			}
			if diff := cmp.Diff(test.limits, limits); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
			rules := slices.DeleteFunc(rulesOf(r), func(rule string) bool { return rule == "abi3-possible" || rule == "empty-library" })
			if diff := cmp.Diff(append([]string{}, test.rules...), rules); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// one is a wheel's only module.
func one(data string) map[string]string { return map[string]string{"spam" + suffix: data} }

// told is the tag of the oldest policy, and what keeps the wheel from a better one.
func told(p *Platform) (tag string, limits []string) {
	if len(p.Satisfies) > 0 {
		tag = p.Satisfies[0]
	}
	for _, l := range p.Limits {
		if l.Admits == p.Limits[0].Admits {
			limits = append(limits, string(l.Kind)+" "+l.Name)
		}
	}
	slices.Sort(limits)
	return tag, limits
}

func TestPlatformOfOtherMachines(t *testing.T) {
	t.Parallel()
	aarch64 := []byte(module(t, "spam", nil))
	aarch64[18] = 183 // e_machine
	i386 := slices.Clone(aarch64)
	i386[4] = 1 // EI_CLASS
	r := check(t, wheelOf("cp313-cp313-manylinux_2_17_x86_64", map[string]string{
		"spam/a.so": string(aarch64), "spam/b.so": string(i386), "spam/c" + suffix: module(t, "c", nil), "spam/__init__.py": "",
	}))
	if diff := cmp.Diff([]string{"spam/a.so", "spam/b.so"}, r.Platform.Unjudged); diff != "" {
		t.Errorf("unjudged (-want +got):\n%s", diff)
	}
	if got, _ := told(r.Platform); got != "manylinux_2_5_x86_64" {
		t.Errorf("satisfies %s", got)
	}
	pure := check(t, wheelOf("py3-none-any", map[string]string{"spam/__init__.py": ""}))
	if pure.Platform != nil {
		t.Errorf("a wheel without native code has a platform: %+v", pure.Platform)
	}
}

// TestHostileLibraries links every file of a wheel to every other one: the lookups are
// bounded.
func TestHostileLibraries(t *testing.T) {
	t.Parallel()
	if strings.Count(strings.Repeat("$ORIGIN:", 2*maxDirs), "$") <= maxDirs {
		t.Fatal("the search path is too short")
	}
	path := strings.Repeat("$ORIGIN/x:", 2*maxDirs) + "$ORIGIN"
	lib := read(t, specimenOf(t, "int x;", "-Wl,-soname,lib.so", "-Wl,-rpath,"+path))
	r := check(t, wheelOf("cp313-cp313-linux_x86_64", map[string]string{"spam/lib.so": lib, "spam/__init__.py": ""}))
	if got, _ := told(r.Platform); got != "manylinux_2_5_x86_64" {
		t.Errorf("satisfies %s", got)
	}
}

// TestPlatformOfUnsound says nothing of the platform of a wheel whose code cannot be read
// whole.
func TestPlatformOfUnsound(t *testing.T) {
	t.Parallel()
	r := check(t, wheelOf("cp313-cp313-linux_x86_64", map[string]string{
		"spam" + suffix: module(t, "spam", nil), "eggs" + suffix: module(t, "eggs", nil)[:100],
	}))
	if len(r.Platform.Satisfies) > 0 || !slices.Equal(r.Platform.Unjudged, []string{"eggs" + suffix}) {
		t.Errorf("platform %+v", r.Platform)
	}
}
