package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/builder"
	"ampoule/builder/fetch"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/service/client"
	"ampoule/service/remote"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// Service is a service as far as verbs ask it.
type Service interface {
	Builds(ctx context.Context, query url.Values) (wire.Builds, error)
	FollowLog(ctx context.Context, id, step string, w io.Writer) (wire.Build, error)
	Cancel(ctx context.Context, id string) (wire.Build, error)
	Lock(ctx context.Context, id string) ([]byte, error)
	WhoAmI(ctx context.Context) (wire.Who, error)
	Artifacts(ctx context.Context, name string) (wire.Artifacts, error)
	Plan(ctx context.Context, a submission.Archive) (wire.Plan, error)
}

// service is the service that works in this machine's place; nil where this machine works.
func (s *Session) service() (*client.Client, error) {
	c, _, err := s.serviceAndToken()
	return c, err
}

// serviceAndToken is as service, with the token that it is asked by.
func (s *Session) serviceAndToken() (*client.Client, string, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, "", err
	}
	at := set.Service.At(s.Server)
	if at.URL == "" {
		return nil, "", nil
	}
	secret, err := at.Secret()
	if err != nil {
		return nil, "", err
	}
	o := client.Options{Server: at.URL, Token: secret, Agent: "ampoule/" + thisVersion().Version}
	if secret == "" && at.ActionsURL != "" {
		o.Transport = &client.Actions{URL: at.ActionsURL, Token: at.ActionsToken, Audience: strings.TrimSuffix(at.URL, "/")}
	}
	c, err := client.New(o)
	return c, secret, err
}

// remote has a service build and lock.
func (s *Session) remote(c *client.Client, w client.Wishes) *remote.Builder {
	return &remote.Builder{Client: c, Environ: s.Environ, Wishes: w}
}

// wishFlags are the flags of what only a service is asked for.
func wishFlags(cmd *cobra.Command, w *client.Wishes) {
	flags := cmd.Flags()
	flags.StringSliceVar(&w.Labels, "label", nil, "with a service: a label that the worker must have")
	flags.IntVar(&w.Priority, "priority", 0, "with a service: from -10 to 10; a greater one begins first")
	flags.DurationVar(&w.Limit, "limit", 0, "with a service: how long it may take (default: as long as the service allows)")
}

// forceFlag is that of verbs that build.
func forceFlag(cmd *cobra.Command, w *client.Wishes) {
	cmd.Flags().BoolVar(&w.Force, "force", false, "with a service: build although the key is published, and compare; code 4 if the bits differ")
}

// serviceFor is the service that gets wishes; nil where this machine works, which has none.
func (s *Session) serviceFor(cmd *cobra.Command, w client.Wishes) (*client.Client, error) {
	c, err := s.service()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"force", "label", "priority", "limit"} {
		if f := cmd.Flags().Lookup(name); c == nil && f != nil && f.Changed {
			return nil, &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--%s is for a service, and this machine works: name one with --server", name)}
		}
	}
	if w.Limit != 0 && w.Limit < time.Second {
		return nil, &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--limit %s is less than a second", w.Limit)}
	}
	return c, nil
}

// hereAlone refuses flags that say how this machine works, where a service does.
func hereAlone(cmd *cobra.Command, c *client.Client, flags ...string) error {
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("--%s is about this machine, and %s works; leave it out, or give --server none", name, c)}
		}
	}
	return nil
}

// plainReference is how an artifact of a name and digest is found, by whoever has the same registry.
func plainReference(name, digest string) string { return name + "@" + digest }

// ListBuilds lists the latest builds of a service.
func ListBuilds(ctx context.Context, s *Session, c Service) error {
	page, err := c.Builds(ctx, url.Values{"limit": {"50"}})
	if err != nil {
		return err
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, b := range page.Builds {
		result := b.State
		switch {
		case b.Failure != nil && b.State == "failed":
			result = b.State + ": " + b.Failure.Kind
		case b.Result != nil && b.Result.Digest != "":
			result = shortDigest(b.Result.Digest)
		case b.Kind == "lock" && b.State == "done":
			result = "locked"
		}
		took := "-"
		if !b.Ended.IsZero() && !b.Started.IsZero() {
			took = display.Duration(b.Ended.Sub(b.Started))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Created.Local().Format(time.DateTime), b.ID, display.Clean(b.Recipe, false), display.Clean(result, false), took, display.Clean(b.Caller, false))
	}
	_ = w.Flush() // it writes to memory
	if len(page.Builds) == 0 && s.Output == Text {
		s.tell("the service has no build that the token may read")
		return nil
	}
	return s.print(text.String(), page.Builds)
}

// FollowLog prints the log of a build of a service, of one step if it is named, until the build ends.
// The end of a build that fails is this one's, too.
func FollowLog(ctx context.Context, s *Session, c Service, id, step string) error {
	if id == "latest" {
		page, err := c.Builds(ctx, url.Values{"limit": {"1"}})
		if err != nil {
			return err
		}
		if len(page.Builds) == 0 {
			return notFound("a build", "submit one with `ampoule build --server`")
		}
		id = page.Builds[0].ID
	}
	out := s.Out
	if s.Output == JSON {
		out = &bytes.Buffer{}
	}
	b, err := c.FollowLog(ctx, id, strings.TrimSuffix(step, logExt), cleanLines{out})
	if err != nil {
		return err
	}
	s.answered = true
	if s.Output == JSON {
		return s.print("", b)
	}
	return nil
}

// cleanLines shows everything that would act on a terminal instead of passing it on.
type cleanLines struct{ w io.Writer }

// Write implements io.Writer.
func (c cleanLines) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.w, display.Clean(string(p), true)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ListArtifacts lists what a service's registry has, or what it has of a name.
func ListArtifacts(ctx context.Context, s *Session, c Service, name string, refs bool, now time.Time) error {
	all, err := c.Artifacts(ctx, name)
	if err != nil {
		return err
	}
	if name != "" && len(all.Artifacts) == 0 {
		return notFound(fmt.Sprintf("an artifact %q in the service's registry", name), "list them with `ampoule list`")
	}
	if len(all.Artifacts) == 0 && s.Output == Text {
		s.tell("nothing is published there")
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, a := range all.Artifacts {
		if refs {
			fmt.Fprintln(w, a.Ref)
			continue
		}
		marks := a.Groups
		if !a.Whole {
			marks = append(marks, "(damaged)")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Name, shortDigest(a.Digest), cmp.Or(a.Python, "-"), display.Size(a.Bytes), ago(now.Sub(a.Published)), strings.Join(marks, " "))
	}
	_ = w.Flush() // it writes to memory
	return s.print(display.Clean(b.String(), true), all.Artifacts)
}

// RemotePlan tells what a service would do with the session's recipe.
func RemotePlan(ctx context.Context, s *Session, c Service) error {
	in, err := s.readLocked()
	if err != nil {
		return err
	}
	req, err := builder.WithWorkspace(ctx, in.request(builder.Request{}), s.Environ)
	if err != nil {
		return err
	}
	a, err := submission.Pack(submission.Input{Recipe: req.Recipe, Requirements: req.Requirements, Workspace: req.Workspace})
	if err != nil {
		return err
	}
	p, err := c.Plan(ctx, a)
	if err != nil {
		return err
	}
	plan := builder.Plan{Key: p.Key, Compiled: p.Compiled}
	res := planResult{p.Name, p.Key, []plannedInput{}, append([]string{}, p.Compiled...), []builder.Adopted{}}
	for _, i := range p.Inputs {
		plan.Inputs = append(plan.Inputs, fetch.Item{Source: i.Source, Name: i.Name, Version: i.Version, File: i.File, SHA256: i.SHA256})
		res.Inputs = append(res.Inputs, plannedInput(i))
	}
	if p.Published != "" {
		s.tell("the key is published: %s", plainReference(p.Name, p.Published))
	}
	return s.print(planText(plan), res)
}
