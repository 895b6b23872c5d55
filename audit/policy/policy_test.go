package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/packaging"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	var names []string
	for _, libc := range []packaging.Libc{packaging.Glibc, packaging.Musl} {
		s := Of(libc)
		for i := range s.Never() {
			names = append(names, nameOf(s, i, "x86_64"))
			if major, minor := s.AtLeast(i); libc == packaging.Glibc && major != 2 || minor == 0 {
				t.Errorf("%s: %s %d.%d", names[len(names)-1], libc, major, minor)
			}
		}
	}
	want := "manylinux_2_5 manylinux_2_12 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 manylinux_2_28 manylinux_2_31 " +
		"manylinux_2_34 manylinux_2_35 manylinux_2_36 manylinux_2_37 manylinux_2_38 manylinux_2_39 manylinux_2_40 manylinux_2_41 musllinux_1_1 musllinux_1_2"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("policies %s\nwant %s", got, want)
	}
}

// nameOf is a policy's name without the machine.
func nameOf(s *Set, policy int, machine string) string {
	return strings.TrimSuffix(s.Tags(policy, machine)[0], "_"+machine)
}

func TestPolicyOf(t *testing.T) {
	t.Parallel()
	glibc := Of(packaging.Glibc)
	for _, test := range []struct{ machine, version, want string }{
		{"x86_64", "GLIBC_2.2.5", "manylinux_2_5"},
		{"x86_64", "GLIBC_2.5", "manylinux_2_5"},
		{"x86_64", "GLIBC_2.14", "manylinux_2_17"},
		{"x86_64", "GLIBC_2.28", "manylinux_2_28"},
		{"x86_64", "GLIBC_2.33", "manylinux_2_34"},
		{"x86_64", "GLIBC_ABI_DT_RELR", "manylinux_2_36"},
		{"x86_64", "GLIBC_PRIVATE", "linux"},
		{"x86_64", "GLIBC_2.99", "linux"},
		{"x86_64", "GLIBCXX_3.4.19", "manylinux_2_17"},
		{"x86_64", "GLIBCXX_3.4.21", "manylinux_2_24"},
		{"x86_64", "CXXABI_1.3.13", "manylinux_2_34"},
		{"x86_64", "CXXABI_TM_1", "manylinux_2_17"},
		{"x86_64", "GCC_7.0.0", "manylinux_2_27"},
		{"x86_64", "ZLIB_1.2.9", "manylinux_2_27"},
		{"aarch64", "GLIBC_2.17", "manylinux_2_17"},
		{"aarch64", "GLIBC_2.2.5", "linux"},
		{"aarch64", "GCC_7.0.0", "manylinux_2_26"},
		{"aarch64", "GLIBCXX_3.4.24", "manylinux_2_26"},
		{"riscv64", "GLIBC_2.27", "manylinux_2_31"},
		{"x86_64", "OPENSSL_1_1_0", "any"},
		{"x86_64", "libcrypto.so.10", "any"},
	} {
		policy, ok := glibc.Version(test.machine, test.version)
		got := "any"
		if ok {
			got = nameOf(glibc, policy, test.machine)
		}
		if got != test.want {
			t.Errorf("%s on %s: %s, want %s", test.version, test.machine, got, test.want)
		}
	}
	for soname, want := range map[string]string{"libz.so.1": "manylinux_2_5", "libexpat.so.1": "manylinux_2_12", "libmvec.so.1": "manylinux_2_24", "libgomp.so.1": "linux", "libpython3.13.so.1.0": "linux", "libcrypt.so.1": "linux"} {
		if got := nameOf(glibc, glibc.Library(soname), "x86_64"); got != want {
			t.Errorf("%s: %s, want %s", soname, got, want)
		}
	}
}

// TestAliases holds the names of before PEP 600 to the policies that they stand for.
func TestAliases(t *testing.T) {
	t.Parallel()
	glibc := Of(packaging.Glibc)
	if got := glibc.Tags(2, "x86_64"); !slices.Equal(got, []string{"manylinux_2_17_x86_64", "manylinux2014_x86_64"}) {
		t.Errorf("tags %v", got)
	}
	if got := glibc.Tags(glibc.Never(), "x86_64"); !slices.Equal(got, []string{"linux_x86_64"}) {
		t.Errorf("tags of no policy %v", got)
	}
}

// TestNewest: what the systems of each glibc have of the compiler's libraries on x86-64.
func TestNewest(t *testing.T) {
	t.Parallel()
	families := []string{"GLIBCXX", "CXXABI", "GCC"}
	got := map[string]string{}
	for _, minor := range []int{4, 5, 11, 12, 17, 23, 24, 26, 27, 30, 31, 34, 35, 38, 39} {
		var all []string
		for _, family := range families {
			all = append(all, strings.Trim(strings.ReplaceAll(fmt.Sprint(Of(packaging.Glibc).Newest("x86_64", family, 2, minor)), " ", "."), "[]"))
		}
		got[fmt.Sprintf("2.%d", minor)] = strings.Join(all, " ")
	}
	const oldest, old = "3.4.8 1.3.1 4.2.0", "3.4.22 1.3.10 4.8.0"
	want := map[string]string{
		"2.4": "  ", "2.5": oldest, "2.11": oldest, "2.12": "3.4.13 1.3.3 4.3.0", "2.17": "3.4.19 1.3.7 4.8.0", "2.23": "3.4.19 1.3.7 4.8.0",
		"2.24": old, "2.26": old, "2.27": "3.4.24 1.3.11 7.0.0", "2.30": "3.4.24 1.3.11 7.0.0", "2.31": "3.4.28 1.3.12 7.0.0",
		"2.34": "3.4.29 1.3.13 7.0.0", "2.35": "3.4.30 1.3.13 12.0.0", "2.38": "3.4.30 1.3.13 12.0.0", "2.39": "3.4.33 1.3.15 14.0.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v (-want +got):\n%s", families, diff)
	}
	if musl := slices.Collect(maps.Keys(Of(packaging.Musl).versions)); len(musl) > 0 {
		t.Errorf("musl has versions of symbols on %v", musl)
	}
}
