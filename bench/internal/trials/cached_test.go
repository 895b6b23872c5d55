package trials

import (
	"os"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

// Both sides fill their caches, and are measured with nothing else.
func TestCached(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t)
	got, err := trials.Cached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "empty store, filled cache" || got.Value <= 0 || got.Limit != limitCached || !strings.Contains(got.Of, "--cache-from") {
		t.Errorf("figure %+v", got)
	}
	if all := recordedIn[recorded.Figure](t, trials, recorded.BenchFile); len(all) != 1 || all[0] != got {
		t.Errorf("recorded %+v", all)
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, want := range []string{"cache keygen ", "build ", "--cache-key", "docker build ", "docker push ", "docker push ", "docker image rm ", "build ", "docker pull ", "--cache-from"} {
		i := strings.Index(string(text)[at:], want)
		if i < 0 {
			t.Fatalf("no %q behind the first %d bytes of\n%s", want, at, text)
		}
		at += i + len(want)
	}
}

// What was compiled, or built again, makes no figure.
func TestCachedNotAtAll(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{"FAKE_CACHE=lost": "were compiled", "FAKE_LAYERS=lost": "did not take all of its 2 steps"} {
		trials, _ := faked(t, env)
		if got, err := trials.Cached(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", env, got, err)
		}
	}
}
