package trials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// system makes a directory with a Debian system of a suite and of packages, which are separated by commas,
// once. What stands on another one, which before removes, goes with it.
func (t *Trials) system(ctx context.Context, name, suite, packages string, before ...func() error) (string, error) {
	dir := filepath.Join(t.Machines, name)
	return dir, once(dir, suite+" "+packages, func() error {
		t.Say("making a %s system", suite)
		for _, remove := range before {
			if err := remove(); err != nil {
				return err
			}
		}
		_, err := t.Bootstrap.Run(ctx, "--variant=minbase", "--format=directory", "--include="+packages, suite, dir)
		return err
	})
}

// once does work that fills a directory, unless the same has filled it before: what it was made of is
// noted beside it. What other work has left there is removed first.
func once(dir, of string, work func() error) error {
	done := dir + ".made"
	if made, err := os.ReadFile(done); err == nil && string(made) == of {
		return nil
	}
	if err := errors.Join(os.RemoveAll(done), os.RemoveAll(dir), os.MkdirAll(filepath.Dir(dir), 0o755)); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	return os.WriteFile(done, []byte(of), 0o644)
}
