package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// TestRoomsModules wants the Makefile to go over each module that there is.
func TestRoomsModules(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	found, err := filepath.Glob(filepath.Join(root, "*", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	modules := []string{"."}
	for _, file := range found {
		modules = append(modules, filepath.Base(filepath.Dir(file)))
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^MODULES := (.*)$`).FindStringSubmatch(string(makefile))
	if listed == nil {
		t.Fatal("the Makefile lists no MODULES")
	}
	if diff := cmp.Diff(modules, strings.Fields(listed[1])); diff != "" {
		t.Errorf("modules (-there are +in the Makefile):\n%s", diff)
	}
}
