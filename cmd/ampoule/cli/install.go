package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/address"
	"ampoule/audit/preflight"
	"ampoule/builder/progress"
	"ampoule/registry/install"
	"ampoule/wiring"
)

func newInstall(s *Session) *cobra.Command {
	var root string
	var groups []string
	cmd := &cobra.Command{
		Use:   "install REF|FILE --root DIR",
		Short: "Puts an artifact's tree onto this machine",
		Long: `Install fetches the layers of an artifact's tree from the registry, verifies every
file, and then makes the tree the current one below a root in one step:
DIR/current/bin/python3 runs without Docker. Whatever ends it early, the current
tree stays as it was. The result is the path of the release.

It uses, replaces and removes only what an installation made. DIR must belong to
root or to the user that runs this, must be no link, and nobody else may write there;
everybody may run what is installed, whatever the umask.

Where config.toml names a policy, the artifact must have what it asks for, and the
signatures are kept beside the release, for ampoule exec.

A host without a registry installs from a file that ampoule export has written, or from
an OCI layout, and verifies the same. The path may end with @sha256:…: then what is
installed must have that digest.

` + refsHelp,
		Example: `  ampoule install web@sha256:… --root /opt/web
  ampoule install ./web.tar@sha256:… --root /opt/web
  /opt/web/current/bin/python3 --version`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if root == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--root is missing: the directory to install below")}
			}
			if len(groups) > 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf(
					"a dependency group is not installed: a release is its artifact, file by file, as verify proves; `ampoule run --group %s %s` has both", groups[0], args[0])}
			}
			return s.installs(cmd.Context(), args[0], root, s.by("ampoule install"), true)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "the directory that holds the releases")
	// Who knows run's flag is told why there is none here.
	cmd.Flags().StringArrayVar(&groups, "group", nil, "not taken: a release has no dependency groups")
	if err := errors.Join(cmd.MarkFlagDirname("root"), cmd.Flags().MarkHidden("group")); err != nil {
		panic("cli: " + err.Error())
	}
	return cmd
}

// installs installs what a reference or a file names below a root, if the machine's policy
// allows it.
func (s *Session) installs(ctx context.Context, ref, root, by string, activate bool) error {
	return s.wired(ctx, func(ctx context.Context, w *wiring.Parts) (err error) {
		found, err := s.locate(ctx, w, ref)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, found.close()) }()
		allow, err := s.allow(ctx, w, found)
		if err != nil {
			return err
		}
		return Install(ctx, s, found, found.ref, InstallOptions{Options: install.Options{Root: root, Platform: platform(), Allow: allow, By: by}, Activate: activate})
	})
}

// installed is what is on this machine, as JSON.
type installed struct {
	Ref      string   `json:"ref"`
	Digest   string   `json:"digest"`
	Release  string   `json:"release"`
	Tree     string   `json:"tree"`
	Files    int      `json:"files"`
	Fetched  []string `json:"fetched"`
	Present  bool     `json:"present"`
	Repaired bool     `json:"repaired"`
	Warnings []string `json:"warnings"`
}

// InstallOptions say what is done with a release.
type InstallOptions struct {
	install.Options
	// Activate makes it the active one.
	Activate bool
}

// Install puts an artifact's tree below a root.
func Install(ctx context.Context, s *Session, src install.Source, ref string, o InstallOptions) error {
	do := install.Add
	if o.Activate {
		do = install.Install
	}
	in, err := watched(ctx, s, func(ctx context.Context) (install.Installed, error) {
		task := progress.Start(ctx, progress.StageInstall, address.One(ref))
		o.Before = s.before
		in, err := do(ctx, src, ref, o.Options)
		task.End(err)
		return in, err
	})
	if err != nil {
		return err
	}
	switch {
	case in.Repaired:
		s.tell("the release was there, damaged: it is replaced")
	case in.Present:
		s.tell("the release was there and is whole")
	}
	for _, w := range in.Warnings {
		s.warn("%s", w)
	}
	return s.print(in.Release, installed{
		in.Ref, in.Digest, in.Release, in.TreeHash, in.Files, append([]string{}, in.Fetched...), in.Present, in.Repaired, append([]string{}, in.Warnings...),
	})
}

// before looks whether a release will run here before it becomes the current one.
func (s *Session) before(ctx context.Context, c install.Candidate) error {
	r, _, err := s.lookAt(ctx, c)
	if err != nil {
		return err
	}
	for _, i := range r.Items {
		if i.State == preflight.Warning {
			s.tell("%s: %s. %s %s", i.Name, i.Found, i.Cause, i.Remedy)
		}
	}
	return r.Err()
}

// after tells what keeps a release from running here that has become the current one, if nobody has looked
// since the machine is as it is.
func (s *Session) after(ctx context.Context, c install.Candidate) {
	r, known, err := s.lookAt(ctx, c)
	if err == nil && !known {
		err = r.Err()
	}
	if err != nil {
		s.warn("it is active, and may not run: %v", err)
	}
}

// verified is what was compared, as JSON.
type verified struct {
	Ref     string `json:"ref"`
	Digest  string `json:"digest"`
	Release string `json:"release"`
	Tree    string `json:"tree"`
	Files   int    `json:"files"`
	// Proven says that everything holds.
	Proven bool `json:"proven"`
	// Given says that the digest was given, and not taken from the root.
	Given    bool         `json:"given"`
	Checks   []comparison `json:"checks"`
	Differs  []string     `json:"differs"`
	Error    string       `json:"error,omitempty"`
	Warnings []string     `json:"warnings"`
}

type comparison struct {
	What  string `json:"what"`
	Found string `json:"found"`
	Want  string `json:"want"`
	Holds bool   `json:"holds"`
}

func newVerify(s *Session) *cobra.Command {
	var policy string
	var groups []string
	cmd := &cobra.Command{
		Use:   "verify DIR [REF] | verify REF --policy FILE",
		Short: "Proves that an installed tree is the one of a digest, or explains a policy",
		Long: `Verify reads every file of the current release below a root and proves that the tree
is the one of a digest. Installing kept the index, the manifest and the configuration
beside the release: the digest must be the index's hash, the index must list the
manifest for this machine's platform, the manifest must name the configuration, and
the configuration the hash of the tree. No registry is asked.

REF, NAME@sha256:… or the digest alone, is what must be installed. Without it the
digest is the one that the current release is named by: then the tree is proven to be
that digest's, and whether that is the right digest must be known from elsewhere.

The result is the tree's hash. A difference ends it with code 4 and is told with the
files that it is in. With --output json the result lists what was compared, whether
it holds or not.

With --policy it explains instead what a policy says of a published artifact: each rule,
which keys have signed, and which evidence does not count, and why. An artifact that is
refused ends it with code 4. Without a file, as in --policy=, the policy is the one that
config.toml names, which run, exec and install obey. With --group it explains a dependency
group of the artifact, too.`,
		Example: `  ampoule verify /opt/web web@sha256:…
  ampoule verify /opt/web --output json
  ampoule verify web@sha256:… --policy policy.yaml
  ampoule verify web@sha256:… --policy= --group test`,
		Args: usage(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return s.completeRefs(1, false)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("policy") {
				return s.verifyPolicy(cmd, policy, args, groups)
			}
			if len(groups) > 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--group goes with --policy: a release below a directory has no dependency groups")}
			}
			return Verify(cmd.Context(), s, args[0], strings.Join(args[1:], ""))
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "explain what this policy says of the artifact REF")
	cmd.Flags().StringSliceVar(&groups, "group", nil, "with --policy: explain this dependency group too: NAME, or NAME@sha256:…")
	return cmd
}

// verifyPolicy explains a policy; without a file the machine's.
func (s *Session) verifyPolicy(cmd *cobra.Command, file string, args, groups []string) error {
	if len(args) != 1 {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want one reference with --policy")}
	}
	file, err := s.policyFile(file)
	if err != nil {
		return err
	}
	return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
		j, err := w.Judge(ctx, file)
		if err != nil {
			return err
		}
		found, err := s.locate(ctx, w, args[0])
		if err != nil {
			return err
		}
		return errors.Join(VerifyPolicy(ctx, s, found, j, found.ref, groups), found.close())
	})
}

// Verify checks the current release below a root. Without a reference, the digest is
// the release's own.
func Verify(ctx context.Context, s *Session, root, ref string) error {
	v, err := install.Verify(ctx, root, install.VerifyOptions{Ref: ref, Platform: platform()})
	for _, w := range v.Warnings {
		s.warn("%s", w)
	}
	if err != nil {
		if refused := new(install.VerificationError); s.Output == JSON && errors.As(err, &refused) {
			return errors.Join(err, s.print("", verifiedOf(v, ref, err)))
		}
		return err
	}
	s.tell("%s is whole: the index has that digest, and leads to the manifest, the configuration and this tree of %d files", v.Ref, v.Files)
	if ref == "" {
		s.tell("that it is the digest which belongs here must be known from elsewhere: ampoule verify %s REF compares it", root)
	}
	return s.print(v.TreeHash, verifiedOf(v, ref, nil))
}

// verifiedOf is the form of what was compared, and of what does not hold.
func verifiedOf(v install.Verified, ref string, err error) verified {
	form := verified{
		Ref: v.Ref, Digest: v.Digest, Release: v.Release, Tree: v.TreeHash, Files: v.Files, Proven: err == nil, Given: ref != "",
		Checks: []comparison{}, Differs: []string{}, Warnings: append([]string{}, v.Warnings...),
	}
	for _, c := range v.Checks {
		form.Checks = append(form.Checks, comparison(c))
	}
	if refused := new(install.VerificationError); errors.As(err, &refused) {
		form.Differs, form.Error = append(form.Differs, refused.Files...), refused.Error()
	}
	return form
}
