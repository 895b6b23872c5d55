package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ampoule/audit/survey"
	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
	"ampoule/packaging"
	"ampoule/service/client"
	"ampoule/service/remote"
)

// leadsAway reports whether a reference is not one to the usual registry: it has a host, or is the
// path of a layout.
func leadsAway(ref string) bool {
	_, _, layout := splitLayout(ref)
	first, _, below := strings.Cut(ref, "/")
	return layout || below && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// serviceOf is the service whose registry has what references lead to; nil where one of them leads
// elsewhere, or --registry does.
func (s *Session) serviceOf(cmd *cobra.Command, refs ...string) (*client.Client, error) {
	c, err := s.service()
	if c == nil || err != nil {
		return nil, err
	}
	away := s.Registry
	for _, ref := range refs {
		if leadsAway(ref) {
			away = ref
		}
	}
	switch {
	case away == "":
		return c, nil
	case cmd.Flags().Changed("server"):
		return nil, &UsageError{Verb: cmd.CommandPath(), Err: fmt.Errorf("%s leads elsewhere, and --server names %s: leave one of them out", away, c)}
	}
	return nil, nil
}

// find gives the name and the digest of an artifact of a service. Which one a name alone stands for
// is told.
func (s *Session) find(ctx context.Context, c *client.Client, ref string) (name, digest string, err error) {
	name, digest, err = remote.Artifacts{Client: c}.Find(ctx, ref)
	if err == nil && name == ref {
		s.tell("%s is the newest artifact of that name", plainReference(name, digest))
	}
	return name, digest, err
}

// RemoteInspect prints what a service says of an artifact of its registry.
func RemoteInspect(ctx context.Context, s *Session, c *client.Client, ref string) error {
	name, digest, err := s.find(ctx, c, ref)
	if err != nil {
		return err
	}
	d, err := remote.Artifacts{Client: c}.Describe(ctx, name, digest)
	if err != nil {
		return err
	}
	return Inspect(ctx, s, d, ref)
}

// RemoteDiff prints how two artifacts of a service's registry differ.
func RemoteDiff(ctx context.Context, s *Session, c *client.Client, from, to string, o DiffOptions) error {
	var both [2][2]string
	for i, ref := range []string{from, to} {
		name, digest, err := s.find(ctx, c, ref)
		if err != nil {
			return err
		}
		both[i] = [2]string{name, digest}
	}
	data, err := c.Diff(ctx, both[0], both[1])
	if err != nil {
		return err
	}
	d := &contents.Diff{}
	if err := json.Unmarshal(data, d); err != nil {
		return fmt.Errorf("reading the difference that %s tells: %w", c, err)
	}
	return s.tellDiff(d, o)
}

// RemoteSBOM prints the bill of materials of an artifact of a service's registry, or writes it into a
// file.
func RemoteSBOM(ctx context.Context, s *Session, c *client.Client, ref, to string) error {
	name, digest, err := s.find(ctx, c, ref)
	if err != nil {
		return err
	}
	data, err := c.Bill(ctx, name, digest)
	if err != nil {
		return err
	}
	return s.writeBill(data, to)
}

// maxSent bounds a wheel that a service is to look at, in bytes: it is sent from memory.
const maxSent = 256 << 20

// RemoteAudit has a service look at a wheel.
func RemoteAudit(ctx context.Context, s *Session, c *client.Client, wheel string, o AuditOptions) error {
	l, err := o.lint()
	if err != nil {
		return err
	}
	_, noWheel := packaging.ParseWheelName(filepath.Base(wheel))
	if noWheel != nil || l.Refuse {
		return &UsageError{Verb: "ampoule audit", Err: errors.New("a service looks at one wheel, and refuses nothing that --lint tells: leave --server out, nothing else is needed here")}
	}
	info, err := os.Stat(wheel)
	if err != nil {
		return fmt.Errorf("auditing %s: %w", wheel, err)
	}
	if info.Size() > maxSent {
		return &UsageError{Verb: "ampoule audit", Err: fmt.Errorf("%s is larger than what is sent, %s: leave --server out", wheel, display.Size(maxSent))}
	}
	data, err := os.ReadFile(wheel)
	if err != nil {
		return fmt.Errorf("auditing %s: %w", wheel, err)
	}
	text, err := c.Audit(ctx, filepath.Base(wheel), data, l.On)
	if err != nil {
		return err
	}
	report, err := survey.ReadReport(text, l)
	if err != nil {
		return fmt.Errorf("reading the report of %s: %w", c, err)
	}
	report.Target = wheel
	return s.tellReport(report, o)
}
