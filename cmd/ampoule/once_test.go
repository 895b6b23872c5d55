package main

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// storeCalls are the methods of the store of which builder/once is made, by their numbers of
// arguments. Others of these names have other numbers: a mutex has none, locking has four.
var storeCalls = map[string]int{"Lock": 2, "LockNoted": 4, "Lookup": 3, "Record": 3}

// byThemselves are the calls of those methods below builder that do not go through builder/once,
// and why: nobody could wait there for something that another build makes.
var byThemselves = map[string]string{
	"builder/cpython/memory.go Lookup":   "what compiling held is measured",
	"builder/cpython/memory.go Record":   "what compiling held is measured",
	"builder/failure/failure.go Lock":    "it guards a list that is read and written",
	"builder/failure/failure.go Lookup":  "a failure is kept, not made",
	"builder/failure/failure.go Record":  "a failure is kept, not made",
	"builder/fetch/clients.go Lookup":    "what mirrors the machine's clients have, for an hour",
	"builder/fetch/clients.go Record":    "what mirrors the machine's clients have, for an hour",
	"builder/fetch/download.go Lookup":   "where a download stopped",
	"builder/fetch/download.go Record":   "where a download stopped",
	"builder/gate/gate.go Lookup":        "in which order an image had its layers",
	"builder/gate/gate.go Record":        "in which order an image had its layers",
	"builder/gate/memory.go Lookup":      "what loading showed is added to; it counts under conditions that no key has",
	"builder/gate/memory.go Record":      "what loading showed is added to; it counts under conditions that no key has",
	"builder/gate/pure.go Lookup":        "what imports showed counts under conditions that no key has",
	"builder/gate/pure.go Record":        "what imports showed counts under conditions that no key has",
	"builder/layers/index.go Lookup":     "an index of a layer counts when it gives the tree's hash",
	"builder/layers/index.go Record":     "an index of a layer counts when it gives the tree's hash",
	"builder/locking/previous.go Lookup": "that a backend was asked is noted",
	"builder/locking/previous.go Record": "that a backend was asked is noted",
	"builder/wheels/order.go Lookup":     "how long a build took, and what it held, is measured",
	"builder/wheels/order.go Record":     "how long a build took, and what it held, is measured",
}

// No stage takes a lock of the store, or looks up and records what it makes, by itself: what
// several builds want is made by builder/once, in one order, with the waiting told.
func TestStagesGoThroughOnce(t *testing.T) {
	t.Parallel()
	found, err := ownCalls(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range found {
		if byThemselves[call] == "" {
			t.Errorf("%s: what several builds may want goes through builder/once", call)
		}
	}
	for call := range byThemselves {
		if !slices.Contains(found, call) {
			t.Errorf("%s: nothing calls it any more", call)
		}
	}
}

// The rule sees calls on any expression, and none of what only has the same name.
func TestOwnCallsAreFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for dir, text := range map[string]string{
		"builder/once":  `func f(s *store) { s.LockNoted(ctx, "a", nil, nil) }`,
		"builder/wheel": `func f(s *stage) { s.mu.Lock(); s.Builder.Lock(ctx, 1, 2, 3); func() { s.Store.Lock(ctx, "a") }() }`,
		"builder/a/b":   `func f(s *store) { if _, err := s.Lookup("k", "k", &v); err != nil { s.Record("k", "k", v) }; tree.Lookup("x") }`,
		"store":         `func f(s *store) { s.Lock(ctx, "a") }`,
	} {
		dir = filepath.Join(root, filepath.FromSlash(dir))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte("package x\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ownCalls(root)
	if diff := cmp.Diff([]string{"builder/a/b/x.go Lookup", "builder/a/b/x.go Record", "builder/wheel/x.go Lock"}, got); diff != "" || err != nil {
		t.Errorf("%v; calls (-want +got):\n%s", err, diff)
	}
}

// ownCalls lists the files below builder that call methods of the store by themselves, each with
// the method. Those of builder/once are left out.
func ownCalls(root string) ([]string, error) {
	sources, err := parseSources(filepath.Join(root, "builder"))
	if err != nil {
		return nil, err
	}
	var calls []string
	for _, files := range sources.dirs {
		for _, file := range files {
			name, err := filepath.Rel(root, sources.files.Position(file.Package).Filename)
			if err != nil {
				return nil, err
			}
			if name = filepath.ToSlash(name); path.Dir(name) == "builder/once" {
				continue
			}
			for _, method := range methodsCalled(file) {
				calls = append(calls, name+" "+method)
			}
		}
	}
	slices.Sort(calls)
	return slices.Compact(calls), nil
}

// methodsCalled lists which of the store's methods a file calls.
func methodsCalled(file *ast.File) []string {
	var methods []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); ok && storeCalls[method.Sel.Name] == len(call.Args) && len(call.Args) > 0 {
			methods = append(methods, method.Sel.Name)
		}
		return true
	})
	return methods
}
