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
	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/trust"
	"ampoule/registry/trust/roots"
	"ampoule/service/deployments"
	"ampoule/service/wire"
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
may lack something for that.

With --server the service is asked, to which the hosts report: channels are those of its registry.`,
		Example: `  ampoule deployments sha256:…
  ampoule deployments --reports /srv/reports --hosts hosts.yaml
  ampoule deployments urllib3==2.2.1 --reports /srv/reports
  ampoule deployments libssl.so.3 --reports /srv/reports --repository registry.example/web`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			wanted := ""
			if len(args) > 0 {
				wanted = args[0]
			}
			what, err := deployments.Parse(wanted)
			if err != nil {
				return &UsageError{Verb: cmd.CommandPath(), Err: err}
			}
			if c != nil {
				return s.deploymentsThere(cmd, c, wanted, f)
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

// DeploymentsReport says who holds something, as JSON.
type DeploymentsReport wire.Deployments

// deployments reads reports and channels, and prints who holds something.
func (s *Session) deployments(cmd *cobra.Command, what deployments.Wanted, f deploymentFlags) error {
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
		look := &deployments.Search{Wanted: what, Bill: func(ctx context.Context, ref string) ([]byte, error) { return contents.Bill(ctx, reg, ref) }}
		look.Begin()
		found, err := s.readReports(ctx, w, f, policy, look)
		if err != nil {
			return err
		}
		look.Hosts(ctx, found)
		lookIntoChannels(ctx, w, look, policy, append(deployments.FollowedBy(found), f.channels...), f.repositories)
		return s.printDeployments(look.End())
	})
}

// ownRepositories are the repositories of the store's registry; nil where another one is meant, which does
// not list them.
func ownRepositories(ctx context.Context, w *wiring.Parts, reg *registry.Registry) ([]string, error) {
	repo, err := reg.Repository("any")
	if err != nil || !repo.IsOwn() {
		return nil, err
	}
	all, err := w.Own.Artifacts(ctx)
	return deployments.Repositories(all), err
}

// printDeployments prints who holds something. What could not be looked at is an error of kind
// Refused.
func (s *Session) printDeployments(d wire.Deployments) error {
	out := DeploymentsReport(d)
	if err := s.print(out.text(time.Now()), out); err != nil || len(out.Unknown) == 0 {
		return err
	}
	return faults.New(faults.Refused, "", "%d things could not be looked at: the answer may lack something", len(out.Unknown))
}

// readReports reads the reports that count; others are noted.
func (s *Session) readReports(ctx context.Context, w *wiring.Parts, f deploymentFlags, policy string, look *deployments.Search) ([]reports.Report, error) {
	if f.reports == "" {
		return nil, nil
	}
	known, err := hostKeys(ctx, w, f.hosts, policy)
	if err != nil {
		return nil, err
	}
	found, refused, err := known.ReadDir(ctx, f.reports)
	for _, r := range refused {
		look.Unknown("%s: %v", r.File, r.Err)
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

// lookIntoChannels reads channels, by the policy: those that are named, and those of repositories. Those
// that cannot be read are noted.
func lookIntoChannels(ctx context.Context, w *wiring.Parts, look *deployments.Search, policy string, names, repositories []string) {
	if len(names)+len(repositories) == 0 {
		return
	}
	asked := slices.Concat(names, repositories)
	slices.Sort(asked)
	shown := strings.Join(slices.Compact(asked), ", ")
	if policy == "" {
		look.Unknown("channels of %s: no policy is set on this machine, so nothing says whom to believe", shown)
		return
	}
	all, err := w.Channels(ctx, policy)
	if err != nil {
		look.Unknown("channels of %s: %v", shown, err)
		return
	}
	look.Open, look.Names = all.Open, all.Names
	look.Channels(ctx, names, repositories)
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
