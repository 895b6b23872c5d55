package cli

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/service/client"
	"ampoule/wiring"
)

// Locker turns a recipe into a lock.
type Locker interface {
	Lock(ctx context.Context, req builder.Request, o builder.LockOptions) (*recipes.Lock, error)
}

// upgradeAll is the value of --upgrade without names.
const upgradeAll = "*"

func newLock(s *Session) *cobra.Command {
	var upgrade []string
	var keepGoing, all bool
	var bounds stepBounds
	var wishes client.Wishes
	cmd := &cobra.Command{
		Use:   "lock [--all [DIR]] [--upgrade [NAME...]]",
		Short: "Chooses versions and writes the lock",
		Long: `Lock finds every byte that may enter the build and writes it down by sha256:
base images, Debian packages, CPython's source, sdists and wheels, and what each
sdist needs to be built. It keeps every pin that still satisfies the recipe;
--upgrade moves them, all or only those that it names. Nothing but this verb
chooses a version.

With --all the recipes in a directory and below it are locked in one process, as ampoule
build --all finds them; names to upgrade then stand behind --upgrade=.

With --server a service locks, and the lock is written here.

The lock stands beside the recipe and belongs into version control. What changed
is told on stderr; the result is the lock's path.`,
		Example: `  ampoule lock
  ampoule lock --upgrade
  ampoule lock --upgrade flask jinja2
  ampoule lock --all services --upgrade=flask`,
		Args: usage(allArgs(&all, func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !cmd.Flags().Changed("upgrade") {
				return fmt.Errorf("%q: names belong to --upgrade", args[0])
			}
			return nil
		})),
		ValidArgsFunction: completeDirs(&all, s.completeLocked),
		RunE: func(cmd *cobra.Command, args []string) error {
			budget, err := bounds.check(cmd)
			if err != nil {
				return err
			}
			lock := func(ctx context.Context, b Locker) error {
				if all {
					o := upgrades(upgrade, nil)
					o.KeepGoing = keepGoing
					return LockAll(ctx, s, b, builder.Request{Budget: budget}, o, args)
				}
				o := upgrades(upgrade, args)
				o.KeepGoing = keepGoing
				return Lock(ctx, s, b, builder.Request{Budget: budget}, o)
			}
			return s.withLocker(cmd, wishes, lock)
		},
	}
	bounds.add(cmd)
	s.addCacheFlags(cmd)
	wishFlags(cmd, &wishes)
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "after a release or a service cannot be locked, lock the others too, and tell of all at the end")
	cmd.Flags().BoolVar(&all, "all", false, "lock all recipes in a directory and below it (default: the current one)")
	cmd.Flags().StringSliceVar(&upgrade, "upgrade", nil, "move pins to newer versions: all, or those of these names")
	cmd.Flags().Lookup("upgrade").NoOptDefVal = upgradeAll
	if err := cmd.RegisterFlagCompletionFunc("upgrade", s.completeLocked); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// withLocker has a service lock, where one is named, or this machine.
func (s *Session) withLocker(cmd *cobra.Command, w client.Wishes, lock func(context.Context, Locker) error) error {
	c, err := s.serviceFor(cmd, w)
	if err != nil {
		return err
	}
	if c != nil {
		if err := hereAlone(cmd, c, "step-timeout", "step-memory", "step-disk", "cache", "cache-key", "registry"); err != nil {
			return err
		}
		return lock(cmd.Context(), s.remote(c, w))
	}
	return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
		b, _, err := s.builder(w)
		if err != nil {
			return err
		}
		return lock(ctx, b)
	})
}

// upgrades reads the values of --upgrade, and the names behind it.
func upgrades(flag, names []string) builder.LockOptions {
	names = slices.DeleteFunc(slices.Concat(flag, names), func(name string) bool { return name == upgradeAll })
	return builder.LockOptions{Upgrade: len(flag) > 0 && len(names) == 0, UpgradeNames: names}
}

// lockedNames spells names as the lock does. A name that it does not have is wrong
// usage: an upgrade of it would do nothing.
func lockedNames(lock *recipes.Lock, names []string) ([]string, error) {
	locked := map[string]bool{}
	if lock != nil {
		for _, part := range sections(lock) {
			for _, d := range part.Dists {
				locked[d.Name] = true
			}
			for _, suite := range part.Debian {
				for _, d := range suite {
					locked[d.Name] = true
				}
			}
		}
	}
	var found []string
	for _, name := range names {
		switch normal := packaging.NormalName(name); {
		case locked[normal]:
			found = append(found, normal)
		case locked[name]:
			found = append(found, name)
		default:
			return nil, &UsageError{Verb: "ampoule lock", Err: fmt.Errorf("--upgrade: the lock has no %q", name)}
		}
	}
	return found, nil
}

// sections are a lock's section for the artifact and those of its groups, in one form.
func sections(l *recipes.Lock) []recipes.LockedGroup {
	all := []recipes.LockedGroup{{Dists: l.Dists, Debian: l.Debian}}
	for _, name := range slices.Sorted(maps.Keys(l.Groups)) {
		all = append(all, l.Groups[name])
	}
	return all
}

// Lock writes the session's lock, if it changed. The lock that is there is the
// request's.
func Lock(ctx context.Context, s *Session, l Locker, how builder.Request, o builder.LockOptions) error {
	result, err := s.lock(ctx, l, how, o)
	if err != nil {
		return err
	}
	return s.print(result.Lock, result)
}

// lock does it, and tells what changed.
func (s *Session) lock(ctx context.Context, l Locker, how builder.Request, o builder.LockOptions) (lockResult, error) {
	in, err := s.read()
	if err != nil {
		return lockResult{}, err
	}
	if err := s.agree(in.recipe, true); err != nil {
		return lockResult{}, err
	}
	if o.UpgradeNames, err = lockedNames(in.lock, o.UpgradeNames); err != nil {
		return lockResult{}, err
	}
	lock, err := watched(ctx, s, func(ctx context.Context) (*recipes.Lock, error) {
		return l.Lock(ctx, in.request(how), o)
	})
	if err != nil {
		return lockResult{}, err
	}
	return s.writeLock(in, lock)
}

// writeLock writes a lock beside the session's recipe if it changed, and tells what did.
func (s *Session) writeLock(in inputs, lock *recipes.Lock) (lockResult, error) {
	path := lockPath(s.Recipe)
	changed := in.lock == nil || !bytes.Equal(in.lock.Encode(), lock.Encode())
	if changed {
		if err := replaceFile(path, lock.Encode()); err != nil {
			return lockResult{}, fmt.Errorf("writing lock: %w", err)
		}
	}
	changes := diffLocks(in.lock, lock)
	s.tellChanges(in.lock, lock, changed, changes)
	return lockResult{path, changed, changes}, nil
}

// lockResult is the verb's result as JSON.
type lockResult struct {
	Lock    string   `json:"lock"`
	Changed bool     `json:"changed"`
	Changes []change `json:"changes"`
}

// tellChanges says what locking did.
func (s *Session) tellChanges(previous, lock *recipes.Lock, changed bool, changes []change) {
	switch {
	case previous == nil:
		debs := 0
		for _, suite := range lock.Debian {
			debs += len(suite)
		}
		s.tell("locked CPython %s, %d distributions and %d Debian packages", lock.Python.Version, len(lock.Dists), debs)
	case !changed:
		s.tell("nothing changed")
	case len(changes) == 0:
		s.tell("no pin changed, only what the lock answers")
	default:
		for _, c := range changes {
			s.tell("%s", c)
		}
	}
}

// completeLocked completes the names of locked distributions.
func (s *Session) completeLocked(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	lock, err := recipes.ReadLock(lockPath(s.Recipe))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, part := range sections(lock) {
		for _, d := range part.Dists {
			names = append(names, cobra.CompletionWithDesc(d.Name, d.Version))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
