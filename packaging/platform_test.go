package packaging

import "testing"

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]Platform{
		"manylinux1_x86_64":        {Glibc, 2, 5, "x86_64"},
		"manylinux2010_x86_64":     {Glibc, 2, 12, "x86_64"},
		"manylinux2014_aarch64":    {Glibc, 2, 17, "aarch64"},
		"manylinux_2_28_x86_64":    {Glibc, 2, 28, "x86_64"},
		"musllinux_1_2_aarch64":    {Musl, 1, 2, "aarch64"},
		"linux_x86_64":             {"", 0, 0, "x86_64"},
		"manylinux_2_17_powerpc64": {Glibc, 2, 17, "powerpc64"},
	} {
		if got, ok := ParsePlatform(tag); !ok || got != want {
			t.Errorf("%s: %+v, %t", tag, got, ok)
		}
	}
	for _, tag := range []string{"", "any", "win_amd64", "macosx_11_0_arm64", "manylinux3_x86_64", "manylinux_2_x86_64", "manylinux_2_28", "linux"} {
		if got, ok := ParsePlatform(tag); ok {
			t.Errorf("%s: %+v", tag, got)
		}
	}
	if v := (Platform{Glibc, 2, 17, "x86_64"}).Version(); v != "2.17" {
		t.Error(v)
	}
}
