package cli

import (
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ampoule/registry"
	"ampoule/registry/channel"
	"ampoule/registry/channel/imagefile"
	"ampoule/service/client"
	"ampoule/service/wire"
)

// ownFlags are the flags of verbs of channels that say by which keys and policy this machine works.
var ownFlags = []string{"policy", "key", "passphrase-file", "form"}

// there reads NAME:CHANNEL for a service, which has policy and keys of its own.
func there(cmd *cobra.Command, c *client.Client, ref string) (channel.Name, error) {
	var n channel.Name
	var err error
	if n.Repository, n.Channel, err = channelOf(cmd, ref); err != nil {
		return n, err
	}
	for _, name := range ownFlags {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		if err := hereAlone(cmd, c, name); err != nil {
			return n, err
		}
	}
	return n, nil
}

// movesThere has a service add an entry to a channel.
func (s *Session) movesThere(cmd *cobra.Command, c *client.Client, ref string, files []*imagefile.File, m channel.Move) error {
	n, err := there(cmd, c, ref)
	if err != nil {
		return err
	}
	of, err := c.Move(cmd.Context(), n.Channel, string(m.Action), wire.ChannelMove{Name: n.Repository, Digest: m.Digest, From: m.From, Reason: m.Reason, BreakGlass: m.BreakGlass})
	if err != nil {
		return err
	}
	if err := s.pinFiles(files, of.Names); err != nil {
		return err
	}
	return s.printWritten(reportThere(of), revokedThere(of))
}

// revokedThere says why what a channel names must not be used; nil where it may.
func revokedThere(of wire.Channel) error {
	reason, revoked := of.Revoked[of.Names]
	if !revoked {
		return nil
	}
	e := &channel.RevokedError{Of: of.Name + ":" + of.Channel, Digest: of.Names, Reason: reason}
	for _, digest := range slices.Backward(of.Accepted) {
		if digest != of.Names {
			e.Back = digest
			break
		}
	}
	return e
}

// approvesThere has a service sign an approval for the caller.
func (s *Session) approvesThere(cmd *cobra.Command, c *client.Client, ref, digest string, err error) error {
	if err != nil {
		return err
	}
	n, err := there(cmd, c, ref)
	if err != nil {
		return err
	}
	a, err := c.Approve(cmd.Context(), n.Channel, wire.ChannelMove{Name: n.Repository, Digest: digest})
	if err != nil {
		return err
	}
	s.tell("approved by key %s for channel %s, for %s", a.Key, n, a.Caller)
	return s.print(a.Ref, signedResult{Ref: a.Ref, Key: a.Key})
}

// resolvesThere prints what a channel of a service names, and has files name that first.
func (s *Session) resolvesThere(cmd *cobra.Command, c *client.Client, ref, stale string, files []*imagefile.File, err error) error {
	if err != nil {
		return err
	}
	n, err := there(cmd, c, ref)
	if err != nil {
		return err
	}
	of, err := c.ResolveChannel(cmd.Context(), n.Repository, n.Channel, stale)
	if err != nil {
		return err
	}
	if err := s.pinFiles(files, of.Digest); err != nil {
		return err
	}
	report := reportThere(of)
	return s.print(report.Ref, report)
}

// listsThere lists the entries of a channel of a service.
func (s *Session) listsThere(cmd *cobra.Command, c *client.Client, ref string, unverified bool, err error) error {
	if err != nil {
		return err
	}
	n, err := there(cmd, c, ref)
	if err != nil {
		return err
	}
	of, err := c.History(cmd.Context(), n.Repository, n.Channel, unverified)
	if err != nil {
		return err
	}
	if unverified {
		s.warn("nobody has verified any of this")
	}
	report := reportThere(of)
	return s.print(report.text(), report)
}

// checksThere prints what a service has found of a channel's digests.
func (s *Session) checksThere(cmd *cobra.Command, c *client.Client, ref string, last int, err error) error {
	if err != nil {
		return err
	}
	n, err := there(cmd, c, ref)
	if err != nil {
		return err
	}
	found, err := c.CheckChannel(cmd.Context(), n.Repository, n.Channel, last)
	if err != nil {
		return err
	}
	checked := make([]channel.Checked, 0, len(found.Targets))
	for _, t := range found.Targets {
		checked = append(checked, channel.Checked{
			Digest: t.Digest, Current: t.Current, Parts: registry.Parts{Manifests: t.Manifests, Blobs: t.Blobs, Bytes: t.Bytes}, Problems: t.Problems,
		})
	}
	return ChannelCheck(s, n.String(), checked)
}

// deploymentsThere prints who holds something, as far as a service knows.
func (s *Session) deploymentsThere(cmd *cobra.Command, c *client.Client, wanted string, f deploymentFlags) error {
	if err := hereAlone(cmd, c, "reports", "hosts", "policy"); err != nil {
		return err
	}
	query := url.Values{}
	if wanted != "" {
		query.Set("what", wanted)
	}
	for _, name := range f.channels {
		query.Add("channel", name)
	}
	d, err := c.Deployments(cmd.Context(), query)
	if err != nil {
		return err
	}
	return s.printDeployments(d)
}

// reportThere is a channel of a service as this program prints those of this machine.
func reportThere(of wire.Channel) ChannelReport {
	report := ChannelReport{
		Schema: ChannelSchema, Channel: of.Name + ":" + of.Channel, Verified: of.Verified, Ref: of.Ref, Digest: of.Names,
		Accepted: append([]string{}, of.Accepted...), Revoked: map[string]string{}, Frozen: of.Frozen, Entries: []ChannelEntry{},
	}
	for digest, why := range of.Revoked {
		report.Revoked[digest] = why
	}
	if !of.Since.IsZero() {
		report.Since = of.Since.UTC().Format(time.RFC3339)
	}
	for _, e := range of.Entries {
		report.Entries = append(report.Entries, ChannelEntry{
			Sequence: e.Seq, Hash: e.Hash, Previous: e.Previous, Time: e.Time.UTC().Format(time.RFC3339), Action: e.Action, Digest: e.Digest, From: e.From, Who: e.By,
			SignedBy: append([]string{}, e.SignedBy...), Reason: e.Reason, BreakGlass: e.BreakGlass, PassedOver: e.PassedOver, Rules: e.Rules,
			ApprovedBy: e.ApprovedBy, Evidence: e.Evidence,
		})
	}
	return report
}
