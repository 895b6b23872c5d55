package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/install"
	"ampoule/registry/trust"
	"ampoule/registry/trust/policy"
	"ampoule/store"
	"ampoule/wiring"
)

// judge opens the policy of this machine; nil where none is set.
func (s *Session) judge(ctx context.Context, w *wiring.Parts) (*trust.Judge, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, err
	}
	return w.Judge(ctx, set.Trust.Policy)
}

// policyFile is the policy that a flag names, else the machine's. Where there is none, that is
// an error of kind Usage.
func (s *Session) policyFile(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	set, err := config.Read(s.Environ, "")
	if err == nil && set.Trust.Policy == "" {
		err = faults.New(faults.Usage, "name a file with --policy, or as policy in config.toml", "no policy is set on this machine")
	}
	return set.Trust.Policy, err
}

// guarded gives of a registry only what the machine's policy allows.
func (s *Session) guarded(ctx context.Context, w *wiring.Parts, reg *registry.Registry) (trust.Guarded, error) {
	j, err := s.judge(ctx, w)
	return trust.Guarded{Source: reg, Judge: j}, err
}

// allow is what installing asks the machine's policy; nil where none is set.
func (s *Session) allow(ctx context.Context, w *wiring.Parts, reg trust.Evidence) (func(context.Context, registry.Description) ([]registry.Evidence, error), error) {
	j, err := s.judge(ctx, w)
	if err != nil || j == nil {
		return nil, err
	}
	return func(ctx context.Context, d registry.Description) ([]registry.Evidence, error) {
		found, err := reg.Evidence(ctx, d.Ref)
		if err != nil {
			return nil, err
		}
		return found, j.DecideBy(trust.SubjectOf(d), found).Err()
	}, nil
}

// allowCurrent asks the machine's policy whether the current release below a root may run, by
// what was kept when it was installed: no registry is asked.
func (s *Session) allowCurrent(ctx context.Context, root string) error {
	allow, err := s.allowKept()
	if err != nil || allow == nil {
		return err
	}
	_, kept, err := install.CurrentGrounds(root)
	if err != nil {
		return err
	}
	return allow(ctx, root, kept)
}

// allowKept is what the machine's policy says of a release below a root by what was kept when it
// was installed; nil where no policy is set.
func (s *Session) allowKept() (func(ctx context.Context, root string, kept install.Grounds) error, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil || set.Trust.Policy == "" {
		return nil, err
	}
	return func(ctx context.Context, root string, kept install.Grounds) error {
		dir, err := s.workplace().StoreDir()
		if err != nil {
			return err
		}
		memory, err := store.Open(dir)
		if err != nil {
			return err
		}
		defer func() { _ = memory.Close() }() // what was seen is on disk
		j, err := trust.Open(ctx, memory, set.Trust.Policy, time.Now)
		if err != nil {
			return err
		}
		if kept.Name == "" {
			return faults.New(faults.Refused, "install the same reference again: that asks the policy, and keeps the signatures", "the release below %s was installed without a policy", root)
		}
		return j.DecideBy(policy.Subject{Name: kept.Name, Digest: kept.Digest, Tree: kept.Tree}, kept.Evidence).Err()
	}, nil
}

// policyAnswer is what a policy says of an artifact, and of dependency groups of it.
type policyAnswer struct {
	policy.Decision
	Groups []policy.Decision `json:"groups,omitempty"`
}

// VerifyPolicy explains what a policy says of an artifact, and of dependency groups of it. What
// it refuses is a [*policy.RefusedError].
func VerifyPolicy(ctx context.Context, s *Session, reg trust.Source, j *trust.Judge, ref string, groups []string) error {
	d, err := reg.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	chosen, err := s.groupsOf(ctx, reg, d, groups)
	if err != nil {
		return err
	}
	var answer policyAnswer
	if answer.Decision, err = j.Decide(ctx, reg, d); err != nil {
		return err
	}
	text, refused := decisionText(answer.Decision), answer.Err()
	for _, g := range chosen {
		decision, err := j.DecideGroup(ctx, reg, d, g)
		if err != nil {
			return err
		}
		answer.Groups = append(answer.Groups, decision)
		text += decisionText(decision)
		if refused == nil {
			refused = decision.Err()
		}
	}
	if err := s.print(text, answer); err != nil {
		return err
	}
	return refused
}

// decisionText is a decision for people.
func decisionText(d policy.Decision) string {
	var b strings.Builder
	verb := "refuses"
	if d.Allowed {
		verb = "allows"
	}
	fmt.Fprintf(&b, "policy %s with trust root %s version %d %s %s\n", d.Policy, d.Root, d.Version, verb, d.Subject)
	for _, l := range d.Lines {
		mark := "no "
		if l.Holds {
			mark = "yes"
		}
		fmt.Fprintf(&b, "  %s  %s: %s\n", mark, l.Rule, l.Text)
	}
	for _, l := range d.Notes {
		fmt.Fprintf(&b, "  -    does not count: %s\n", l.Text)
	}
	return b.String()
}
