package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCache(t *testing.T) {
	t.Parallel()
	file := write(t, `[cache]
use = ["registry.example/team/cache", "127.0.0.1:5000/cache"]
key = "/etc/ampoule/cache.key"
trusted = ["/etc/ampoule/cache.key.pub", """
-----BEGIN PUBLIC KEY-----
AAAA
-----END PUBLIC KEY-----
"""]
retired = ["/etc/ampoule/old.pub", "sha256:`+strings.Repeat("a", 64)+`"]
`)
	// What the environment says of it is nothing.
	got, err := Read([]string{"HOME=/nowhere", "AMPOULE_CACHE=evil.example/cache", "AMPOULE_CACHE_KEY=/evil", "AMPOULE_CACHE_TRUSTED=/evil.pub"}, file)
	if err != nil {
		t.Fatal(err)
	}
	want := Cache{
		Use: []string{"registry.example/team/cache", "127.0.0.1:5000/cache"}, Key: "/etc/ampoule/cache.key",
		Trusted: []string{"/etc/ampoule/cache.key.pub", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
		Retired: []string{"/etc/ampoule/old.pub", "sha256:" + strings.Repeat("a", 64)},
	}
	if diff := cmp.Diff(want, got.Inputs.Cache); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
