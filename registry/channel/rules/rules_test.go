package rules

import (
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
	"ampoule/registry/trust/roots"
)

const good = `# Who may promote what.
apiVersion: ampoule/v1
trust: acme
version: 3
people:
  ann: {keys: [promote-ann, approve-ann]}
  ben: {keys: [approve-ben]}
  cat: {keys: [approve-cat]}
channels:
- name: staging
- {name: prod, match: ["team/*"], from: staging}
- name: prod
  from: staging
  soak: 12h
  approvals: {count: 2, max-age: 3d}
  freezes: [{from: "2026-12-20", until: "2027-01-03", why: end of the year}]
`

var rootKeys = sync.OnceValue(func() map[string]*keys.Private {
	all := map[string]*keys.Private{}
	for _, name := range []string{"ann", "ben", "build-1"} {
		k, err := keys.Generate()
		if err != nil {
			panic(err)
		}
		all[name] = k
	}
	return all
})

// root is a trust root of two root keys.
func root(t *testing.T) *roots.Root {
	t.Helper()
	r, err := roots.New("acme", time.Now().AddDate(1, 0, 0), map[string]keys.Public{"ann": rootKeys()["ann"].Public(), "ben": rootKeys()["ben"].Public()}, 2)
	if err == nil {
		r, err = r.Next(true, roots.AddKey("build-1", rootKeys()["build-1"].Public(), roots.RoleBuild, 0, ""))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// signed is a text signed by keys.
func signed(t *testing.T, text string, by ...string) string {
	t.Helper()
	for _, name := range by {
		r, err := Parse("channels.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		id, signature, err := r.Signature(t.Context(), rootKeys()[name])
		if err != nil {
			t.Fatal(err)
		}
		text = string(WithSignature([]byte(text), r.Signatures, id, signature))
	}
	return text
}

func TestRules(t *testing.T) {
	t.Parallel()
	r, err := Parse("channels.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"web": "12h", "team/web": "", "team/a/b": "12h"} {
		if rule, ok := r.Rule("prod", name); !ok || rule.Soak != want || rule.From != "staging" {
			t.Errorf("%s: %+v", name, rule)
		}
	}
	if _, ok := r.Rule("eu-prod", "web"); ok {
		t.Error("there is a rule for eu-prod")
	}
	rule, _ := r.Rule("prod", "web")
	if count, most := rule.Approvals.Wanted(); count != 2 || most != 72*time.Hour || rule.SoakTime() != 12*time.Hour {
		t.Errorf("%d, %s", count, most)
	}
	if count, _ := (*Approvals)(nil).Wanted(); count != 0 {
		t.Errorf("no approvals are %d", count)
	}
	if _, most := (&Approvals{Count: "1"}).Wanted(); most != usualAge {
		t.Errorf("an approval may be %s old", most)
	}
	for day, frozen := range map[string]bool{"2026-12-19T23:59:59Z": false, "2026-12-20T00:00:00Z": true, "2027-01-03T23:59:59Z": true, "2027-01-04T00:00:00Z": false} {
		at, err := time.Parse(time.RFC3339, day)
		if err != nil || (rule.FrozenAt(at) != "") != frozen {
			t.Errorf("%s: %q", day, rule.FrozenAt(at))
		}
	}
	if r.Person("approve-ann") != "ann" || r.Person("promote-ann") != "ann" || r.Person("x") != "" || r.Number() != 3 {
		t.Errorf("%+v", r.people)
	}
}

// Each fault is told at its line and column.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ from, to, want string }{
		"empty":                      {good, "", "channels.yaml:1:1: the file is empty"},
		"an unknown key":             {"soak: 12h", "soke: 12h", `channels.yaml:14:3: "soke" is no key of channels[2]`},
		"an age in weeks":            {"soak: 12h", "soak: 2w", `channels.yaml:14:9: channels[2].soak: "2w" is not an age`},
		"a soak from nowhere":        {"  from: staging\n  soak", "  soak", "channels.yaml:13:9: soak is the time in another channel"},
		"a channel from itself":      {"  from: staging\n", "  from: prod\n", "channels.yaml:13:9: a channel does not come from itself"},
		"a channel of a key":         {"- name: staging", "- name: key-1", "channels.yaml:10:9: \"key-1\" is no name of a channel"},
		"a rule that never decides":  {"- name: staging", "- name: prod", "channels.yaml:11:10: channels[0] is for all of these already"},
		"a key of two":               {"[approve-cat]", "[approve-ben]", "channels.yaml:8:9: key approve-ben is held by ben and by cat"},
		"more approvers than people": {"count: 2", "count: 3", "channels.yaml:15:22: 3 people other than the one who promotes must approve, and there are 3"},
		"a freeze that ends before":  {"2027-01-03", "2026-01-03", "channels.yaml:16:13: the freeze from 2026-12-20 until 2026-01-03 is no time"},
		"a day that is none":         {"2027-01-03", "2027-02-31", "the freeze from 2026-12-20 until 2027-02-31 is no time"},
		"a version 0":                {"version: 3", "version: 0", "channels.yaml:4:10: version"},
		"a hash that is none":        {"  soak: 12h", "  policy: {file: p.yaml, sha256: abc}", `"abc" is not sha256: and 64`},
	} {
		text := strings.Replace(good, test.from, test.to, 1)
		_, err := Parse("channels.yaml", []byte(text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.Contains(err.Error(), test.want) || all[0].Line == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read("/no/such/channels.yaml"); faults.Of(err) != faults.Input {
		t.Errorf("missing: %v", err)
	}
}

// store is a memory.
type store struct {
	known map[string][]byte
	fail  error
}

func (s *store) Lock(context.Context, string) (func(), error) { return func() {}, nil }
func (s *store) Lookup(_, key string, v any) (bool, error) {
	data, ok := s.known[key]
	if !ok || s.fail != nil {
		return false, s.fail
	}
	return true, json.Unmarshal(data, v)
}

func (s *store) RecordDurably(_, key string, v any) error {
	data, err := json.Marshal(v)
	s.known = map[string][]byte{key: data}
	return err
}

// Rules count when enough root keys have signed them, and an old version does not come back.
func TestOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "channels.yaml")
	memory := &store{}
	open := func(text string) error {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), memory, file, root(t))
		return err
	}
	both := signed(t, good, "ann", "ben")
	if !strings.HasPrefix(both, good) || strings.Count(both, "signatures:") != 1 {
		t.Errorf("signing changes the text:\n%s", both)
	}
	newer := signed(t, strings.Replace(good, "version: 3", "version: 4", 1), "ann", "ben")
	for _, step := range []struct{ name, text, want string }{
		{"unsigned", good, "need 2 signatures of root keys, and have those of none"},
		{"signed by one", signed(t, good, "ann", "ann"), "have those of ann"},
		{"signed by a build key", signed(t, good, "ann", "build-1"), "have those of ann"},
		{"changed after it was signed", strings.Replace(both, "count: 2", "count: 1", 1), "have those of none"},
		{"of another root", signed(t, strings.Replace(good, "trust: acme", "trust: other", 1), "ann", "ben"), "is signed by the keys of trust root other"},
		{"signed", both, ""},
		{"signed again", both, ""},
		{"another one of the same version", signed(t, strings.Replace(good, "count: 2", "count: 1", 1), "ann", "ben"), "version 3 is another one than was seen here"},
		{"a newer one", newer, ""},
		{"the older one", both, "are rolled back: version 3, and 4 was seen here"},
	} {
		err := open(step.text)
		if step.want == "" && err != nil || step.want != "" && (faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	memory.fail = errors.New("broken")
	if err := open(newer); !errors.Is(err, memory.fail) {
		t.Errorf("%v", err)
	}
}

// A policy is signed by its hash.
func TestPolicyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &Rules{Path: filepath.Join(dir, "channels.yaml")}
	if file, err := r.PolicyFile(Policy{"p.yaml", hashOf([]byte("x"))}); err != nil || file != filepath.Join(dir, "p.yaml") {
		t.Errorf("%s, %v", file, err)
	}
	if _, err := r.PolicyFile(Policy{"p.yaml", hashOf([]byte("y"))}); faults.Of(err) != faults.Refused {
		t.Errorf("%v", err)
	}
	if _, err := r.PolicyFile(Policy{"q.yaml", hashOf([]byte("y"))}); faults.Of(err) != faults.Input {
		t.Errorf("%v", err)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"freezes"`, "whoever holds several is one person", "how long that channel must have named it"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the schema has no %s: %s", want, data)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("apiVersion: ampoule/v1\ntrust: a\nversion: 1\nchannels: [{name: prod}]\nsignatures: {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse("channels.yaml", text)
		if err != nil {
			if faults.Of(err) != faults.Input {
				t.Errorf("%v", err)
			}
			return
		}
		for _, rule := range r.Channels {
			if _, ok := r.Rule(rule.Name, "web"); rule.Match == nil && !ok {
				t.Errorf("%+v decides nothing", rule)
			}
		}
	})
}

// A service's key speaks for its callers, whom rules know as people; a person's speaks for its holder.
func TestServices(t *testing.T) {
	t.Parallel()
	const text = "apiVersion: ampoule/v1\ntrust: acme\nversion: 1\npeople:\n  ann: {keys: [approve-ann], callers: [ann]}\n  ben: {callers: [ben, \"ben@acme.example\"]}\nservices: [service-1]\nchannels: [{name: prod}]\n"
	r, err := Parse("channels.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, caller, want, says string }{
		{"approve-ann", "", "ann", ""},
		{"service-1", "ann", "ann", ""},
		{"service-1", "ben@acme.example", "ben", ""},
		{"service-1", "", "", "no caller is named"},
		{"service-1", "dan", "", "is nobody whom"},
		{"approve-ann", "ben", "", "speaks for caller ben"},
		{"x", "ann", "", "held by nobody"},
	} {
		got, err := r.Speaker(c.key, c.caller)
		if got != c.want || (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	for before, c := range map[string]struct{ after, want string }{
		"ben: {callers: [ben,":                        {"ben: {callers: [ann,", "channels.yaml:6:9: caller ann is ann and ben"},
		"ben: {callers: [ben, \"ben@acme.example\"]}": {"ben: {}", "ben holds no key, and is no caller of a service"},
		"services: [service-1]":                       {"services: [approve-ann]", "key approve-ann is held by ann and by a service"},
		"callers: [ann]":                              {"callers: [\"a\\tb\"]", "channels.yaml:5:"},
	} {
		_, err := Parse("channels.yaml", []byte(strings.Replace(text, before, c.after, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.after, err, c.want)
		}
	}
	// Rules of before have the hash that they had.
	old, err := Parse("channels.yaml", []byte("apiVersion: ampoule/v1\ntrust: acme\nversion: 1\npeople:\n  ann: {keys: [approve-ann]}\nchannels: [{name: prod}]\n"))
	if err != nil || strings.Contains(string(old.payload()), "callers") || strings.Contains(string(old.payload()), "services") {
		t.Errorf("%s %v", old.payload(), err)
	}
}
