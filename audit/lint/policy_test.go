package lint

import (
	"slices"
	"strings"
	"testing"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	glibc, musl := policies()[Glibc], policies()[Musl]
	var names []string
	for _, s := range []*policySet{glibc, musl} {
		for _, p := range s.policies {
			names = append(names, p.Name)
		}
	}
	want := "manylinux_2_5 manylinux_2_12 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 manylinux_2_28 manylinux_2_31 " +
		"manylinux_2_34 manylinux_2_35 manylinux_2_36 manylinux_2_37 manylinux_2_38 manylinux_2_39 manylinux_2_40 manylinux_2_41 musllinux_1_1 musllinux_1_2"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("policies %s\nwant %s", got, want)
	}
	for _, p := range glibc.policies {
		if major, minor := p.atLeast(); major != 2 || minor == 0 {
			t.Errorf("%s: glibc %d.%d", p.Name, major, minor)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	t.Parallel()
	glibc := policies()[Glibc]
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
		policy, ok := glibc.version(test.machine, test.version)
		got := "any"
		if ok {
			got = strings.TrimSuffix(glibc.tags(policy, test.machine)[0], "_"+test.machine)
		}
		if got != test.want {
			t.Errorf("%s on %s: %s, want %s", test.version, test.machine, got, test.want)
		}
	}
	for soname, want := range map[string]string{"libz.so.1": "manylinux_2_5", "libexpat.so.1": "manylinux_2_12", "libmvec.so.1": "manylinux_2_24", "libgomp.so.1": "linux", "libpython3.13.so.1.0": "linux", "libcrypt.so.1": "linux"} {
		if got := strings.TrimSuffix(glibc.tags(glibc.library(soname), "x86_64")[0], "_x86_64"); got != want {
			t.Errorf("%s: %s, want %s", soname, got, want)
		}
	}
}

func TestParseClaim(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]claim{
		"manylinux1_x86_64":      {"manylinux1_x86_64", "x86_64", Glibc, 2, 5},
		"manylinux2014_aarch64":  {"manylinux2014_aarch64", "aarch64", Glibc, 2, 17},
		"manylinux_2_39_riscv64": {"manylinux_2_39_riscv64", "riscv64", Glibc, 2, 39},
		"musllinux_1_2_x86_64":   {"musllinux_1_2_x86_64", "x86_64", Musl, 1, 2},
		"linux_x86_64":           {},
		"macosx_11_0_arm64":      {},
		"manylinux_2_x86_64":     {},
		"any":                    {},
	} {
		got, ok := parseClaim(tag)
		if ok != (want.tag != "") || ok && got != want {
			t.Errorf("%s: %+v, %t", tag, got, ok)
		}
	}
}

// TestAliases holds the names of before PEP 600 to the policies that they stand for.
func TestAliases(t *testing.T) {
	t.Parallel()
	glibc := policies()[Glibc]
	if got := glibc.tags(2, "x86_64"); !slices.Equal(got, []string{"manylinux_2_17_x86_64", "manylinux2014_x86_64"}) {
		t.Errorf("tags %v", got)
	}
	if got := glibc.tags(glibc.never(), "x86_64"); !slices.Equal(got, []string{"linux_x86_64"}) {
		t.Errorf("tags of no policy %v", got)
	}
}
