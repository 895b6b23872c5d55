// Package apt chooses Debian packages: it lets apt resolve, in a root of its own
// that takes nothing of this machine but the programs, Debian's keys, and the
// proxies and certificates that it is given.
package apt

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/toolchain/debian"
	"ampoule/config"
	"ampoule/recipes"
)

// Mirrors are base addresses, in order of preference. They are configuration and
// never reach a lock.
type Mirrors struct {
	// Archive serves SUITE and SUITE-updates, Security serves SUITE-security.
	Archive, Security []string
	// Without are the parts of suites that they do not have, and that a lock may lack:
	// "updates", "security".
	Without []string
	// Network is how they are reached.
	Network config.Network
}

// Debs opens packages.
type Debs interface {
	// OpenDeb returns a package's verified file, fetching it if it must.
	OpenDeb(ctx context.Context, deb recipes.Deb) (io.ReadCloser, error)
}

// Resolver answers from one suite's package lists. Its methods must not be
// called concurrently.
type Resolver struct {
	root  root
	suite string
	index *index
}

// suiteName is what names of suites look like, without "-updates" and such.
var suiteName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// Open gets the package lists of a suite, with its updates and security updates,
// into dir, which is made if it is missing and may be used again. A suite that no
// mirror has, or whose updates or security updates none has, is a [*SuiteError].
func Open(ctx context.Context, dir, suite string, mirrors Mirrors) (*Resolver, error) {
	if !suiteName.MatchString(suite) {
		return nil, fmt.Errorf("opening package lists: %q is not the name of a Debian suite", suite)
	}
	r := &Resolver{suite: suite}
	var err error
	if r.root, err = newRoot(dir, mirrors.Network); err != nil {
		return nil, fmt.Errorf("opening package lists of %s: %w", suite, err)
	}
	if err := r.root.update(ctx, suite, mirrors); err != nil {
		return nil, fmt.Errorf("opening package lists of %s: %w", suite, err)
	}
	// Both read all of the lists; apt keeps what it makes of them for when it is asked.
	both, reading := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		r.index, err = r.root.index(reading)
		return err
	})
	both.Go(func() error {
		_, err := r.root.run(reading, "check")
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, fmt.Errorf("opening package lists of %s: %w", suite, err)
	}
	return r, nil
}

// merged is the package that says that /usr is merged, which every base of ours
// is. Without it apt satisfies "usrmerge | usr-is-merged" by a package that
// merges it with a Perl program.
const merged = "usr-is-merged"

// Resolve returns the packages that want takes beside what is installed, with
// their dependencies and without recommended packages, sorted by name. When
// nothing is installed, the essential packages are among them. What is installed
// already answers a wanted name in whatever version it has.
//
// A name that the suite does not have is an [*UnknownError]; what needs an
// installed package changed or removed is a [*ChangeError].
func (r *Resolver) Resolve(ctx context.Context, installed []debian.Stanza, want []string) ([]recipes.Deb, error) {
	have := map[string]bool{}
	for _, s := range installed {
		have[s.Get("Package")] = true
	}
	var names []string
	for _, name := range want {
		if have[name] {
			continue
		}
		if !r.index.has(name) {
			return nil, &UnknownError{Name: name, Suite: r.suite, Nearest: r.index.nearest(name)}
		}
		names = append(names, name)
	}
	args := slices.Clone(names)
	if len(installed) == 0 {
		args = append(args, "?essential")
		if r.index.has(merged) {
			args = append(args, merged)
		}
	}
	if len(args) == 0 {
		return nil, nil
	}
	debs, err := r.simulate(ctx, installed, args)
	if err != nil {
		return nil, fmt.Errorf("resolving packages of %s: %w", r.suite, err)
	}
	return debs, nil
}

// simulate lets apt say what installing args would do.
func (r *Resolver) simulate(ctx context.Context, installed []debian.Stanza, args []string) ([]recipes.Deb, error) {
	if err := r.root.setInstalled(installed); err != nil {
		return nil, err
	}
	out, err := r.root.run(ctx, append([]string{"--simulate", "--assume-yes", "install", "--"}, args...)...)
	if err != nil {
		return nil, err
	}
	plan := parsePlan(out)
	if len(plan.changes) > 0 {
		return nil, &ChangeError{Suite: r.suite, Want: args, Changes: plan.changes}
	}
	debs := make([]recipes.Deb, 0, len(plan.added))
	for _, p := range plan.added {
		l, ok := r.index.find(p)
		if !ok {
			return nil, fmt.Errorf("apt chose %s %s, which the lists do not have", p.name, p.version)
		}
		debs = append(debs, l.deb)
	}
	slices.SortFunc(debs, func(a, b recipes.Deb) int { return strings.Compare(a.Name, b.Name) })
	return debs, nil
}

// Stanzas returns the control stanzas of locked packages, in their order: from
// the lists where they have the very same package, else from the package itself.
func (r *Resolver) Stanzas(ctx context.Context, locked []recipes.Deb, debs Debs) ([]debian.Stanza, error) {
	out := make([]debian.Stanza, 0, len(locked))
	for _, deb := range locked {
		l, ok := r.index.find(identity{deb.Name, deb.Version, deb.Arch})
		if ok && l.deb.SHA256 == deb.SHA256 {
			out = append(out, l.stanza)
			continue
		}
		s, err := readStanza(ctx, deb, debs)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func readStanza(ctx context.Context, deb recipes.Deb, debs Debs) (debian.Stanza, error) {
	f, err := debs.OpenDeb(ctx, deb)
	if err != nil {
		return nil, fmt.Errorf("opening package %s %s: %w", deb.Name, deb.Version, err)
	}
	defer f.Close()
	s, err := debian.Control(f)
	if err != nil {
		return nil, fmt.Errorf("reading package %s %s: %w", deb.Name, deb.Version, err)
	}
	if s.Get("Package") != deb.Name || s.Get("Version") != deb.Version || s.Get("Architecture") != deb.Arch {
		return nil, fmt.Errorf("reading package %s %s %s: it is %s %s %s", deb.Name, deb.Version, deb.Arch,
			s.Get("Package"), s.Get("Version"), s.Get("Architecture"))
	}
	return s, nil
}
