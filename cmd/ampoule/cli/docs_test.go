package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write generated files anew")

// TestCommandsAreCurrent compares docs/commands.md with the command line.
func TestCommandsAreCurrent(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "..", "docs", "commands.md")
	got := commandsReference(Root(&Session{}))
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

// commandsReference is the reference of a command line, in Markdown.
func commandsReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" +
		"<!-- Generated from cmd/ampoule/cli; `go test ./cmd/ampoule/cli -update` writes it anew. -->\n\n")
	// The table stands below in its own form.
	long, _, _ := strings.Cut(root.Long, exitHelp())
	b.WriteString(prose(long) + "\n")
	writeExample(&b, root)
	commands := below(root)
	b.WriteString("| command | what it does |\n|---|---|\n")
	for _, cmd := range commands {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", cmd.CommandPath(), anchor(cmd), cell(cmd.Short))
	}
	b.WriteString("\n## Flags of all commands\n\n")
	writeFlags(&b, root.PersistentFlags())
	b.WriteString("What is written with `--progress json` is described in [events.md](events.md).\n" +
		"What is written with `--output json` where there is no result is described in [failures.md](failures.md).\n\n")
	b.WriteString("## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, row := range exitCodes() {
		fmt.Fprintf(&b, "| %d | %s |\n", row.code, cell(row.means))
	}
	b.WriteString("\n")
	b.WriteString("`ampoule run`, `ampoule ci run` and `ampoule exec` end with the code of the program that they run.\n\n")
	b.WriteString("`ampoule completion SHELL` prints a script that makes a shell complete all this.\n\n")
	for _, cmd := range commands {
		fmt.Fprintf(&b, "## `%s`\n\n%s\n```\n%s\n```\n\n", cmd.CommandPath(), prose(cmd.Long), cmd.UseLine())
		writeFlags(&b, cmd.LocalNonPersistentFlags())
		writeExample(&b, cmd)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// below lists the commands below one, in the order of their names, each before its own.
func below(cmd *cobra.Command) []*cobra.Command {
	var found []*cobra.Command
	for _, sub := range cmd.Commands() {
		found = append(append(found, sub), below(sub)...)
	}
	return found
}

// anchor is the fragment that a command's heading has in rendered Markdown.
func anchor(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// cell keeps a text from ending a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// prose is a help text as paragraphs; its indented lines become a block of code.
func prose(text string) string {
	var b strings.Builder
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(paragraph, "  ") {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", dedent(paragraph))
			continue
		}
		b.WriteString(paragraph + "\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// dedent takes the two spaces off that help texts indent with.
func dedent(text string) string {
	return strings.TrimPrefix(strings.ReplaceAll(text, "\n  ", "\n"), "  ")
}

// writeFlags writes a table of flags, if there are any.
func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	var rows strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		says, fallback := withDefault(f)
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", cell(flagName(f)), cell(says), cell(fallback))
	})
	if rows.Len() > 0 {
		fmt.Fprintf(b, "| flag | meaning | default |\n|---|---|---|\n%s\n", rows.String())
	}
}

// flagName is how a flag is written: with its short form, and its value if it takes one.
func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	switch {
	case f.Value.Type() == "bool":
		return name
	case f.NoOptDefVal != "":
		return name + "[=VALUE]"
	}
	return name + " VALUE"
}

var statedDefault = regexp.MustCompile(` \(default: (.*)\)$`)

// withDefault parts what a flag's usage says from its default: the one that the
// usage states, else the flag's own value. A flag without either has an empty one.
func withDefault(f *pflag.Flag) (meaning, fallback string) {
	if stated := statedDefault.FindStringSubmatch(f.Usage); stated != nil {
		return strings.TrimSuffix(f.Usage, stated[0]), stated[1]
	}
	switch f.DefValue {
	case "", "[]", "false":
		return f.Usage, ""
	}
	return f.Usage, "`" + f.DefValue + "`"
}

// writeExample writes a command's examples, if it has any.
func writeExample(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Example != "" {
		fmt.Fprintf(b, "```sh\n%s\n```\n\n", dedent(cmd.Example))
	}
}

func TestCommandsReference(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "x", Long: "X does.", Example: "  x go", Run: func(*cobra.Command, []string) {}}
	root.PersistentFlags().StringP("file", "f", "a.yaml", "the file")
	group := &cobra.Command{Use: "many", Short: "Has verbs"}
	verb := &cobra.Command{
		Use: "go A|B", Short: "Goes a|b", Long: "Go goes:\n\n  a  one\n  b  two", Example: "  x many go a\n  x many go b",
		Run: func(*cobra.Command, []string) {},
	}
	verb.Flags().Int("jobs", 0, "how many (default: all)")
	verb.Flags().Bool("force", false, "replace")
	verb.Flags().StringSlice("up", nil, "move")
	verb.Flags().Lookup("up").NoOptDefVal = "*"
	group.AddCommand(verb)
	root.AddCommand(group)
	got := commandsReference(root)
	for _, want := range []string{
		"X does.\n\n```sh\nx go\n```\n",
		"| [`x many go`](#x-many-go) | Goes a\\|b |\n",
		"| `-f, --file VALUE` | the file | `a.yaml` |\n",
		"| 3 | an input file",
		"| 130 | interrupted |\n",
		"\n## `x many`\n\n",
		"\n## `x many go`\n\nGo goes:\n\n```\na  one\nb  two\n```\n\n```\nx many go A|B [flags]\n```\n",
		"| `--force` | replace |  |\n| `--jobs VALUE` | how many | all |\n| `--up[=VALUE]` | move |  |\n",
		"```sh\nx many go a\nx many go b\n```\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
