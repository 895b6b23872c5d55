package wiring

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ampoule/agent"
	"ampoule/artifact"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/install"
	"ampoule/registry/trust"
	"ampoule/registry/trust/policy"
)

// AgentOptions are what the settings of an agent do not say.
type AgentOptions struct {
	// Policy is the machine's policy, for settings that name none.
	Policy string
	// Platform is OS/ARCH.
	Platform string
	// Before looks whether a release will run on this machine; its error refuses it.
	Before func(ctx context.Context, c install.Candidate) error
	// Environ is the environment of programs, as os.Environ has it.
	Environ []string
	// Tell is told what happens, for people.
	Tell func(text string)
}

// Agent makes what has this host follow a channel. Policy and trust root are read anew whenever
// the channel is.
func (p *Parts) Agent(ctx context.Context, set agent.Settings, o AgentOptions) (*agent.Agent, error) {
	set.Policy = cmp.Or(set.Policy, o.Policy)
	if set.Policy == "" {
		return nil, faults.New(faults.Usage, "policy: policy.yaml", "neither the agent's configuration nor the machine's names a policy: nothing says whom to believe")
	}
	if _, err := trust.Open(ctx, p.Store, set.Policy, time.Now); err != nil {
		return nil, err
	}
	f := &followed{parts: p, set: set, options: o, patience: logPatience}
	if err := f.open(); err != nil {
		return nil, err
	}
	a := &agent.Agent{Settings: set, Channel: f, Host: f, Environ: o.Environ, Tell: o.Tell, Now: time.Now}
	reporters, err := openReporters(ctx, set, o)
	if len(reporters) > 0 {
		a.Reporter = reporters
	}
	return a, err
}

// openReporters opens the host's key; there are none where nothing is reported.
func openReporters(ctx context.Context, set agent.Settings, o AgentOptions) (agent.Reporters, error) {
	r := set.Report
	if r.Directory == "" && r.Service == "" {
		return nil, nil // nobody wants reports
	}
	if info, err := os.Stat(r.Directory); r.Directory != "" && (err != nil || !info.IsDir()) {
		return nil, faults.New(faults.Input, "make it, or mount it, before the agent starts", "reports go to %s, which is no directory", r.Directory)
	}
	name, err := os.Hostname()
	if r.Host == "" && err != nil {
		return nil, fmt.Errorf("naming this host: %w", err)
	}
	by, err := OpenSigner(ctx, config.Sign{Key: r.Key, PassphraseFile: r.PassphraseFile}, o.Environ, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the host's key: %w", err)
	}
	name = cmp.Or(r.Host, name)
	var all agent.Reporters
	if r.Directory != "" {
		all = append(all, agent.Directory{Path: r.Directory, Host: name, By: by, Root: set.Root})
	}
	if r.Service != "" {
		all = append(all, &agent.Service{URL: r.Service, TokenFile: r.TokenFile, Host: name, By: by, Root: set.Root, Tell: o.Tell})
	}
	return all, nil
}

// followed is a channel and a root, as an agent sees them.
type followed struct {
	parts    *Parts
	set      agent.Settings
	options  AgentOptions
	registry *registry.Registry
	repo     *registry.Repository
	// patience is how long one look at a log may take, however slow the registry is.
	patience time.Duration
}

const (
	// logSilence is how long a registry may be silent that is asked for a log: it is small.
	logSilence = 30 * time.Second
	// logPatience is how long one look at a log may take.
	logPatience = 2 * time.Minute
)

// open opens the channel's repository. One of another registry is not tried again and again at
// once: the agent asks again anyway.
func (f *followed) open() error {
	var err error
	if f.registry, err = f.parts.Registry(); err != nil {
		return err
	}
	if f.repo, err = registry.OpenRepository(f.set.Repository, logSilence); err == nil {
		return nil
	}
	f.repo, err = f.registry.Repository(f.set.Repository)
	return err
}

// Reference implements [agent.Channel].
func (f *followed) Reference(digest string) string { return f.repo.String() + "@" + digest }

// Head implements [agent.Channel].
func (f *followed) Head(ctx context.Context) (head string, err error) {
	c, err := channel.Open(f.repo, f.set.Channel, nil, f.parts.Store, time.Now)
	if err != nil {
		return "", err
	}
	err = f.inTime(ctx, func(ctx context.Context) (err error) {
		head, err = c.Head(ctx)
		return err
	})
	return head, err
}

// Read implements [agent.Channel].
func (f *followed) Read(ctx context.Context) (l *channel.Log, err error) {
	judge, err := f.judge(ctx)
	if err != nil {
		return nil, err
	}
	c, err := channel.Open(f.repo, f.set.Channel, judge.Root(), f.parts.Store, time.Now)
	if err != nil {
		return nil, err
	}
	err = f.inTime(ctx, func(ctx context.Context) (err error) {
		l, err = c.Read(ctx)
		return err
	})
	return l, err
}

// inTime does what asks for a log, within the time for that.
func (f *followed) inTime(ctx context.Context, ask func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	err := ask(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return faults.New(faults.Remote, "what runs goes on, and the registry is asked again", "the registry did not give the log of channel %s within %s: %w", f.set.Follows(), f.patience, err)
	}
	return err
}

func (f *followed) judge(ctx context.Context) (*trust.Judge, error) {
	return trust.Open(ctx, f.parts.Store, f.set.Policy, time.Now)
}

// by says in the root's journal who does something.
func (f *followed) by() string { return "agent following " + f.set.Follows() }

// Current implements [agent.Host].
func (f *followed) Current(context.Context) (string, error) {
	dir, err := install.Current(f.set.Root)
	var missing *registry.NotFoundError
	if errors.As(err, &missing) || errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.Replace(filepath.Base(dir), "-", ":", 1), err
}

// Install implements [agent.Host].
func (f *followed) Install(ctx context.Context, ref string) (agent.Release, error) {
	judge, err := f.judge(ctx)
	if err != nil {
		return agent.Release{}, err
	}
	var found []registry.Evidence
	in, err := install.Add(ctx, f.registry, ref, install.Options{
		Root: f.set.Root, Platform: f.options.Platform, Before: f.options.Before, By: f.by(),
		Allow: func(ctx context.Context, d registry.Description) (_ []registry.Evidence, err error) {
			if found, err = f.registry.Evidence(ctx, d.Ref); err != nil {
				return nil, err
			}
			return found, judge.DecideBy(trust.SubjectOf(d), found).Err()
		},
	})
	if err != nil {
		return agent.Release{}, err
	}
	return agent.Release{Digest: in.Digest, Dir: in.Release, Tests: testsOf(judge.Provenances(in.Digest, found))}, nil
}

// testsOf are the tests of the recipes that were built, as provenance has them.
func testsOf(all []artifact.Provenance) agent.Tests {
	var tests agent.Tests
	for _, p := range all {
		var recipe agent.Tests
		// A recipe of another form has no tests that this program knows.
		if json.Unmarshal(p.BuildDefinition.ExternalParameters.Recipe, &recipe) == nil {
			tests.Imports = slices.Concat(tests.Imports, recipe.Imports)
			tests.Commands = slices.Concat(tests.Commands, recipe.Commands)
		}
	}
	return tests
}

// Activate implements [agent.Host]. Evidence that has become too old since the release was
// installed does not keep a host from going back; signatures must count.
func (f *followed) Activate(ctx context.Context, digest string) error {
	judge, err := f.judge(ctx)
	if err != nil {
		return err
	}
	_, err = install.Activate(ctx, f.set.Root, digest, install.SwitchOptions{
		By: f.by(),
		Allow: func(_ context.Context, kept install.Grounds) error {
			return judge.DecideSigned(policy.Subject{Name: kept.Name, Digest: kept.Digest, Tree: kept.Tree}, kept.Evidence).Err()
		},
	})
	return err
}

// Collect implements [agent.Host].
func (f *followed) Collect(ctx context.Context, keep int) error {
	_, err := install.Collect(ctx, f.set.Root, install.CollectOptions{Keep: keep, By: f.by()})
	return err
}
