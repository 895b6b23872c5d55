package lint

import (
	"testing"

	"ampoule/packaging"
)

func TestParseClaim(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]claim{
		"manylinux1_x86_64":      {"manylinux1_x86_64", packaging.Platform{Libc: packaging.Glibc, Major: 2, Minor: 5, Machine: "x86_64"}},
		"manylinux2014_aarch64":  {"manylinux2014_aarch64", packaging.Platform{Libc: packaging.Glibc, Major: 2, Minor: 17, Machine: "aarch64"}},
		"manylinux_2_39_riscv64": {"manylinux_2_39_riscv64", packaging.Platform{Libc: packaging.Glibc, Major: 2, Minor: 39, Machine: "riscv64"}},
		"musllinux_1_2_x86_64":   {"musllinux_1_2_x86_64", packaging.Platform{Libc: packaging.Musl, Major: 1, Minor: 2, Machine: "x86_64"}},
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
