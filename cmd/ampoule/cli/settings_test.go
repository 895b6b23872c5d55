package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"ampoule/config"
)

// TestSettingsAreCurrent compares docs/settings.md with what can be set.
func TestSettingsAreCurrent(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "..", "docs", "settings.md")
	got := settingsReference()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not current; `go test ./cmd/ampoule/cli -update` writes it (-is +should be):\n%s", file, diff)
	}
}

// settingsReference is the table of all settings, in Markdown.
func settingsReference() string {
	var b strings.Builder
	b.WriteString("# Settings\n\n" +
		"<!-- Generated from package config; `go test ./cmd/ampoule/cli -update` writes it anew. -->\n\n" +
		"What can be set, and where. A flag counts before a variable, a variable before `config.toml`, and the file before\n" +
		"the default. None of it enters a lock or a key. The file is `ampoule/config.toml` in the user's configuration directory;\n" +
		"what is wrong in it is told with its line and column, and ends with code 3. A variable that is empty is not set.\n\n" +
		"| what | flag | variable | key in `config.toml` | default |\n|---|---|---|---|---|\n")
	quoted := func(texts ...string) string {
		for i, text := range texts {
			if text != "" {
				texts[i] = "`" + text + "`"
			}
		}
		return strings.Join(texts, ", ")
	}
	for _, s := range config.Settings() {
		flag := ""
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		if s.Of != "" {
			flag += " of " + quoted(strings.Split(s.Of, ", ")...)
		}
		variable := quoted(slices.Clone(s.Variables)...)
		if s.Reader != "" {
			variable += " (read by " + s.Reader + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.What, flag, variable, quoted(s.Key), s.Default)
	}
	return b.String()
}

// Each flag in the table is one, and all flags of all commands are in it.
func TestSettingsHaveTheFlags(t *testing.T) {
	t.Parallel()
	root := Root(&Session{})
	var global []string
	for _, s := range config.Settings() {
		switch {
		case s.Flag == "":
		case s.Of == "":
			global = append(global, s.Flag)
		default:
			for _, verb := range strings.Split(s.Of, ", ") {
				cmd, _, err := root.Find(strings.Fields(verb))
				if err != nil || cmd.Flags().Lookup(s.Flag) == nil {
					t.Errorf("%s has no flag --%s: %v", verb, s.Flag, err)
				}
			}
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(global, f.Name) {
			t.Errorf("--%s is in no setting", f.Name)
		}
	})
	for _, name := range global {
		if root.PersistentFlags().Lookup(name) == nil {
			t.Errorf("--%s is no flag of all commands", name)
		}
	}
}
