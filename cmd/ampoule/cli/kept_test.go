package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/store"
	"ampoule/wiring"
)

// What fetch keeps is listed, stays, and may be let go.
func TestStoreKept(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	st, err := store.Open(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(name, keyDigit, content string) string {
		sum, size, err := st.Put(t.Context(), strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		in := builder.Inputs{Name: name, Key: "sha256:" + strings.Repeat(keyDigit, 64), Files: []builder.Input{{SHA256: sum, Size: size}}}
		if err := st.RecordDurably(builder.InputsKind, in.Key, in); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	old, now, other := keep("web", "1", "old"), keep("web", "2", "newer"), keep("api", "3", "another")
	left := func() string {
		t.Helper()
		images := 0
		collected := func(context.Context) (int, error) { images++; return 2, nil }
		if err := StoreCollect(t.Context(), s, st, store.Keep{}, nil, collected); err != nil || images != 1 {
			t.Fatalf("%v, images were collected %d times", err, images)
		}
		var there []string
		for _, c := range []struct{ name, sum string }{{"old", old}, {"now", now}, {"other", other}} {
			if st.Has(c.sum) {
				there = append(there, c.name)
			}
		}
		return strings.Join(there, " ")
	}
	if got := left(); got != "old now other" || !strings.Contains(errs.String(), "removed 2 images from Docker") {
		t.Errorf("left %q, said %s", got, errs)
	}
	out.Reset()
	if err := StoreKept(s, st, nil); err != nil {
		t.Fatal(err)
	}
	want := "api  333333333333  1 files  7 B\nweb  111111111111  1 files  3 B\nweb  222222222222  1 files  5 B\n"
	if out.String() != want {
		t.Errorf("listed\n%swant\n%s", out, want)
	}
	for _, c := range []struct{ forget, left string }{{strings.Repeat("1", 12), "now other"}, {"web", "other"}} {
		out.Reset()
		if err := StoreKept(s, st, []string{c.forget}); err != nil || !strings.HasPrefix(out.String(), "web  ") {
			t.Fatalf("%v, told %s", err, out)
		}
		if got := left(); got != c.left {
			t.Errorf("without %s: left %q", c.forget, got)
		}
	}
	// A few digits are no key, and nothing of what was named before goes.
	if err := StoreKept(s, st, []string{"api", "333"}); ExitCode(err) != codeNotFound {
		t.Errorf("an unknown build: %v", err)
	}
	s.Output = JSON
	out.Reset()
	var listed []keptBuild
	if err := errors.Join(StoreKept(s, st, nil), json.Unmarshal(out.Bytes(), &listed)); err != nil || len(listed) != 1 || listed[0].Name != "api" || listed[0].Size != 7 {
		t.Errorf("%+v, %v", listed, err)
	}
}

// A collection that could not ask Docker has collected all the same.
func TestStoreCollectWithoutDocker(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	st, err := store.Open(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	away := func(context.Context) (int, error) { return 0, errors.New("no engine") }
	if err := StoreCollect(t.Context(), s, st, store.Keep{Unused: time.Hour}, nil, away); err != nil || !strings.Contains(errs.String(), "Docker's images stay: no engine") {
		t.Errorf("%v, said %s, told %s", err, errs, out)
	}
	if n, err := (&wiring.Parts{Store: st}).RemoveImages(t.Context()); n != 0 || err != nil {
		t.Errorf("a store that never asked Docker: %d, %v", n, err)
	}
}

// A flag counts before the configuration, and that before the default.
func TestKeeping(t *testing.T) {
	t.Parallel()
	set := config.Bounds{Set: true, Limit: 7, Keep: time.Hour, Published: 2 * time.Hour}
	unused, artifacts, err := keeping("", "", "", set)
	if err != nil || unused.Unused != time.Hour || unused.Limit != 7 || artifacts.Unused != 2*time.Hour {
		t.Errorf("the configuration: %+v, %+v, %v", unused, artifacts, err)
	}
	unused, artifacts, err = keeping("0h", "9", "3d", set)
	if err != nil || unused.Unused != 0 || unused.Limit != 9 || artifacts.Unused != 72*time.Hour {
		t.Errorf("flags: %+v, %+v, %v", unused, artifacts, err)
	}
	for _, wrong := range [][3]string{{"soon"}, {"", "big"}, {"", "", "0d"}} {
		if _, _, err := keeping(wrong[0], wrong[1], wrong[2], set); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
