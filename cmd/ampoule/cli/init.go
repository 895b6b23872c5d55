package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ampoule/recipes/suggest"
	"ampoule/system"
)

func newInit(s *Session) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Writes a first recipe from what a directory holds, or from the catalogue",
		Long: `Init reads what a directory says about its Python, its requirements and its image
(.python-version, pyproject.toml, setup.py, lock and requirements files, Dockerfile
and the like) and writes a recipe for it that keeps the pins. Nothing of the project
runs. What it could not take over it lists with file and line, what to do, and as
comments at the end of the recipe. docs/init.md says what is found. The result is the
recipe's path.

With --adopt the recipe accepts all published wheels for 90 days: only the interpreter
is compiled, and the gate judges the wheels as they are. ampoule plan lists what is
left to build each from source.

With --from it copies a recipe of the catalogue that ships with Ampoule instead,
with its lock and the files that it names; the directory is made if it is missing,
and nothing that is there is replaced. --list lists the catalogue.`,
		Example: `  ampoule init
  ampoule init services/web --force
  ampoule init --adopt
  ampoule init --list
  ampoule init --from web services/web`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(s, cmd, args)
		},
	}
	cmd.Flags().BoolVar(&f.force, "force", false, "replace a recipe that is there")
	cmd.Flags().BoolVar(&f.adopt, "adopt", false, "accept all published wheels for 90 days")
	cmd.Flags().StringVar(&f.from, "from", "", "copy this recipe of the catalogue")
	cmd.Flags().BoolVar(&f.list, "list", false, "list the recipes of the catalogue")
	if err := cmd.RegisterFlagCompletionFunc("from", completeCatalogue); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// initFlags are the verb's own flags.
type initFlags struct {
	force, list, adopt bool
	from               string
}

// run does one of the three things that the verb does.
func (f initFlags) run(s *Session, cmd *cobra.Command, args []string) error {
	wrong := func(what string) error { return &UsageError{Verb: cmd.CommandPath(), Err: errors.New(what)} }
	copies := cmd.Flags().Changed("from")
	switch {
	case f.list && (len(args) > 0 || copies || f.force || f.adopt):
		return wrong("--list goes with nothing else")
	case f.list:
		return ListCatalogue(s)
	case len(args) == 1 && cmd.Flags().Changed("file"):
		return wrong("a directory and --file say the same thing twice")
	case copies && f.adopt:
		return wrong("--adopt does not go with --from, whose recipes are whole")
	case copies && f.force:
		return wrong("--force does not go with --from, which replaces nothing")
	}
	if len(args) == 1 {
		s.Recipe = filepath.Join(args[0], s.Recipe)
	}
	if copies {
		return InitFrom(s, f.from)
	}
	var o suggest.Options
	if f.adopt {
		o.Adopt = time.Now()
	}
	return Init(s, filepath.Dir(s.Recipe), f.force, o)
}

// Init writes the session's recipe from what a directory holds.
func Init(s *Session, dir string, force bool, o suggest.Options) error {
	suggested, err := suggest.Recipe(dir, o)
	if err != nil {
		return fmt.Errorf("suggesting a recipe for %s: %w", dir, err)
	}
	if err := writeNew(s.Recipe, suggested.Recipe, force); err != nil {
		return err
	}
	for _, note := range suggested.Chosen {
		s.note("%s", note)
	}
	if len(suggested.Left) > 0 {
		s.tell("not taken over, see the end of the recipe:")
	}
	for _, left := range suggested.Left {
		s.tell("  %s", left)
	}
	return s.print(s.Recipe, initResult{s.Recipe, append([]string{}, suggested.Chosen...), append([]suggest.Left{}, suggested.Left...)})
}

// initResult is the verb's result as JSON.
type initResult struct {
	Recipe string         `json:"recipe"`
	Notes  []string       `json:"notes"`
	Left   []suggest.Left `json:"left"`
}

// writeNew writes a file that must not be there yet, unless force is set.
func writeNew(path string, data []byte, force bool) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil && !force:
		return &UsageError{Verb: "ampoule init", Err: fmt.Errorf("%s is there already: --force replaces it", path)}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("writing recipe: %w", err)
	}
	if err := replaceFile(path, data); err != nil {
		return fmt.Errorf("writing recipe: %w", err)
	}
	return nil
}

// replaceFile writes a file that is seen whole or as it was before.
func replaceFile(path string, data []byte) error { return replaceBy(path, bytes.NewReader(data)) }

// replaceBy writes a file that is seen when all of the content is on disk. It is written in
// its own directory, whatever TMPDIR says, and readable by all, whatever the umask says and
// the file before was.
func replaceBy(path string, content io.Reader) error {
	return replaceWith(path, func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	})
}

// replaceWith writes a file in one step.
func replaceWith(path string, write func(io.Writer) error) error {
	return system.Replace(path, 0o644, write)
}
