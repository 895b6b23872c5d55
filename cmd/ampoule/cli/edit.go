package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/packaging"
	"ampoule/recipes/edit"
	"ampoule/service/client"
	"ampoule/system"
)

// EditOptions say where requirements are edited, and what follows.
type EditOptions struct {
	// Group is the dependency group that is meant; empty is the artifact.
	Group string
	// NoLock leaves the lock as it is.
	NoLock bool
}

func newAdd(s *Session) *cobra.Command {
	cmd := s.editing(Add)
	cmd.Use, cmd.Short = "add REQUIREMENT...", "Adds requirements where they are written, and locks"
	cmd.Long = `Add writes requirements where the recipe has the others: into its requirements file,
or into its own list. One of the same distribution with the same marker is
replaced. Comments and order stay. Then it locks as ampoule lock does; if that
fails, the files are as they were.

A requirements file that another tool wrote is edited by that tool.`
	cmd.Example = `  ampoule add 'flask>=3'
  ampoule add --group test pytest pytest-cov`
	return cmd
}

func newRemove(s *Session) *cobra.Command {
	cmd := s.editing(Remove)
	cmd.Use, cmd.Short = "remove NAME...", "Removes requirements where they are written, and locks"
	cmd.Long = `Remove takes all requirements of the named distributions out of the recipe's
requirements file, and out of the files that it includes, or out of the recipe's own
list. Comments and order of the others stay. Then it locks as ampoule lock does;
if that fails, the files are as they were.`
	cmd.Example = `  ampoule remove flask
  ampoule remove --group test pytest-cov`
	cmd.ValidArgsFunction = s.completeLocked
	return cmd
}

// editing makes a verb that edits requirements and locks.
func (s *Session) editing(verb func(context.Context, *Session, Locker, builder.Request, EditOptions, []string) error) *cobra.Command {
	var o EditOptions
	var bounds stepBounds
	cmd := &cobra.Command{
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			budget, err := bounds.check(cmd)
			if err != nil {
				return err
			}
			how := builder.Request{Budget: budget}
			if o.NoLock {
				return verb(cmd.Context(), s, nil, how, o, args)
			}
			return s.withLocker(cmd, client.Wishes{}, func(ctx context.Context, l Locker) error { return verb(ctx, s, l, how, o, args) })
		},
	}
	bounds.add(cmd)
	s.addCacheFlags(cmd)
	cmd.Flags().StringVar(&o.Group, "group", "", "edit the dependency group of this name")
	cmd.Flags().BoolVar(&o.NoLock, "no-lock", false, "edit only: the lock stays as it is, and is stale")
	return cmd
}

// Add adds requirements to the session's recipe, and locks unless o.NoLock is set.
func Add(ctx context.Context, s *Session, l Locker, how builder.Request, o EditOptions, args []string) error {
	var wanted []edit.Wanted
	for _, arg := range args {
		w, err := edit.Want(arg)
		if err != nil {
			return fmt.Errorf("adding %q: %w", arg, err)
		}
		wanted = append(wanted, w)
	}
	e, err := s.edits(o.Group)
	if err != nil {
		return err
	}
	if err := e.canAdd(wanted); err != nil {
		return err
	}
	for _, w := range wanted {
		if err := e.add(w); err != nil {
			return err
		}
	}
	return s.finishEdit(ctx, l, how, o, e)
}

// Remove removes all requirements of some names from the session's recipe, and locks unless
// o.NoLock is set.
func Remove(ctx context.Context, s *Session, l Locker, how builder.Request, o EditOptions, args []string) error {
	e, err := s.edits(o.Group)
	if err != nil {
		return err
	}
	if err := errors.Join(e.checkGroup(), e.canEdit("remove", args)); err != nil {
		return err
	}
	for _, arg := range args {
		if err := e.remove(packaging.NormalName(arg)); err != nil {
			return err
		}
	}
	return s.finishEdit(ctx, l, how, o, e)
}

// editResult is the result of the verbs as JSON.
type editResult struct {
	Changes []editChange `json:"changes"`
	// Lock is null if nothing was locked.
	Lock *lockResult `json:"lock"`
}

// finishEdit writes the files, and locks; if that fails, the files are as they were.
func (s *Session) finishEdit(ctx context.Context, l Locker, how builder.Request, o EditOptions, e *edits) error {
	var written []string
	for _, file := range slices.Sorted(maps.Keys(e.now)) {
		if bytes.Equal(e.before[file], e.now[file]) {
			continue
		}
		if err := rewriteFile(file, e.now[file]); err != nil {
			return errors.Join(fmt.Errorf("writing %s: %w", file, err), e.restore(written))
		}
		written = append(written, file)
	}
	for _, c := range e.changes {
		s.tell("%s", c)
	}
	result := editResult{Changes: e.changes}
	if o.NoLock {
		return s.print(strings.Join(e.places(), "\n"), result)
	}
	lock, err := s.lock(ctx, l, how, builder.LockOptions{})
	if err != nil {
		if len(written) > 0 {
			s.tell("nothing was locked: %s as before", strings.Join(written, ", "))
		}
		return errors.Join(err, e.restore(written))
	}
	result.Lock = &lock
	return s.print(strings.Join(append(e.places(), lock.Lock), "\n"), result)
}

// restore writes files as they were.
func (e *edits) restore(files []string) error {
	var failed []error
	for _, file := range files {
		if err := rewriteFile(file, e.before[file]); err != nil {
			failed = append(failed, fmt.Errorf("restoring %s: %w", file, err))
		}
	}
	return errors.Join(failed...)
}

// rewriteFile replaces the content of a person's file, which keeps its mode, and stays where a
// link leads to it.
func rewriteFile(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return system.WriteFile(path, data, 0o644)
}
