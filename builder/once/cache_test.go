package once_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/once"
	"ampoule/builder/once/oncetest"
	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/store"
)

const kind, key = "thing", "the key"

func emptyStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// What one store made another one reads from the cache, and makes nothing. It then has it itself.
func TestCache(t *testing.T) {
	t.Parallel()
	shelf, first, second := oncetest.New(), emptyStore(t), emptyStore(t)
	get := func(st *store.Store, produce func(context.Context) (string, error)) (string, bool, once.Tally, progress.Event) {
		t.Helper()
		r := progresstest.New()
		ctx, use := once.Using(r.Context(t.Context()), shelf.At(st))
		task := progress.Start(ctx, progress.StageWheel, "x==1")
		sum, found, err := once.Remembered(ctx, st, task, kind, key, produce)
		task.Finish(found, err)
		if err != nil {
			t.Fatal(err)
		}
		tally, events := use.End(), r.Events()
		return sum, found, tally, events[len(events)-1]
	}
	never := func(context.Context) (string, error) { return "", errors.New("it is made again") }
	sum, found, tally, _ := get(first, func(ctx context.Context) (string, error) {
		sum, _, err := first.Put(ctx, strings.NewReader("made"))
		return sum, err
	})
	if found || tally != (once.Tally{Made: 1}) || !slices.Equal(shelf.Keys(), []string{"thing the key"}) {
		t.Errorf("made: %v, %+v, put %q", found, tally, shelf.Keys())
	}
	again, found, tally, last := get(second, never)
	if again != sum || !found || tally != (once.Tally{Cached: 1}) {
		t.Errorf("from the cache: %s, %v, %+v", again, found, tally)
	}
	if last.Kind != progress.Done || !last.Reused || last.Cache != oncetest.Name {
		t.Errorf("it ends with %+v", last)
	}
	if err := second.Verify(t.Context(), sum); err != nil {
		t.Error(err)
	}
	asked := len(shelf.Asked())
	if _, _, tally, last = get(second, never); tally != (once.Tally{Found: 1}) || len(shelf.Asked()) != asked || last.Cache != "" {
		t.Errorf("from the store: %+v, asked %d times more, %+v", tally, len(shelf.Asked())-asked, last)
	}
}

// An entry that names other content than it has, or is not of the kind's form, is made anew.
func TestCacheOfOtherForm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*once.Entry){
		"other content": func(e *once.Entry) { e.Content = []string{strings.Repeat("2", 64)} },
		"no content":    func(e *once.Entry) { e.Content = nil },
		"other type":    func(e *once.Entry) { e.Value = []byte(`{"a": 1}`) },
	} {
		shelf, st := oncetest.New(), emptyStore(t)
		shelf.Change("thing the key", func(e *once.Entry) {
			*e = once.Entry{Kind: kind, Key: key, Value: []byte(`"` + strings.Repeat("1", 64) + `"`), Content: []string{strings.Repeat("1", 64)}}
			change(e)
		})
		r := progresstest.New()
		ctx, use := once.Using(r.Context(t.Context()), shelf.At(st))
		got, found, err := once.Remembered(ctx, st, progress.Start(ctx, progress.StageWheel, "x==1"), kind, key, func(context.Context) (string, error) { return "anew", nil })
		if use.End(); got != "anew" || found || err != nil {
			t.Errorf("%s: %q, %v, %v", name, got, found, err)
		}
		if !slices.ContainsFunc(r.Events(), func(e progress.Event) bool { return e.Kind == progress.Warned && e.Task == "x==1" }) {
			t.Errorf("%s: nobody is told", name)
		}
	}
}

// What is looked for before it is made is asked for once, and what is this store's alone never.
func TestCacheIsAskedOnce(t *testing.T) {
	t.Parallel()
	shelf, st := oncetest.New(), emptyStore(t)
	ctx, use := once.Using(t.Context(), shelf.At(st))
	if _, found, err := once.Look[int](ctx, st, kind, key); found || err != nil {
		t.Fatalf("%v, %v", found, err)
	}
	produce := func(context.Context) (int, error) { return 7, nil }
	for key, ctx := range map[string]context.Context{key: ctx, "own": once.Alone(ctx)} {
		got, found, err := once.Remembered(ctx, st, progress.Later(ctx, progress.StageWheel, "x"), kind, key, produce)
		if got != 7 || found || err != nil {
			t.Errorf("%s: %d, %v, %v", key, got, found, err)
		}
	}
	if tally := use.End(); tally != (once.Tally{Made: 1}) {
		t.Errorf("%+v", tally)
	}
	want := []string{"thing the key"}
	if diff := cmp.Diff(want, shelf.Asked()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, shelf.Keys()); diff != "" {
		t.Errorf("put (-want +got):\n%s", diff)
	}
	// Another build on an empty store finds it without making it.
	other := emptyStore(t)
	ctx, use = once.Using(t.Context(), shelf.At(other))
	if got, found, err := once.Look[int](ctx, other, kind, key); got != 7 || !found || err != nil {
		t.Errorf("%d, %v, %v", got, found, err)
	}
	if tally := use.End(); tally != (once.Tally{Cached: 1}) {
		t.Errorf("%+v", tally)
	}
}
