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
	"ampoule/registry/trust"
	"ampoule/registry/trust/roots"
	"ampoule/service/deployments"
	"ampoule/service/wire"
	"ampoule/wiring"
)

func newDeployments(s *Session) *cobra.Command {
	var f deploymentFlags
	cmd := &cobra.Command{
		Use:   "deployments [DIGEST|DISTRIBUTION==VERSION|LIBRARY] --reports DIR",
		Short: "Says which channels and hosts hold something",
		Long: `Deployments reads what hosts report (ampoule agent run) and the channels that they follow, and
says which of them hold a digest: with sha256:…, or NAME@sha256:…, that one; with flask==3.1.0, or
flask, the digests that have that distribution; with libssl.so.3, or libssl3, those that carry that
library, or files of that Debian package. What a digest is made of, its bill of materials says.
Without an argument all are listed.

A report counts that the key of its host has signed: of a list of hosts (--hosts), else of the role
host of the trust root that the policy names. Reports that do not count, channels that cannot be
read, and digests without a bill of materials are told, and end it with code 4 where the answer
may lack something for that.

With --server the service is asked, to which the hosts report.`,
		Example: `  ampoule deployments --reports /srv/reports --hosts hosts.yaml
  ampoule deployments urllib3==2.2.1 --reports /srv/reports
  ampoule deployments libssl.so.3 --reports /srv/reports --channel web:prod`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.service()
			if err != nil {
				return err
			}
			if c == nil && f.reports == "" && len(f.channels) == 0 {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want --reports, the directory with the hosts' reports, or --channel")}
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
	flags.StringArrayVar(&f.channels, "channel", nil, "a channel to look at beside those that hosts follow")
	channelPolicyFlag(cmd, &f.policy)
	return cmd
}

type deploymentFlags struct {
	reports, hosts, policy string
	channels               []string
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
		look := &deployments.Search{Wanted: what, Bill: func(ctx context.Context, ref string) ([]byte, error) { return contents.Bill(ctx, reg, ref) }}
		look.Begin()
		found, err := s.readReports(ctx, w, f, policy, look)
		if err != nil {
			return err
		}
		look.Hosts(ctx, found)
		lookIntoChannels(ctx, w, look, policy, append(deployments.FollowedBy(found), f.channels...))
		return s.printDeployments(look.End())
	})
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

// lookIntoChannels reads channels, by the policy. Those that cannot be read are noted.
func lookIntoChannels(ctx context.Context, w *wiring.Parts, look *deployments.Search, policy string, names []string) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if policy == "" {
		look.Unknown("channels %s: no policy is set on this machine, so nothing says whom to believe", strings.Join(names, ", "))
		return
	}
	all, err := w.Channels(ctx, policy)
	if err != nil {
		look.Unknown("channels %s: %v", strings.Join(names, ", "), err)
		return
	}
	look.Open = all.Open
	look.Channels(ctx, names)
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
	if b.Len() == 0 {
		fmt.Fprintf(&b, "nobody holds %s\n", cmp.Or(d.What, "anything"))
	}
	for _, why := range d.Unknown {
		fmt.Fprintf(&b, "unknown: %s\n", why)
	}
	return display.Clean(b.String(), true)
}
