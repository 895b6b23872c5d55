package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/registry/trust/keys"
	"ampoule/registry/trust/roots"
	"ampoule/wiring"
)

func newChannelApprove(s *Session) *cobra.Command {
	var policy string
	var set config.Sign
	cmd := &cobra.Command{
		Use:   "approve NAME:CHANNEL DIGEST",
		Short: "Approves that a channel names a digest",
		Long: `Approve signs that a channel may name a digest, with a key of the role approve, and attaches
that to the artifact. It counts for this channel and digest, under the channel rules that are
in force now, and as long as they say; whoever promotes must be another person. With --server
the service signs for whom the token names, where the rules say which person that is. The result
is the reference.`,
		Example:           "  ampoule channel approve web:prod sha256:… --key approve-ben.key",
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: s.completeRefs(1, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := s.optionalDigest(cmd, args)
			if err != nil {
				return err
			}
			if c, err := s.service(); c != nil || err != nil {
				return s.approvesThere(cmd, c, args[0], digest, err)
			}
			by, err := s.mustSigner(cmd.Context(), set)
			if err != nil {
				return err
			}
			return s.onChannel(cmd, args[0], policy, func(ctx context.Context, all *wiring.Channels, c *channel.Channel) error {
				ref, err := all.Approve(ctx, c, by, digest, "")
				if err != nil {
					return err
				}
				key := by.By.Public().ID()
				s.tell("approved by key %s for channel %s", key, c)
				return s.print(ref, signedResult{Ref: ref, Key: key})
			})
		},
	}
	channelPolicyFlag(cmd, &policy)
	signFlags(cmd, &set)
	return cmd
}

func newChannelRules(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Signs and shows the rules of channels",
		Long: `The rules of channels are a file, channels.yaml, that a policy names: which channel a digest comes
from and for how long it was there, who must approve, what the artifact must have, and when
nothing is promoted. Root keys of the trust root sign it. Each change raises its version, and is
signed anew.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newChannelRulesSign(s), newChannelRulesShow(s))
	return cmd
}

// rulesResult are channel rules as JSON.
type rulesResult struct {
	File    string `json:"file"`
	Version int    `json:"version"`
	Hash    string `json:"hash"`
	// Signed says that enough root keys have signed them. Missing says what is missing.
	Signed  bool   `json:"signed"`
	Missing string `json:"missing,omitempty"`
}

// printRules shows channel rules.
func (s *Session) printRules(r *rules.Rules, root *roots.Root) error {
	result := rulesResult{File: r.Path, Version: r.Number(), Hash: r.Hash(), Signed: true}
	state := "signed by enough keys"
	if err := r.CheckSigned(root); err != nil {
		state = err.Error()
		result.Signed, result.Missing = false, state
	}
	return s.print(fmt.Sprintf("%s: channel rules version %d\n  %s\n", r.Path, r.Number(), state), result)
}

func newChannelRulesSign(s *Session) *cobra.Command {
	var set config.Sign
	var trust string
	cmd := &cobra.Command{
		Use:   "sign FILE --key FILE",
		Short: "Signs channel rules with a root key",
		Long: `Sign adds the signature of a root key to the end of the file. Nothing else of it changes. It
tells what is still missing.`,
		Example: "  ampoule channel rules sign channels.yaml --key ann.key",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, root, err := readRules(args[0], trust)
			if err != nil {
				return err
			}
			by, err := s.mustSigner(cmd.Context(), set)
			if err != nil {
				return err
			}
			if !isRootKey(root, by.By.Public()) {
				return faults.New(faults.Refused, "", "key %s is no root key of %s", by.By.Public().ID(), root.Name)
			}
			id, signature, err := r.Signature(cmd.Context(), by.By)
			if err != nil {
				return err
			}
			signed, err := signRules(args[0], r, id, signature)
			if err != nil {
				return err
			}
			return s.printRules(signed, root)
		},
	}
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt)
	cmd.Flags().StringVar(&trust, "trust", "trust.yaml", "the trust root's file")
	cmd.Flags().StringVar(&set.Key, "key", "", "the encrypted private key (default: what config.toml names)")
	passphraseFlag(cmd, &set)
	return cmd
}

func newChannelRulesShow(s *Session) *cobra.Command {
	var trust string
	cmd := &cobra.Command{
		Use:     "show FILE",
		Short:   "Shows whether channel rules are signed by enough keys",
		Long:    "Show checks the file, and prints its version and whose signatures are missing.",
		Example: "  ampoule channel rules show channels.yaml",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			r, root, err := readRules(args[0], trust)
			if err != nil {
				return err
			}
			return s.printRules(r, root)
		},
	}
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt)
	cmd.Flags().StringVar(&trust, "trust", "trust.yaml", "the trust root's file")
	return cmd
}

// readRules reads channel rules, and the trust root whose keys sign them.
func readRules(file, trust string) (*rules.Rules, *roots.Root, error) {
	r, err := rules.Read(file)
	if err != nil {
		return nil, nil, err
	}
	root, err := roots.Read(trust)
	return r, root, err
}

func isRootKey(root *roots.Root, public keys.Public) bool {
	for _, name := range root.Roles[roots.RoleRoot].Keys {
		if root.Keys[name].Public == public.Text() {
			return true
		}
	}
	return false
}

// signRules writes a signature into a file of channel rules, and reads it again.
func signRules(file string, r *rules.Rules, id, signature string) (*rules.Rules, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading channel rules: %w", err)
	}
	text = rules.WithSignature(text, r.Signatures, id, signature)
	signed, err := rules.Parse(file, text)
	if err == nil && signed.Hash() != r.Hash() {
		err = faults.New(faults.Input, "write signatures: at the end of the file, or remove it", "%s cannot be signed: its signatures stand among other keys", file)
	}
	if err != nil {
		return nil, err
	}
	if err := replaceFile(file, text); err != nil {
		return nil, fmt.Errorf("writing channel rules: %w", err)
	}
	return signed, nil
}
