package reports

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
	"ampoule/registry/trust/evidence"
	"ampoule/registry/trust/keys"
)

func newKey(t *testing.T) *keys.Private {
	t.Helper()
	k, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var digest, other = "sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("b", 64)

func sample() Report {
	return Report{
		Host: "web-1", Channel: "registry.example:5000/team/web:prod", Root: "/opt/web", Count: 7, Time: "2026-01-02T03:04:05Z", State: FellBack,
		Digest: digest, Wanted: other, Sequence: 3, Why: "it does not start", Failed: map[string]string{other: "it does not start"},
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	mine, stranger := newKey(t), newKey(t)
	known := Keys{"web-1": mine.Public(), "web-2": newKey(t).Public()}
	dir := t.TempDir()
	want := sample()
	sign := func(r Report, by keys.Signer) []byte {
		t.Helper()
		data, err := r.Sign(t.Context(), by)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for range 2 { // the second one replaces the first
		if err := want.Write(dir, sign(want, mine)); err != nil {
			t.Fatal(err)
		}
	}
	got, refused, err := known.ReadDir(t.Context(), dir)
	if err != nil || len(refused) != 0 {
		t.Fatal(err, refused)
	}
	if diff := cmp.Diff([]Report{want}, got); diff != "" {
		t.Error(diff)
	}
	if ref := want.Ref(digest); ref != "registry.example:5000/team/web@"+digest {
		t.Error(ref)
	}

	thief := sample()
	thief.Host = "web-2"
	unknown := sample()
	unknown.Host = "web-9"
	whole := string(sign(want, mine))
	foreign, err := evidence.About("web", digest, evidence.TestType, map[string]string{"result": "PASSED"})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := foreign.Sign(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	more, err := evidence.About("web", digest, PredicateType, map[string]any{"host": "web-1", "later": true})
	if err != nil {
		t.Fatal(err)
	}
	later, err := more.Sign(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	about, err := evidence.About("web", other, PredicateType, want)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := about.Sign(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a stranger's":       {string(sign(want, stranger)), "whose key has not signed it"},
		"another host's":     {string(sign(thief, mine)), "it says that it is of host web-2, whose key has not signed it"},
		"an unknown host's":  {string(sign(unknown, mine)), `no key of host "web-9" is known: known are web-1, web-2`},
		"cut off":            {whole[:len(whole)/2], "truncated"},
		"too large":          {whole + strings.Repeat(" ", MaxBytes), "more than"},
		"another statement":  {string(signed.Encode()), "its type is"},
		"a newer field":      {string(later.Encode()), `unknown field "later"`},
		"of another subject": {string(wrong.Encode()), "it is about another digest than it says"},
		"nothing":            {"", "truncated"},
	} {
		if _, err := known.Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "web-1-copy"+suffix), []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	_, refused, err = known.ReadDir(t.Context(), dir)
	if err != nil || len(refused) != 1 || !strings.Contains(refused[0].Err.Error(), "renamed or copied") {
		t.Errorf("%v %v", refused, err)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Report){
		"no host":   func(r *Report) { r.Host = "" },
		"no time":   func(r *Report) { r.Time = "now" },
		"no state":  func(r *Report) { r.State = "fine" },
		"no digest": func(r *Report) { r.Digest, r.Wanted = "", "" },
	} {
		r := sample()
		change(&r)
		if _, err := r.Sign(t.Context(), newKey(t)); err == nil {
			t.Errorf("%s is signed", name)
		}
	}
	long := sample()
	long.Why = strings.Repeat("ä", maxWhy)
	if _, err := long.Sign(t.Context(), newKey(t)); err != nil {
		t.Errorf("a long reason is cut: %v", err)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hosts.yaml")
	one, two := newKey(t).Public(), newKey(t).Public()
	for _, err := range []error{Enroll(file, "web-1", one, false), Enroll(file, "web-2", two, false), Enroll(file, "web-1", one, false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	known, err := ReadHosts(file)
	if err != nil || len(known) != 2 || known["web-1"].ID() != one.ID() {
		t.Errorf("%v %v", known, err)
	}
	if err := Enroll(file, "web-1", newKey(t).Public(), false); err == nil || !strings.Contains(err.Error(), "has another key") {
		t.Errorf("%v", err)
	}
	if err := Enroll(file, "web-3", two, false); err == nil || !strings.Contains(err.Error(), "hosts web-2 and web-3 have one key") {
		t.Errorf("%v", err)
	}
	if err := Enroll(file, "../x", two, false); err == nil {
		t.Error("it takes a path")
	}
	if err := Enroll(file, "web-1", newKey(t).Public(), true); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"apiVersion: ampoule/v1\nhosts:\n  web-1: {public: '%%'}\n":                           "hosts.yaml:3:19: ",
		"apiVersion: ampoule/v1\nhosts:\n  web-1: {public: AAAA}\n":                           "hosts.yaml:3:19: host web-1: ",
		"apiVersion: ampoule/v1\nhosts:\n  web-1: {role: host, public: " + one.Text() + "}\n": "hosts.yaml:3:11: ",
		"apiVersion: ampoule/v1\nhosts:\n  'a/b': {public: " + one.Text() + "}\n":             "hosts.yaml:3:3: ",
	} {
		_, err := ParseHosts("hosts.yaml", []byte(text))
		var all recipes.Faults
		if !errors.As(err, &all) || !strings.HasPrefix(all[0].String(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadHosts(file + "x"); err == nil || !strings.Contains(err.Error(), "there is no list of hosts") {
		t.Errorf("%v", err)
	}
}

// What others put into the directory keeps nobody waiting, and leads nowhere else.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	by := newKey(t)
	r := sample()
	data, err := r.Sign(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "report")
	if err := errors.Join(
		syscall.Mkfifo(filepath.Join(dir, "pipe"+suffix), 0o666), os.Mkdir(filepath.Join(dir, "dir"+suffix), 0o755),
		os.WriteFile(elsewhere, data, 0o644), os.Symlink(elsewhere, filepath.Join(dir, r.file())),
	); err != nil {
		t.Fatal(err)
	}
	found, refused, err := Keys{"web-1": by.Public()}.ReadDir(t.Context(), dir)
	if err != nil || len(found) != 0 || len(refused) != 3 {
		t.Error(found, refused, err)
	}
}
