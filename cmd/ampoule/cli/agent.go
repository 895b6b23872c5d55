package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/agent"
	"ampoule/agent/reports"
	"ampoule/config"
	"ampoule/registry/trust/keys"
	"ampoule/wiring"
)

func newAgent(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Has this host follow a channel",
		Long: `An agent follows a channel for one root of this host: it looks whether the channel has moved,
verifies its log and the artifact by the policy, installs the release, tries it, activates it,
has the host's programs use it, and watches them. When anything of that fails it goes back by
itself, and does not try that release again until the channel moves.

What it does is in a file (agent.yaml): the channel, the root, and what is to be restarted and
watched.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAgentRun(s), newAgentOnce(s), newAgentStatus(s), newAgentKeygen(s), newAgentEnroll(s))
	return cmd
}

// agentFile is where the configuration is, unless --config says another place.
const agentFile = "/etc/ampoule/agent.yaml"

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", agentFile, "the agent's configuration")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic("cli: " + err.Error())
	}
}

func newAgentRun(s *Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Follows the channel until it is ended",
		Long: `Run follows the channel until a signal ends it. A registry that is away, slow, or shows an old
log changes nothing on this host: it is told, and asked again, less and less often. A process
that was killed at any moment is followed by one that ends what it began, or goes back.

What happens is told on stderr, and in the root's journal (ampoule agent status).`,
		Example:           "  ampoule agent run --config /etc/ampoule/agent.yaml",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withAgent(cmd.Context(), file, (*agent.Agent).Run)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func newAgentOnce(s *Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "once --config FILE",
		Short: "Looks at the channel once, and does what it asks for",
		Long: `Once does what ampoule agent run does between two looks at the channel, and returns when the
release has proven itself or was gone back from: for cron, and for pipelines. A release that has
failed here, a channel that is too old, and one that names what is revoked end it with code 4.

The result is the digest that runs.`,
		Example:           "  ampoule agent once --config /etc/ampoule/agent.yaml",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withAgent(cmd.Context(), file, func(a *agent.Agent, ctx context.Context) error {
				if err := a.Once(ctx); err != nil {
					return err
				}
				return AgentStatus(s, a.Settings)
			})
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// withAgent makes an agent of a configuration and has it work.
func (s *Session) withAgent(ctx context.Context, file string, work func(*agent.Agent, context.Context) error) error {
	set, err := agent.ReadSettings(file)
	if err != nil {
		return err
	}
	machine, err := config.Read(s.Environ, "")
	if err != nil {
		return err
	}
	return s.wired(ctx, func(ctx context.Context, w *wiring.Parts) error {
		a, err := w.Agent(ctx, set, wiring.AgentOptions{
			Policy: machine.Trust.Policy, Platform: platform(), Environ: s.Environ,
			Before: s.before,
			Tell:   func(text string) { s.tell("%s", text) },
		})
		if err != nil {
			return err
		}
		return work(a, ctx)
	})
}

func newAgentKeygen(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen NAME",
		Short: "Makes a host's key: NAME.key, NAME.pub and NAME.pass",
		Long: `Keygen makes the key that this host signs its reports with. It is encrypted with a passphrase
that is drawn at random and lies in NAME.pass: nobody is there to type one when the host starts.
NAME.key and NAME.pass can be read by their owner alone. NAME.pub goes to where reports are read
(ampoule agent enroll).

The result is the key's ID.`,
		Example:           "  ampoule agent keygen /etc/ampoule/host",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			return AgentKeygen(s, args[0])
		},
	}
}

// AgentKeygen makes a host's key with a passphrase of its own.
func AgentKeygen(s *Session, name string) error {
	passphrase := rand.Text() + rand.Text()
	file := name + ".pass"
	if err := createFile(file, []byte(passphrase+"\n"), 0o600); err != nil {
		return err
	}
	if err := KeysGenerate(s, name, []byte(passphrase)); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

func newAgentEnroll(s *Session) *cobra.Command {
	var file string
	var replace bool
	cmd := &cobra.Command{
		Use:   "enroll HOST=FILE --hosts hosts.yaml",
		Short: "Adds a host to those whose reports count",
		Long: `Enroll adds the public key of a host to a list of hosts, which is made if it is missing. From
then on the reports of that name count that this key has signed (ampoule deployments).`,
		Example: "  ampoule agent enroll web-1=web-1.pub --hosts hosts.yaml",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, key, found := strings.Cut(args[0], "=")
			if !found || file == "" {
				return &UsageError{Verb: cmd.CommandPath(), Err: errors.New("want HOST=FILE, and --hosts")}
			}
			public, err := keys.ReadPublic(key)
			if err != nil {
				return err
			}
			if err := reports.Enroll(file, name, public, replace); err != nil {
				return err
			}
			return s.print(public.ID(), keyResult{ID: public.ID(), Public: key})
		},
	}
	cmd.Flags().StringVar(&file, "hosts", "", "the list of hosts")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the key of a host that is there")
	return cmd
}

func newAgentStatus(s *Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "status --config FILE",
		Short: "Shows what this host follows and runs",
		Long: `Status prints what the agent has written down: the digest that runs, what the channel wants, what
is under way, what has failed here and why, and the last events. It asks no registry, and does
not wait for the agent.`,
		Example:           "  ampoule agent status\n  ampoule agent status --output json",
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			set, err := agent.ReadSettings(file)
			if err != nil {
				return err
			}
			return AgentStatus(s, set)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// AgentSchema names the form of an [AgentReport].
const AgentSchema = "ampoule.agent/v1"

// AgentReport is the state of an agent as JSON.
type AgentReport struct {
	Schema  string `json:"schema"`
	Channel string `json:"channel"`
	Root    string `json:"root"`
	// State says in one word how the host follows its channel.
	State string `json:"state"`
	// Digest is what runs, and Since when it was activated, in RFC 3339; empty where nothing does.
	Digest string `json:"digest,omitempty"`
	Since  string `json:"since,omitempty"`
	// Good is what has proven itself last. Wanted is what the channel wants of this host.
	Good   string `json:"good,omitempty"`
	Wanted string `json:"wanted,omitempty"`
	// Phase is how far a deployment has come that is under way; empty without any.
	Phase string `json:"phase,omitempty"`
	// Entry is when the channel's last entry was written, and Read when its log was read last.
	Entry string `json:"entry,omitempty"`
	Read  string `json:"read,omitempty"`
	// Later is when a promotion becomes this host's.
	Later string `json:"later,omitempty"`
	// Alarm is what a person has to look at.
	Alarm string `json:"alarm,omitempty"`
	// Failed are digests that have failed here, and why.
	Failed map[string]string `json:"failed"`
	// Events are the last ones, the newest first.
	Events []AgentEvent `json:"events"`
}

// AgentEvent is something that has happened, as JSON.
type AgentEvent struct {
	Time   string `json:"time"`
	Digest string `json:"digest,omitempty"`
	What   string `json:"what"`
}

// AgentStatus prints what an agent has written down.
func AgentStatus(s *Session, set agent.Settings) error {
	j, err := agent.ReadJournal(set.Root)
	if err != nil {
		return err
	}
	r := agentReportOf(j, set.Root)
	return s.print(r.text(), r)
}

// agentReportOf is a journal as JSON.
func agentReportOf(j *agent.Journal, root string) AgentReport {
	r := AgentReport{
		Schema: AgentSchema, Channel: j.Channel, Root: root, State: string(j.State), Digest: j.Active, Since: agent.Stamp(j.Since), Good: j.Good,
		Wanted: j.Wanted.Digest, Phase: string(j.Phase), Entry: agent.Stamp(j.Entry), Read: agent.Stamp(j.ReadAt), Later: agent.Stamp(j.Later), Alarm: j.Alarm,
		Failed: map[string]string{}, Events: []AgentEvent{},
	}
	if j.Phase != agent.Idle || r.State == "" {
		r.State = string(reports.Deploys)
	}
	for digest, q := range j.Quarantined {
		r.Failed[digest] = q.Why
	}
	for i := len(j.Events) - 1; i >= 0; i-- {
		e := j.Events[i]
		r.Events = append(r.Events, AgentEvent{agent.Stamp(e.Time), e.Digest, e.What})
	}
	return r
}
