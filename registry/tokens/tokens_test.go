package tokens

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/store"
)

func book(t *testing.T) (*Book, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return Open(st), dir
}

func scopes(t *testing.T, texts ...string) []Scope {
	t.Helper()
	var all []Scope
	for _, text := range texts {
		s, err := ParseScope(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestLifeOfToken(t *testing.T) {
	t.Parallel()
	b, dir := book(t)
	if found, err := b.Any(); found || err != nil {
		t.Errorf("a new store has tokens: %v, %v", found, err)
	}
	made, secret, err := b.Create("ci", scopes(t, "push:team/*"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Check(secret); err != nil || got.ID != made.ID || got.Name != "ci" {
		t.Errorf("checked: %+v, %v", got, err)
	}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if raw, _ := os.ReadFile(path); strings.Contains(string(raw), strings.Split(secret, "_")[2]) {
				t.Errorf("the secret is in %s", path)
			}
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "x", "ampoule_" + made.ID + "_", secret + "x", secret[:len(secret)-1], strings.Replace(secret, made.ID, strings.Repeat("a", idLength), 1)} {
		if _, err := b.Check(wrong); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if _, _, err := b.Create("ci", made.Scopes, time.Time{}); faults.Of(err) != faults.Usage {
		t.Errorf("a second token of one name: %v", err)
	}
	if _, err := b.Revoke("other"); faults.Of(err) != faults.NotFound {
		t.Errorf("revoking what is not there: %v", err)
	}
	if _, err := b.Revoke("ci"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(secret); !errors.Is(err, ErrRevoked) {
		t.Errorf("after it is revoked: %v", err)
	}
	if found, err := b.Any(); !found || err != nil {
		t.Errorf("a store whose only token is revoked has none: %v, %v", found, err)
	}
	again, _, err := b.Create("ci", made.Scopes, time.Time{})
	if err != nil || again.ID == made.ID {
		t.Errorf("the name is not free: %v", err)
	}
	if all, err := b.List(); err != nil || len(all) != 2 {
		t.Errorf("listed: %v, %v", all, err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	b, _ := book(t)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	b.now = func() time.Time { return now }
	_, secret, err := b.Create("ci", scopes(t, "pull:*"), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour - time.Second)
	if _, err := b.Check(secret); err != nil {
		t.Errorf("a second before: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := b.Check(secret); !errors.Is(err, ErrExpired) {
		t.Errorf("afterwards: %v", err)
	}
}

// A record that is damaged lets nobody in.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	b, dir := book(t)
	_, secret, err := b.Create("ci", scopes(t, "pull:*"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "kept", Kind, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-2] ^= 1
	if err := os.WriteFile(files[0], raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(secret); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("checked: %v", err)
	}
	if _, err := b.Any(); err == nil {
		t.Error("nobody tells that a token cannot be read")
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scope      string
		verb       Verb
		repository string
		want       bool
	}{
		{"pull:*", Pull, "web", true},
		{"pull:*", Pull, "team/web", true},
		{"pull:*", Push, "web", false},
		{"pull:*", Delete, "web", false},
		{"push:team/*", Push, "team/web", true},
		{"push:team/*", Push, "team/a/b", true},
		{"push:team/*", Push, "team", false},
		{"push:team/*", Push, "teams/web", false},
		{"push:team/*", Push, "other/team/web", false},
		{"push:team/*", Pull, "team/web", true},
		{"push:team/*", Delete, "team/web", false},
		{"delete:web", Delete, "web", true},
		{"delete:web", Pull, "web", false},
		{"delete:web", Delete, "web2", false},
		{"pull:a*b*c", Pull, "axbyc", true},
		{"pull:a*b*c", Pull, "abc", true},
		{"pull:a*b*c", Pull, "acb", false},
		{"pull:ab*ba", Pull, "aba", false},
	} {
		got := Token{Scopes: scopes(t, c.scope)}.Allows(c.verb, c.repository)
		if got != c.want {
			t.Errorf("%s allows to %s %s: %v", c.scope, c.verb, c.repository, got)
		}
	}
	for _, wrong := range []string{
		"", "pull", "pull:", "write:*", "pull:/x", "pull:X", "push:a b", "*:*", "pull:../x",
		"pull:x→prod", "read:x->prod", "promote:x→", "promote:x→a b", "promote:→prod", "promote:x→a→b", "promote:x→key-1",
	} {
		if s, err := ParseScope(wrong); err == nil {
			t.Errorf("%q is read as %v", wrong, s)
		}
	}
}

// What the verbs of a service contain of each other, and that channels are told apart.
func TestScopesOfAService(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scope   string
		allowed []Verb
		name    string
	}{
		{"read:team/*", []Verb{Read}, "team/web"},
		{"build:team/*", []Verb{Read, Build}, "team/web"},
		{"admin:*", []Verb{Read, Build, Admin}, "team/web"},
		{"promote:team/*", []Verb{Read, Promote}, "team/web"},
		{"promote:team/*→prod", []Verb{Read, Promote}, "team/web"},
		{"promote:team/*->pr*", []Verb{Read, Promote}, "team/web"},
		{"promote:team/*→ci", []Verb{Read}, "team/web"},
		{"approve:*→prod", []Verb{Read, Approve}, "team/web"},
		{"build:other/*", nil, "team/web"},
		{"admin:other", nil, "team/web"},
		{"push:*", nil, "team/web"},
		{"delete:*", nil, "team/web"},
	} {
		scope := scopes(t, c.scope)[0]
		for _, verb := range []Verb{Read, Build, Promote, Approve, Admin} {
			if got, want := scope.Covers(verb, c.name, "prod"), slices.Contains(c.allowed, verb); got != want {
				t.Errorf("%s allows to %s %s: %v", c.scope, verb, c.name, got)
			}
		}
		if again := scopes(t, scope.String())[0]; again != scope {
			t.Errorf("%s is read again as %v", c.scope, again)
		}
		for _, verb := range []Verb{Pull, Push, Delete} {
			if registry := strings.HasPrefix(c.scope, "push") || strings.HasPrefix(c.scope, "delete"); !registry && (Token{Scopes: []Scope{scope}}).Allows(verb, c.name) {
				t.Errorf("%s allows to %s", c.scope, verb)
			}
		}
	}
}
