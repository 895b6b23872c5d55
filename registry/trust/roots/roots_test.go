package roots

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/registry/trust/keys"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var made = sync.OnceValue(func() map[string]*keys.Private {
	all := map[string]*keys.Private{}
	for _, name := range []string{"ann", "ben", "cat", "dan", "build-1", "build-2"} {
		k, err := keys.Generate()
		if err != nil {
			panic(err)
		}
		all[name] = k
	}
	return all
})

func public(name string) keys.Public { return made()[name].Public() }

// first is a root of two of three, which nobody has signed.
func first(t testing.TB) *Root {
	t.Helper()
	r, err := New("acme", now.AddDate(1, 0, 0), map[string]keys.Public{"ann": public("ann"), "ben": public("ben"), "cat": public("cat")}, 2)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sign(t testing.TB, r *Root, by ...string) *Root {
	t.Helper()
	for _, name := range by {
		var err error
		if r, err = r.Sign(t.Context(), made()[name]); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func next(t testing.TB, r *Root, change Change) *Root {
	t.Helper()
	n, err := r.Next(false, change)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFileComesBack(t *testing.T) {
	t.Parallel()
	r := next(t, sign(t, first(t), "ann"), AddKey("build-1", public("build-1"), RoleBuild, 0, "2026-12-31"))
	r = sign(t, next(t, r, Revoke("build-1", `a "stolen" key: yes`)), "ann", "ben")
	again, err := Parse("trust.yaml", r.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != r.Hash() || !bytes.Equal(again.Encode(), r.Encode()) || again.SignedBy(again) != nil {
		t.Errorf("%s comes back as %s", r.Encode(), again.Encode())
	}
}

func TestFollows(t *testing.T) {
	t.Parallel()
	one := sign(t, first(t), "ann", "ben")
	rotate := Rotate("ann", "dan", public("dan"))
	two := next(t, one, rotate)
	for name, test := range map[string]struct {
		root *Root
		want string
	}{
		"by both":            {sign(t, two, "ann", "ben", "dan"), ""},
		"by keys of both":    {sign(t, two, "ben", "cat"), ""},
		"not by the old":     {sign(t, two, "ben", "dan"), "needs 2 signatures of the root keys of version 1 (ann, ben, cat), and has those of ben"},
		"not by its own":     {sign(t, two, "ann", "ben"), "needs 2 signatures of the root keys of version 2 (ben, cat, dan), and has those of ben"},
		"by nobody":          {two, "has those of none"},
		"of another version": {sign(t, next(t, two, rotateBack), "ann", "ben"), "version 3 does not follow version 1"},
	} {
		err := test.root.Follows(one)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || faults.Of(err) != faults.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var missing *ThresholdError
	if err := two.Follows(one); !errors.As(err, &missing) || missing.Hint() == "" || missing.Want != 2 {
		t.Errorf("%v", err)
	}
}

func rotateBack(f *File) error { return Rotate("dan", "ann", public("ann"))(f) }

func TestChangesThatCannotBe(t *testing.T) {
	t.Parallel()
	r := first(t)
	for name, test := range map[string]struct {
		change Change
		want   string
	}{
		"a key that is there":           {AddKey("ann", public("dan"), RoleBuild, 0, ""), "there is a key ann already"},
		"the same key again":            {AddKey("dan", public("ann"), RoleBuild, 0, ""), "are one key"},
		"more signatures than keys":     {AddKey("build-1", public("build-1"), RoleBuild, 2, ""), "wants 2 signatures of 1 keys"},
		"too few root keys":             {both(Revoke("ann", "lost"), Revoke("ben", "lost")), "wants 2 signatures of 1 keys"},
		"an unknown key":                {Revoke("eve", "x"), "no key eve"},
		"a revoked key by its old name": {both(Revoke("ann", "lost"), AddKey("ann", public("dan"), RoleRoot, 0, "")), "was revoked: lost"},
		"a revoked key by a new name":   {both(Revoke("ann", "lost"), AddKey("eve", public("ann"), RoleRoot, 0, "")), "is revoked as ann"},
		"a bad day":                     {AddKey("build-1", public("build-1"), RoleBuild, 0, "2026-02-31"), "is no day"},
		"a why of two lines":            {Revoke("ann", "a\nb"), "not one line of text"},
	} {
		if _, err := r.Next(false, test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func both(a, b Change) Change {
	return func(f *File) error { return errors.Join(a(f), b(f)) }
}

// What is wrong in a file is told at its place.
func TestFaults(t *testing.T) {
	t.Parallel()
	good := string(sign(t, first(t), "ann", "ben").Encode())
	for name, test := range map[string]struct{ from, to, want string }{
		"unknown key":      {"roles:", "rolls: 1\nroles:", `trust.yaml:`},
		"unknown role":     {"  root:", "  boss:", "is not a role"},
		"version 0":        {"version: 1", "version: 0", "trust.yaml:3:10: version: "},
		"no expiry":        {`expires: "`, `expired: "`, "expires is missing"},
		"no base64":        {`public: "`, `public: "!`, "is not base64"},
		"no key":           {`public: "`, `public: "AAAA`, "key ann"},
		"a key not there":  {`- "ann"`, `- "eve"`, "names key eve"},
		"a name too long":  {`name: "acme"`, `name: "` + strings.Repeat("a", 65) + `"`, "is not a name"},
		"a second version": {"version: 1", "version: 1\nversion: 2", "is written twice"},
		"no threshold":     {"threshold: 2", "", "threshold is missing"},
	} {
		text := strings.Replace(good, test.from, test.to, 1)
		_, err := Parse("trust.yaml", []byte(text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.Contains(err.Error(), test.want) || all[0].Line == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse("trust.yaml", bytes.Repeat([]byte("#"), maxFile+1)); faults.Of(err) != faults.Input {
		t.Errorf("too large: %v", err)
	}
}

// store is a [Memory] that can lose.
type store struct {
	known map[string]json.RawMessage
	fail  error
}

func (s *store) Lock(context.Context, string) (func(), error) { return func() {}, nil }

func (s *store) Lookup(_, key string, v any) (bool, error) {
	if s.fail != nil {
		return false, s.fail
	}
	data, ok := s.known[key]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(data, v)
}

func (s *store) RecordDurably(_, key string, v any) error {
	data, err := json.Marshal(v)
	s.known = map[string]json.RawMessage{key: data}
	return err
}

// A memory that is damaged is no reason to forget.
func TestMemoryFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "trust.yaml")
	if err := os.WriteFile(file, sign(t, first(t), "ann", "ben").Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := Open(t.Context(), &store{fail: broken}, file, "acme", now); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	s := &store{}
	for range 2 {
		if _, err := Open(t.Context(), s, file, "acme", now); err != nil {
			t.Error(err)
		}
	}
	// An expired root is remembered: a lower one is refused afterwards.
	if _, err := Open(t.Context(), &store{}, file, "acme", now.AddDate(1, 0, 2)); faults.Of(err) != faults.Refused {
		t.Errorf("expired: %v", err)
	}
	if _, err := Open(t.Context(), &store{}, file, "acme", now.AddDate(1, 0, 0)); err != nil {
		t.Errorf("on its last day: %v", err)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ecdsa-p256-sha256"`, `"promote"`, "how many of them must have signed", `"additionalProperties": {`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema has no %s: %s", want, data)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sign(f, first(f), "ann").Encode())
	f.Add([]byte("apiVersion: ampoule/v1\nname: a\nversion: 1\nexpires: 2027-01-01\nkeys: {}\nroles: {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse("trust.yaml", text)
		if err != nil {
			return
		}
		again, err := Parse("trust.yaml", r.Encode())
		if err != nil || again.Hash() != r.Hash() {
			t.Errorf("%s does not come back: %v", text, err)
		}
	})
}
