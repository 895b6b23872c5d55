package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/agent/reports"
	"ampoule/artifact"
	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/registry"
	"ampoule/registry/trust"
	"ampoule/registry/trust/roots"
	"ampoule/sbom"
	"ampoule/wiring"
)

func newDeployments(s *Session) *cobra.Command {
	var f deploymentFlags
	cmd := &cobra.Command{
		Use:   "deployments [DIGEST|DISTRIBUTION==VERSION|LIBRARY]",
		Short: "Says which channels and hosts hold something",
		Long: `Deployments reads the channels of the registry and what hosts report (ampoule agent run), and
says which of them hold a digest: with sha256:…, or NAME@sha256:…, that one; with flask==3.1.0, or
flask, the digests that have that distribution; with libssl.so.3, or libssl3, those that carry that
library, or files of that Debian package. What a digest is made of, its bill of materials says.
Without an argument all are listed.

Channels are those of the store's registry, and of each repository that is named, by --repository, by
--channel or by a report; copies of channels are channels, too. Another registry does not list its
repositories: with --registry they must be named.

A report counts that the key of its host has signed: of a list of hosts (--hosts), else of the role
host of the trust root that the policy names. Reports that do not count, channels that cannot be
read, and digests without a bill of materials are told, and end it with code 4 where the answer
may lack something for that.`,
		Example: `  ampoule deployments sha256:…
  ampoule deployments --reports /srv/reports --hosts hosts.yaml
  ampoule deployments urllib3==2.2.1 --reports /srv/reports
  ampoule deployments libssl.so.3 --reports /srv/reports --repository registry.example/web`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted := ""
			if len(args) > 0 {
				wanted = args[0]
			}
			what, err := parseHeld(wanted)
			if err != nil {
				return &UsageError{Verb: cmd.CommandPath(), Err: err}
			}
			return s.deployments(cmd, what, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.reports, "reports", "", "the directory with the hosts' reports")
	flags.StringVar(&f.hosts, "hosts", "", "the list of hosts and their keys (default: the keys of the role host in the trust root)")
	flags.StringArrayVar(&f.channels, "channel", nil, "a channel to look at, NAME:CHANNEL")
	flags.StringArrayVar(&f.repositories, "repository", nil, "a repository whose channels to look at, NAME or HOST/NAME")
	channelPolicyFlag(cmd, &f.policy)
	return cmd
}

type deploymentFlags struct {
	reports, hosts, policy string
	channels, repositories []string
}

// DeploymentsSchema names the form of a [DeploymentsReport].
const DeploymentsSchema = "ampoule.deployments/v1"

// DeploymentsReport says who holds something, as JSON.
type DeploymentsReport struct {
	Schema string `json:"schema"`
	// What was asked for; empty for everything.
	What string `json:"what"`
	// Channels and Hosts hold it.
	Channels []ChannelHolds `json:"channels"`
	Hosts    []HostHolds    `json:"hosts"`
	// Unknown says what could not be looked at, and why: the answer may lack something.
	Unknown []string `json:"unknown"`
}

// ChannelHolds is a channel that names a digest, or may go back to it.
type ChannelHolds struct {
	Channel string `json:"channel"`
	Digest  string `json:"digest"`
	// Named says that the channel names the digest now; without it, the channel may go back to it.
	Named bool `json:"named"`
	// Revoked says why the digest must not be used.
	Revoked string `json:"revoked,omitempty"`
	// Holds is what the digest has of what was asked for.
	Holds []string `json:"holds"`
}

// HostHolds is a host that runs a digest.
type HostHolds struct {
	Host    string `json:"host"`
	Channel string `json:"channel"`
	Root    string `json:"root"`
	Digest  string `json:"digest"`
	// State says how the host follows its channel, and Why why it does not.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	// Since is when the digest was activated, and Reported when the host has said so.
	Since    string `json:"since,omitempty"`
	Reported string `json:"reported"`
	// Wanted is what the channel wants of the host.
	Wanted string `json:"wanted,omitempty"`
	// Holds is what the digest has of what was asked for.
	Holds []string `json:"holds"`
}

// held is what is looked for: a digest, or a part by its name. The zero value is everything.
type held struct {
	text, digest, name string
	version            packaging.Version
	versioned          bool
}

// parseHeld reads DIGEST, NAME@DIGEST, DISTRIBUTION==VERSION or the name of a part.
func parseHeld(text string) (held, error) {
	h := held{text: text}
	name, version, versioned := strings.Cut(text, "==")
	_, digest, pinned := strings.Cut(text, "@")
	switch {
	case text == "":
	case artifact.IsDigest(text):
		h.digest = text
	case pinned && artifact.IsDigest(digest):
		h.digest = digest
	case pinned || strings.HasPrefix(text, "sha256:"):
		return h, fmt.Errorf("%q is no digest: sha256: and 64 hexadecimal digits", text)
	case versioned:
		v, err := packaging.ParseVersion(version)
		if err != nil {
			return h, err
		}
		h.name, h.version, h.versioned = name, v, true
	default:
		h.name = text
	}
	return h, nil
}

// in lists what of a document's parts is looked for.
func (h held) in(d *sbom.Document) []string {
	found := []string{}
	for _, p := range d.Parts() {
		if h.is(p) {
			found = append(found, strings.TrimSuffix(p.Name+" "+p.Version, " "))
		}
	}
	return found
}

// is reports whether a part is looked for.
func (h held) is(p sbom.Part) bool {
	if p.Kind == "pypi" && packaging.NormalName(h.name) == packaging.NormalName(p.Name) {
		v, err := packaging.ParseVersion(p.Version)
		return !h.versioned || err == nil && v.Compare(h.version) == 0
	}
	if h.versioned {
		return p.Kind == "deb" && h.name == p.Name && h.text == p.Name+"=="+p.Version
	}
	return p.Kind != "pypi" && (h.name == p.Name || h.name == p.Source) || slices.Contains(p.Files, h.name)
}

// holdings answers what digests hold, each looked at once.
type holdings struct {
	what   held
	src    contents.Source
	known  map[string][]string
	failed map[string]string
}

// of lists what a digest has of what is looked for. That it has nothing of that is false.
func (h *holdings) of(ctx context.Context, ref, digest string) (holds []string, ok bool) {
	if h.what.name == "" {
		return []string{}, h.what.digest == "" || h.what.digest == digest
	}
	if holds, seen := h.known[digest]; seen {
		return holds, len(holds) > 0
	}
	bill, err := contents.Bill(ctx, h.src, ref)
	if err == nil {
		var d *sbom.Document
		if d, err = sbom.Read(bill); err == nil {
			h.known[digest] = h.what.in(d)
			delete(h.failed, digest)
			return h.known[digest], len(h.known[digest]) > 0
		}
	}
	h.failed[digest] = fmt.Sprintf("what %s holds: %v", ref, err)
	return nil, false
}

// deployments reads reports and channels, and prints who holds something.
func (s *Session) deployments(cmd *cobra.Command, what held, f deploymentFlags) error {
	return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
		reg, err := w.Registry()
		if err != nil {
			return err
		}
		policy, err := s.policyFile(f.policy)
		if err != nil && (f.hosts == "" || len(f.channels) > 0) {
			return err
		}
		own, err := ownRepositories(ctx, w, reg)
		if err != nil {
			return err
		}
		f.repositories = append(f.repositories, own...)
		if own == nil && f.reports == "" && len(f.channels)+len(f.repositories) == 0 {
			return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want --repository or --channel: this registry does not list what it has; or --reports, the directory with the hosts' reports")}
		}
		out := DeploymentsReport{Schema: DeploymentsSchema, What: what.text, Channels: []ChannelHolds{}, Hosts: []HostHolds{}, Unknown: []string{}}
		look := &holdings{what, reg, map[string][]string{}, map[string]string{}}
		found, err := s.readReports(ctx, w, f, policy, &out)
		if err != nil {
			return err
		}
		for _, r := range found {
			out.addHost(ctx, look, r)
		}
		out.addChannels(ctx, w, look, policy, append(followedBy(found), f.channels...), f.repositories)
		return s.printDeployments(out, look.failed)
	})
}

// printDeployments prints who holds something, and what could not be looked at for that.
func (s *Session) printDeployments(out DeploymentsReport, failed map[string]string) error {
	for _, why := range failed {
		out.Unknown = append(out.Unknown, why)
	}
	slices.Sort(out.Unknown)
	if err := s.print(out.text(time.Now()), out); err != nil || len(out.Unknown) == 0 {
		return err
	}
	return faults.New(faults.Refused, "", "%d things could not be looked at: the answer may lack something", len(out.Unknown))
}

// ownRepositories are the repositories of the store's registry; nil where another one is meant, which does
// not list them.
func ownRepositories(ctx context.Context, w *wiring.Parts, reg *registry.Registry) ([]string, error) {
	repo, err := reg.Repository("any")
	if err != nil || !repo.IsOwn() {
		return nil, err
	}
	all, err := w.Own.Artifacts(ctx)
	names := []string{}
	for _, a := range all {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// readReports reads the reports that count; others are noted.
func (s *Session) readReports(ctx context.Context, w *wiring.Parts, f deploymentFlags, policy string, out *DeploymentsReport) ([]reports.Report, error) {
	if f.reports == "" {
		return nil, nil
	}
	known, err := hostKeys(ctx, w, f.hosts, policy)
	if err != nil {
		return nil, err
	}
	found, refused, err := known.ReadDir(ctx, f.reports)
	for _, r := range refused {
		out.Unknown = append(out.Unknown, fmt.Sprintf("%s: %v", r.File, r.Err))
	}
	return found, err
}

// hostKeys are the keys of hosts: of a list, else of the trust root.
func hostKeys(ctx context.Context, w *wiring.Parts, file, policy string) (reports.Keys, error) {
	if file != "" {
		return reports.ReadHosts(file)
	}
	judge, err := trust.Open(ctx, w.Store, policy, time.Now)
	if err != nil {
		return nil, err
	}
	return reports.Keys(judge.Root().KeysOf(roots.RoleHost, time.Now())), nil
}

// followedBy are the channels of reports, each once.
func followedBy(found []reports.Report) []string {
	var all []string
	for _, r := range found {
		if !slices.Contains(all, r.Channel) {
			all = append(all, r.Channel)
		}
	}
	return all
}

func (d *DeploymentsReport) addHost(ctx context.Context, look *holdings, r reports.Report) {
	if r.Digest == "" {
		return
	}
	holds, ok := look.of(ctx, r.Ref(r.Digest), r.Digest)
	if !ok {
		return
	}
	d.Hosts = append(d.Hosts, HostHolds{
		Host: r.Host, Channel: r.Channel, Root: r.Root, Digest: r.Digest, State: string(r.State), Why: r.Why, Since: r.Since, Reported: r.Time, Wanted: r.Wanted, Holds: holds,
	})
}

// addChannels reads channels, by the policy: those that are named, and all of their repositories and of
// others. Those that cannot be read are noted.
func (d *DeploymentsReport) addChannels(ctx context.Context, w *wiring.Parts, look *holdings, policy string, names, repositories []string) {
	if len(names)+len(repositories) == 0 {
		return
	}
	if policy == "" {
		d.Unknown = append(d.Unknown, fmt.Sprintf("channels of %s: no policy is set on this machine, so nothing says whom to believe", strings.Join(append(names, repositories...), ", ")))
		return
	}
	all, err := w.Channels(ctx, policy)
	if err != nil {
		d.Unknown = append(d.Unknown, fmt.Sprintf("channels of %s: %v", strings.Join(append(names, repositories...), ", "), err))
		return
	}
	for _, name := range names {
		if repository, _, err := splitChannel(name); err == nil {
			repositories = append(repositories, repository)
		}
	}
	slices.Sort(repositories)
	for _, repository := range slices.Compact(repositories) {
		found, err := all.Names(ctx, repository)
		if err != nil {
			d.Unknown = append(d.Unknown, fmt.Sprintf("channels of %s: %v", repository, err))
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := d.addChannel(ctx, all, look, name); err != nil {
			d.Unknown = append(d.Unknown, fmt.Sprintf("channel %s: %v", name, err))
		}
	}
}

// splitChannel parts NAME:CHANNEL.
func splitChannel(text string) (repository, name string, err error) {
	i := strings.LastIndexByte(text, ':')
	if i <= strings.LastIndexByte(text, '/') {
		return "", "", errors.New("it is not NAME:CHANNEL")
	}
	return text[:i], text[i+1:], nil
}

func (d *DeploymentsReport) addChannel(ctx context.Context, all *wiring.Channels, look *holdings, name string) error {
	repository, channel, err := splitChannel(name)
	if err != nil {
		return err
	}
	c, err := all.Open(repository, channel)
	if err != nil {
		return err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return err
	}
	digests := slices.Clone(log.Accepted)
	if log.Digest != "" && !slices.Contains(digests, log.Digest) {
		digests = append(digests, log.Digest) // it is revoked, and named still
	}
	for _, digest := range slices.Backward(digests) {
		if holds, ok := look.of(ctx, c.Reference(digest), digest); ok {
			d.Channels = append(d.Channels, ChannelHolds{name, digest, digest == log.Digest, log.Revoked[digest], holds})
		}
	}
	return nil
}

// text shows who holds something to people.
func (d DeploymentsReport) text(now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, c := range d.Channels {
		how := "may go back to it"
		if c.Named {
			how = "names it"
		}
		if c.Revoked != "" {
			how += ", revoked: " + c.Revoked
		}
		fmt.Fprintf(w, "channel\t%s\t%s\t%s\t%s\n", c.Channel, shortDigest(c.Digest), how, strings.Join(c.Holds, ", "))
	}
	for _, h := range d.Hosts {
		said := "?"
		if t, err := time.Parse(time.RFC3339, h.Reported); err == nil {
			said = "said " + ago(now.Sub(t))
		}
		how := h.State
		if h.Why != "" {
			how += ": " + h.Why
		}
		fmt.Fprintf(w, "host\t%s\t%s\t%s, %s\t%s\n", h.Host, shortDigest(h.Digest), how, said, strings.Join(h.Holds, ", "))
	}
	_ = w.Flush() // it writes to memory
	text := trimmed(b.String())
	if text == "" {
		text = fmt.Sprintf("nobody holds %s\n", cmp.Or(d.What, "anything"))
	}
	for _, why := range d.Unknown {
		text += "unknown: " + why + "\n"
	}
	return display.Clean(text, true)
}
