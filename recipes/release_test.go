package recipes

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKnownPython(t *testing.T) {
	t.Parallel()
	var versions []string
	for _, r := range KnownPythons() {
		versions = append(versions, r.Version)
		if !strings.HasPrefix(r.File, "Python-"+r.Version+".t") || len(r.SHA256) != 64 || len(r.Flags) < 40 || !slices.IsSorted(r.Flags) {
			t.Errorf("odd release %+v", r)
		}
		if !slices.Contains(r.Flags, "--enable-shared") || !slices.Contains(r.Flags, "--with-lto") {
			t.Errorf("%s does not know the flags that every version knows", r.Version)
		}
	}
	if diff := cmp.Diff([]string{"3.11.2", "3.13.5", "3.13.15"}, versions); diff != "" {
		t.Errorf("the releases, oldest first (-want +got):\n%s", diff)
	}
	r, ok := KnownPython("3.13.5")
	if !ok || r.SHA256 != "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640" || r.File != "Python-3.13.5.tar.xz" {
		t.Errorf("got %+v", r)
	}
	for flag, versions := range map[string][]string{
		"--with-cxx-main": {"3.11.2"}, "--enable-gil": {"3.13.5", "3.13.15"}, "--with-readline": {"3.11.2", "3.13.5", "3.13.15"},
	} {
		for _, r := range KnownPythons() {
			if slices.Contains(r.Flags, flag) != slices.Contains(versions, r.Version) {
				t.Errorf("%s in %s: %v", flag, r.Version, !slices.Contains(versions, r.Version))
			}
		}
	}
}

// The hashes that decisions/0072 tells the origin of.
func TestKnownSource(t *testing.T) {
	t.Parallel()
	sums := map[string]bool{}
	for i, s := range sources() {
		if !rules["full version"].allows(s.Version) || !rules["sha256"].allows(s.SHA256) || sums[s.SHA256] {
			t.Errorf("odd source %+v", s)
		}
		if i > 0 && compareVersions(sources()[i-1].Version, s.Version) >= 0 {
			t.Errorf("%s is not in its place", s.Version)
		}
		sums[s.SHA256] = true
		// A flags table of the same archive was made from its bytes.
		if known, ok := KnownPython(s.Version); ok && known.File == s.File && known.SHA256 != s.SHA256 {
			t.Errorf("%s: the two tables disagree", s.Version)
		}
	}
	for version, file := range map[string]string{"3.11.2": "Python-3.11.2.tgz", "3.12.7": "Python-3.12.7.tar.xz", "3.14.0": "Python-3.14.0.tar.xz", "3.99.1": ""} {
		if s, ok := KnownSource(version); s.File != file || ok != (file != "") {
			t.Errorf("%s: %+v", version, s)
		}
	}
	for version, want := range map[string][]string{"3.12.99": {"3.12.14"}, "3.99.1": {"3.11.16", "3.12.14", "3.13.15", "3.14.7"}} {
		if diff := cmp.Diff(want, NearestPythons(version)); diff != "" {
			t.Errorf("near %s (-want +got):\n%s", version, diff)
		}
	}
}

func TestExtractFlags(t *testing.T) {
	t.Parallel()
	configure := "x=1\nac_user_opts='\nenable_option_checking\nwith_c_locale_coercion\nenable_big_digits\nenable_big_digits\nodd\n'\nac_precious_vars='CC'\n"
	if diff := cmp.Diff([]string{"--enable-big-digits", "--with-c-locale-coercion"}, ExtractFlags([]byte(configure))); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "ac_user_opts=''", "\nac_user_opts='\nwith_x\n"} {
		if flags := ExtractFlags([]byte(text)); flags != nil {
			t.Errorf("%q has %v", text, flags)
		}
	}
}

func TestCheckFlags(t *testing.T) {
	t.Parallel()
	r, err := ParseRecipe("r", []byte(strings.Replace(goodRecipe, "3.13.5", "3.12.11", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if faults := CheckFlags(r, []string{"--enable-optimizations", "--with-lto"}); len(faults) != 0 {
		t.Error(faults)
	}
	faults := CheckFlags(r, []string{"--enable-optimizations"})
	if len(faults) != 1 || faults[0].String() != "r:5:39: CPython 3.12.11 has no configure flag --with-lto" {
		t.Error(faults)
	}
}

func TestLinkMode(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]LinkMode{
		"": Static, "--with-lto": Static, "--enable-shared": Shared, "--enable-shared=yes": Shared, "--disable-shared": Static, "--enable-shared=no": Static,
		"--enable-shared --enable-static-libpython-for-interpreter":  Embed,
		"--enable-static-libpython-for-interpreter --enable-shared":  Embed,
		"--enable-shared --disable-static-libpython-for-interpreter": Shared,
		"--enable-static-libpython-for-interpreter":                  Static,
	} {
		if got := (Python{Configure: strings.Fields(flags)}).LinkMode(); got != want {
			t.Errorf("%q is %s, want %s", flags, got, want)
		}
	}
}
