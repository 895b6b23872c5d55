package packaging

import (
	"slices"
	"testing"
)

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

func TestAccepts(t *testing.T) {
	t.Parallel()
	old := Platform{Glibc, 2, 6, "x86_64"}
	if got := old.Accepts(); !slices.Equal(got, []string{"manylinux_2_6_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"}) {
		t.Errorf("%v", got)
	}
	if got := (Platform{Musl, 1, 1, "aarch64"}).Accepts(); !slices.Equal(got, []string{"musllinux_1_1_aarch64", "musllinux_1_0_aarch64"}) {
		t.Errorf("%v", got)
	}
	for _, none := range []Platform{{Machine: "x86_64"}, {Glibc, 2, 16, "aarch64"}, {Glibc, 2, 4, "x86_64"}} {
		if got := none.Accepts(); len(got) > 0 {
			t.Errorf("%+v: %v", none, got)
		}
	}
	for _, tag := range old.Accepts() {
		if p, ok := ParsePlatform(tag); !ok || !slices.Contains(p.Tags(), tag) {
			t.Errorf("%s is of %+v, with the tags %v", tag, p, p.Tags())
		}
	}
}

func FuzzParsePlatform(f *testing.F) {
	f.Add("manylinux_2_17_x86_64")
	f.Add("manylinux2014_aarch64")
	f.Fuzz(func(t *testing.T, tag string) {
		p, ok := ParsePlatform(tag)
		if ok && p.Machine == "" {
			t.Errorf("%q: %+v", tag, p)
		}
		for _, name := range p.Tags() {
			if again, ok := ParsePlatform(name); p.Machine != "" && (!ok || again != p) {
				t.Errorf("%q: %+v, again %+v", tag, p, again)
			}
		}
	})
}
