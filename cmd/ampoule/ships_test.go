package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRoomsShip wants below cmd/ the program that ships and nothing else: what measures it
// is a module of its own, with its own go.mod.
func TestRoomsShip(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"ampoule"}, names); diff != "" {
		t.Errorf("below cmd/ (-want +got):\n%s", diff)
	}
	if _, err := os.Stat("../../bench/go.mod"); err != nil {
		t.Errorf("bench is no module of its own: %v", err)
	}
}
