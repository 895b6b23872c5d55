package recipes

import (
	"strings"
	"testing"
)

// Plain leaves what other files are compiled for as it is.
func TestPlain(t *testing.T) {
	t.Parallel()
	p := Python{Version: "3.13.5", Profile: "sha256:x", Configure: []string{"--enable-shared", "--enable-optimizations=yes", "--with-lto=full", "--disable-gil", "--enable-bolt"}}
	got := p.Plain()
	if got.Profile != "" || strings.Join(got.Configure, " ") != "--enable-shared --disable-gil" || len(p.Configure) != 5 {
		t.Errorf("plain: %+v of %+v", got, p)
	}
}

func TestRepeatable(t *testing.T) {
	t.Parallel()
	profile := "sha256:" + strings.Repeat("a", 64)
	for flags, want := range map[string]struct{ without, with bool }{
		"":                                      {true, true},
		"--with-lto":                            {true, true},
		"--disable-optimizations":               {true, true},
		"--enable-optimizations":                {false, true},
		"--enable-optimizations=yes --with-lto": {false, true},
		"--enable-optimizations --enable-bolt":  {false, true},
		"--enable-bolt":                         {false, true},
		"--enable-optimizations --disable-bolt": {false, true},
	} {
		p := Python{Configure: strings.Fields(flags)}
		if got := p.Repeatable(); got != want.without {
			t.Errorf("%q without a profile: %t", flags, got)
		}
		p.Profile = profile
		if got := p.Repeatable(); got != want.with {
			t.Errorf("%q with one: %t", flags, got)
		}
	}
}
