package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/imagefile"
	"ampoule/wiring"
)

func newChannel(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channel",
		Short: "Moves digests through channels: staging, prod",
		Long: `A channel is a name, such as prod, for one digest of a repository. What it names, and how it
came to that, is a log in the registry: each entry is signed by a promotion key of the trust
root and has the hash of the entry before. The log is verified whole before any of it counts,
and no older one than was seen on this machine is believed.

Channels are written NAME:CHANNEL, for example web:prod. The tag of that name is written, too,
for docker pull; the log decides. A channel is written in the store's own registry, in one that
ampoule registry serve serves, and in one with immutable tags; ampoule channel probe says which
one a registry is. The policy (--policy, or the machine's) names the trust root, and says what
an artifact must have.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newChannelPromote(s), newChannelRollback(s), newChannelRevoke(s), newChannelFreeze(s), newChannelUnfreeze(s),
		newChannelRefresh(s), newChannelRestart(s), newChannelResolve(s), newChannelHistory(s), newChannelCheck(s), newChannelProbe(s), newChannelMirror(s), newChannelApprove(s), newChannelRules(s))
	return cmd
}

// channelFlags are the flags of verbs that write a channel.
type channelFlags struct {
	policy, reason string
	sign           config.Sign
}

func (f *channelFlags) add(cmd *cobra.Command, reason string) {
	channelPolicyFlag(cmd, &f.policy)
	cmd.Flags().StringVar(&f.sign.Key, "key", "", "the encrypted private key (default: what config.toml names)")
	passphraseFlag(cmd, &f.sign)
	if reason != "" {
		cmd.Flags().StringVar(&f.reason, "reason", "", reason)
	}
}

// pinFlags are the flags of verbs that have files name the digest of a channel.
type pinFlags struct {
	files []string
	image string
}

func (f *pinFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "write", nil, "have this file of Kubernetes, compose or Nomad name the digest, afterwards; may be given again")
	cmd.Flags().StringVar(&f.image, "image", "", "with --write: the image that is meant, as HOST/NAME (default: the one that ends with the artifact's name)")
	if err := cmd.MarkFlagFilename("write", "yaml", "yml", "json", "hcl", "nomad"); err != nil {
		panic("cli: " + err.Error())
	}
}

// read finds the image in all files, before anything is done.
func (f *pinFlags) read(cmd *cobra.Command, ref string) ([]*imagefile.File, error) {
	repository, _, err := channelOf(cmd, ref)
	if err != nil {
		return nil, err
	}
	if f.image != "" && len(f.files) == 0 {
		return nil, &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--image goes with --write")}
	}
	image := imagefile.Image{Name: registry.NameOf(repository), Repository: f.image}
	var files []*imagefile.File
	var all []error
	for _, path := range f.files {
		file, err := imagefile.Read(path, image)
		files, all = append(files, file), append(all, err)
	}
	return files, errors.Join(all...)
}

// pinFiles has files name a digest.
func (s *Session) pinFiles(files []*imagefile.File, digest string) error {
	changed, err := imagefile.Write(files, digest)
	for _, path := range changed {
		s.tell("%s: names %s", path, digest)
	}
	if err != nil {
		return fmt.Errorf("the channel names %s, and not all files do (`ampoule channel resolve --write` writes them again): %w", digest, err)
	}
	return nil
}

// needReason refuses a call without a reason.
func (f *channelFlags) needReason(cmd *cobra.Command) error {
	if f.reason == "" {
		return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("--reason is missing: why, for those who read the history")}
	}
	return nil
}

func channelPolicyFlag(cmd *cobra.Command, policy *string) {
	cmd.Flags().StringVar(policy, "policy", "", "the policy (default: the machine's)")
}

// channelOf reads NAME:CHANNEL.
func channelOf(cmd *cobra.Command, ref string) (repository, name string, err error) {
	i := strings.LastIndexByte(ref, ':')
	if i <= strings.LastIndexByte(ref, '/') || strings.Contains(ref, "@") {
		return "", "", &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%q is not NAME:CHANNEL, for example web:prod", ref)}
	}
	return ref[:i], ref[i+1:], nil
}

// digestOf reads sha256:HEX, or NAME@sha256:HEX of the channel's own repository.
func digestOf(cmd *cobra.Command, repository, text string) (string, error) {
	digest, err := registry.PinnedDigest(text)
	if err != nil {
		return "", err
	}
	if base, _, named := strings.Cut(text, "@"); named && base != repository {
		return "", &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s is in another repository than the channel's, %s", text, repository)}
	}
	return digest, nil
}

// optionalDigest reads a verb's second argument; without one it is empty. A service names what its
// registry has by its own address.
func (s *Session) optionalDigest(cmd *cobra.Command, args []string) (string, error) {
	repository, _, err := channelOf(cmd, args[0])
	if err != nil || len(args) == 1 {
		return "", err
	}
	c, err := s.service()
	if err != nil {
		return "", err
	}
	if base, digest, named := strings.Cut(args[1], "@"); c != nil && named && strings.HasSuffix(base, "/"+repository) {
		return digestOf(cmd, repository, digest)
	}
	return digestOf(cmd, repository, args[1])
}

// onChannel does a verb's work with a channel.
func (s *Session) onChannel(cmd *cobra.Command, ref, policy string, work func(ctx context.Context, all *wiring.Channels, c *channel.Channel) error) error {
	repository, name, err := channelOf(cmd, ref)
	if err != nil {
		return err
	}
	file, err := s.policyFile(policy)
	if err != nil {
		return err
	}
	return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
		all, err := w.Channels(ctx, file)
		if err != nil {
			return err
		}
		c, err := all.Open(repository, name)
		if err != nil {
			return err
		}
		return work(ctx, all, c)
	})
}

// moves does the work of a verb that adds an entry to a channel, prints what it names then, and has
// files name that.
func (s *Session) moves(cmd *cobra.Command, ref string, f *channelFlags, pinned *pinFlags, m channel.Move) error {
	files, err := pinned.read(cmd, ref)
	if err != nil {
		return err
	}
	c, err := s.service()
	if err != nil {
		return err
	}
	if c != nil {
		return s.movesThere(cmd, c, ref, files, m)
	}
	by, err := s.mustSigner(cmd.Context(), f.sign)
	if err != nil {
		return err
	}
	return s.onChannel(cmd, ref, f.policy, func(ctx context.Context, all *wiring.Channels, c *channel.Channel) error {
		w, err := all.Writer(ctx, c, by.By)
		if err != nil {
			return err
		}
		log, err := w.Do(ctx, m)
		if err != nil {
			return err
		}
		if err := s.pinFiles(files, log.Digest); err != nil {
			return err
		}
		_, err = log.Current()
		return s.printWritten(reportOf(c, log, log.Entries[len(log.Entries)-1:]), err)
	})
}

func newChannelPromote(s *Session) *cobra.Command {
	var f channelFlags
	var pinned pinFlags
	var from string
	var breakGlass bool
	cmd := &cobra.Command{
		Use:   "promote NAME:CHANNEL [DIGEST]",
		Short: "Has a channel name a digest",
		Long: `Promote adds an entry to the channel's log that has it name the digest. The artifact must be
in the channel's repository, and the policy must allow it; what was looked at for that is
recorded. With --from it must be what another channel of the repository names now, and DIGEST
may be left out. Where that channel is in another registry by its rule, its log is verified
there, and the artifact is copied with its evidence before the entry is written.

If the policy names channel rules, they must be obeyed: where the digest comes from and for how
long it was there, who has approved, what the artifact must have, and that it is no time in
which nothing is promoted. A channel that is frozen takes no promotion. --break-glass passes all
of that over; what it was, and the reason, is recorded.

If somebody has written the channel meanwhile, nothing is done: look at it, and decide again. The
result is the reference.

--write has files of Kubernetes, compose or Nomad name the digest afterwards. In each the image
must be named by a digest once, or several times by the same; nothing else of it changes.`,
		Example: `  ampoule channel promote web:staging sha256:… --key promote-1.key
  ampoule channel promote web:prod --from staging --write deploy/web.yaml`,
		Args:              usage(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: s.completeRefs(1, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := s.optionalDigest(cmd, args)
			if err != nil {
				return err
			}
			if digest == "" && from == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want a digest, or --from CHANNEL")}
			}
			if breakGlass {
				if err := f.needReason(cmd); err != nil {
					return err
				}
			}
			return s.moves(cmd, args[0], &f, &pinned, channel.Move{Action: channel.Promote, Digest: digest, From: from, Reason: f.reason, BreakGlass: breakGlass})
		},
	}
	f.add(cmd, "why, for those who read the history")
	pinned.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the channel of the same repository that must name the digest now")
	cmd.Flags().BoolVar(&breakGlass, "break-glass", false, "pass over that the channel is frozen, and what its rules want; wants --reason")
	return cmd
}

func newChannelRollback(s *Session) *cobra.Command {
	var f channelFlags
	var pinned pinFlags
	cmd := &cobra.Command{
		Use:   "rollback NAME:CHANNEL [DIGEST]",
		Short: "Has a channel name a digest again that it named before",
		Long: `Rollback goes back to a digest that the channel has named before: without DIGEST, to the one
before the current one. It works while the channel is frozen, and evidence that has become
too old does not stop it. The artifact's signatures must still count, and it must not be
revoked. The result is the reference. --write has files name it, as for ampoule channel promote.`,
		Example: `  ampoule channel rollback web:prod --reason 'it leaks memory'
  ampoule channel rollback web:prod sha256:…`,
		Args:              usage(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: s.completeRefs(1, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := s.optionalDigest(cmd, args)
			if err != nil {
				return err
			}
			return s.moves(cmd, args[0], &f, &pinned, channel.Move{Action: channel.Rollback, Digest: digest, Reason: f.reason})
		},
	}
	f.add(cmd, "why, for those who read the history")
	pinned.add(cmd)
	return cmd
}

func newChannelRevoke(s *Session) *cobra.Command {
	var f channelFlags
	cmd := &cobra.Command{
		Use:   "revoke NAME:CHANNEL DIGEST --reason TEXT",
		Short: "Says that a channel must not name a digest any more",
		Long: `Revoke says that a digest is not to be used any more, for good: nobody can promote it to the
channel, or go back to it. If the channel names it now, resolving the channel is refused
until it is rolled back or something else is promoted.`,
		Example: "  ampoule channel revoke web:prod sha256:… --reason 'its OpenSSL has a hole'",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := s.optionalDigest(cmd, args)
			if err == nil {
				err = f.needReason(cmd)
			}
			if err != nil {
				return err
			}
			return s.moves(cmd, args[0], &f, &pinFlags{}, channel.Move{Action: channel.Revoke, Digest: digest, Reason: f.reason})
		},
	}
	cmd.ValidArgsFunction = s.completeRefs(1, false)
	f.add(cmd, "what is wrong with it")
	return cmd
}

func newChannelFreeze(s *Session) *cobra.Command {
	var f channelFlags
	cmd := &cobra.Command{
		Use:   "freeze NAME:CHANNEL --reason TEXT",
		Short: "Stops promotions to a channel",
		Long: `Freeze stops promotions to a channel until it is unfrozen. Going back, and revoking, work as
ever.`,
		Example: "  ampoule channel freeze web:prod --reason 'end of the year'",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.needReason(cmd); err != nil {
				return err
			}
			return s.moves(cmd, args[0], &f, &pinFlags{}, channel.Move{Action: channel.Freeze, Reason: f.reason})
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	f.add(cmd, "why, for those who want to promote")
	return cmd
}

func newChannelUnfreeze(s *Session) *cobra.Command {
	var f channelFlags
	cmd := &cobra.Command{
		Use:     "unfreeze NAME:CHANNEL",
		Short:   "Lets promotions to a channel go on",
		Long:    "Unfreeze ends what ampoule channel freeze has begun.",
		Example: "  ampoule channel unfreeze web:prod",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.moves(cmd, args[0], &f, &pinFlags{}, channel.Move{Action: channel.Unfreeze, Reason: f.reason})
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	f.add(cmd, "why, for those who read the history")
	return cmd
}

func newChannelRefresh(s *Session) *cobra.Command {
	var f channelFlags
	cmd := &cobra.Command{
		Use:   "refresh NAME:CHANNEL",
		Short: "Says that a channel has not changed",
		Long: `Refresh adds an entry that changes nothing. Who resolves a channel with --max-stale is
refused where the last entry is older than that: somebody may be showing an old log. Call it
from time to time where hosts do that.`,
		Example: "  ampoule channel refresh web:prod",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.moves(cmd, args[0], &f, &pinFlags{}, channel.Move{Action: channel.Refresh})
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	f.add(cmd, "")
	return cmd
}

func newChannelRestart(s *Session) *cobra.Command {
	var f channelFlags
	var breakGlass bool
	cmd := &cobra.Command{
		Use:   "restart NAME:CHANNEL DIGEST --reason TEXT",
		Short: "Vouches for a log in which a key does not count any more",
		Long: `Restart is for the day on which a promotion key was stolen, replaced, or has expired: then the
entries that it has signed do not count, and the log is refused. Look at it (ampoule channel
history --unverified), and vouch for it with a key that counts. From then on the channel names
DIGEST, which the policy and the channel rules must allow as for a promotion. What it had
accepted before is not any more; what was revoked by a key that still counts stays so.`,
		Example: "  ampoule channel restart web:prod sha256:… --key promote-2.key --reason 'promote-1 was stolen'",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := s.optionalDigest(cmd, args)
			if err == nil {
				err = f.needReason(cmd)
			}
			if err != nil {
				return err
			}
			return s.moves(cmd, args[0], &f, &pinFlags{}, channel.Move{Action: channel.Restart, Digest: digest, Reason: f.reason, BreakGlass: breakGlass})
		},
	}
	cmd.ValidArgsFunction = s.completeRefs(1, false)
	f.add(cmd, "what happened")
	cmd.Flags().BoolVar(&breakGlass, "break-glass", false, "pass over what the channel's rules want")
	return cmd
}
