package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ampoule/recipes"
)

func newInit(s *Session) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Writes a first recipe from what a directory holds, or from the catalogue",
		Long: `Init reads what a directory says about its Python and its requirements
(.python-version, pyproject.toml, requirements files and the like) and writes a
recipe for it. It says what it chose and what it could not know. The result is the
recipe's path.

With --from it copies a recipe of the catalogue that ships with Ampoule instead,
with its lock and the files that it names; the directory is made if it is missing,
and nothing that is there is replaced. --list lists the catalogue.`,
		Example: `  ampoule init
  ampoule init services/web --force
  ampoule init --list
  ampoule init --from web services/web`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(s, cmd, args)
		},
	}
	cmd.Flags().BoolVar(&f.force, "force", false, "replace a recipe that is there")
	cmd.Flags().StringVar(&f.from, "from", "", "copy this recipe of the catalogue")
	cmd.Flags().BoolVar(&f.list, "list", false, "list the recipes of the catalogue")
	if err := cmd.RegisterFlagCompletionFunc("from", completeCatalogue); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// initFlags are the verb's own flags.
type initFlags struct {
	force, list bool
	from        string
}

// run does one of the three things that the verb does.
func (f initFlags) run(s *Session, cmd *cobra.Command, args []string) error {
	wrong := func(what string) error { return &UsageError{Verb: cmd.CommandPath(), Err: errors.New(what)} }
	copies := cmd.Flags().Changed("from")
	switch {
	case f.list && (len(args) > 0 || copies || f.force):
		return wrong("--list goes with nothing else")
	case f.list:
		return ListCatalogue(s)
	case len(args) == 1 && cmd.Flags().Changed("file"):
		return wrong("a directory and --file say the same thing twice")
	case copies && f.force:
		return wrong("--force does not go with --from, which replaces nothing")
	}
	if len(args) == 1 {
		s.Recipe = filepath.Join(args[0], s.Recipe)
	}
	if copies {
		return InitFrom(s, f.from)
	}
	return Init(s, filepath.Dir(s.Recipe), f.force)
}

// Init writes the session's recipe from what a directory holds.
func Init(s *Session, dir string, force bool) error {
	recipe, notes, err := recipes.Suggest(dir)
	if err != nil {
		return fmt.Errorf("suggesting a recipe for %s: %w", dir, err)
	}
	if err := writeNew(s.Recipe, recipe, force); err != nil {
		return err
	}
	for _, note := range notes {
		s.tell("note: %s", note)
	}
	return s.print(s.Recipe, struct {
		Recipe string   `json:"recipe"`
		Notes  []string `json:"notes"`
	}{s.Recipe, append([]string{}, notes...)})
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
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	return errors.Join(err, f.Cleanup())
}
