package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"ampoule/registry/install"
	"ampoule/tree"
)

// tarLimits bound the tar streams that are read: far above any image's.
var tarLimits = tree.Limits{Entries: 2_000_000, Bytes: 64 << 30}

func newTree(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tree",
		Short: "Looks at trees of files",
		Long:  "Tree has verbs that look at trees of files, on disk or in tar archives.",
		Args:  usage(noVerb),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTreeHash(s))
	return cmd
}

func newTreeHash(s *Session) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "hash DIR|TAR|-",
		Short: "Prints the hash of a tree",
		Long: `Hash reads a tree of files from a directory, from an uncompressed tar archive, or
from an archive on stdin, and prints its hash. It covers paths, kinds,
permissions, contents and targets of links; owners and times are no part of it.
Two places with one hash hold one tree.`,
		Example: `  ampoule tree hash /opt/web/current/
  docker export CONTAINER | ampoule tree hash - --prefix opt/ampoule`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return TreeHash(s, args[0], prefix) },
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "hash only what is below this directory of the tree")
	return cmd
}

// TreeHash prints the hash of the tree in a directory or tar archive; source "-" is
// an archive on the session's input. A prefix selects what is below it.
func TreeHash(s *Session, source, prefix string) error {
	if prefix != "" {
		prefix = filepath.ToSlash(filepath.Clean(prefix))
		if err := tree.CheckPath(prefix); err != nil {
			return &UsageError{Verb: "ampoule tree hash", Err: fmt.Errorf("--prefix: %w", err)}
		}
	}
	t, done, err := openTree(s.In, source, prefix)
	if err != nil {
		return err
	}
	defer done()
	return s.print(t.Hash(), struct {
		Tree    string `json:"tree"`
		Entries int    `json:"entries"`
	}{t.Hash(), t.Len()})
}

// openTree reads a tree. Its contents can be read until done is called.
func openTree(stdin io.Reader, source, prefix string) (t *tree.Tree, done func(), err error) {
	if source != "-" {
		info, err := os.Stat(filepath.Join(source, prefix))
		switch {
		case errors.Is(err, syscall.ENOTDIR):
			// The prefix is one inside an archive.
			info, err = os.Stat(source)
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, notFound(filepath.Join(source, prefix), "")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("opening tree: %w", err)
		}
		if info.IsDir() {
			// The directory may be named by a link, which is not followed inside a tree.
			dir, err := filepath.EvalSymlinks(filepath.Join(source, prefix))
			if err != nil {
				return nil, nil, fmt.Errorf("opening tree: %w", err)
			}
			t, err := tree.FromDir(dir)
			return install.AsArtifact(dir, t), func() {}, err
		}
	}
	f, err := openTar(stdin, source)
	if err != nil {
		return nil, nil, err
	}
	t, err = fromTar(f, prefix)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return t, func() { f.Close() }, nil
}

// fromTar reads the tree in an archive, or what is below a directory of it.
func fromTar(f *os.File, prefix string) (*tree.Tree, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	t, err := tree.FromTar(f, info.Size(), tarLimits)
	if err != nil || prefix == "" {
		return t, err
	}
	if e, ok := t.Lookup(prefix); !ok || e.Kind != tree.Dir {
		return nil, notFound("directory "+prefix+" in the archive", "")
	}
	return t.Sub(prefix), nil
}

// openTar opens an archive for reading anywhere in it: a stream is copied to a file
// without a name first.
func openTar(stdin io.Reader, source string) (*os.File, error) {
	if source != "-" {
		f, err := os.Open(source)
		if err != nil {
			return nil, fmt.Errorf("opening tree: %w", err)
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "ampoule-tree-*.tar")
	if err != nil {
		return nil, fmt.Errorf("keeping the archive: %w", err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, stdin)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the archive: %w", errors.Join(err, f.Close()))
	}
	return f, nil
}
