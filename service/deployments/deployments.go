// Package deployments says which channels and hosts hold a digest, a distribution or a library. What
// a digest is made of, its bill of materials says.
package deployments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ampoule/agent/reports"
	"ampoule/artifact"
	"ampoule/packaging"
	"ampoule/registry/channel"
	"ampoule/sbom"
	"ampoule/service/wire"
)

// Wanted is what is looked for: a digest, or a part by its name. The zero value is everything.
type Wanted struct {
	text, digest, name string
	version            packaging.Version
	versioned          bool
	// only is a kind of parts; empty is all.
	only Kind
}

// Kind is what a name is one of.
type Kind string

// The kinds.
const (
	Any          Kind = ""
	Distribution Kind = "distribution"
	Library      Kind = "library"
)

// Parse reads DIGEST, NAME@DIGEST, DISTRIBUTION==VERSION or the name of a part.
func Parse(text string) (Wanted, error) {
	w := Wanted{text: text}
	name, version, versioned := strings.Cut(text, "==")
	_, digest, pinned := strings.Cut(text, "@")
	switch {
	case text == "":
	case artifact.IsDigest(text):
		w.digest = text
	case pinned && artifact.IsDigest(digest):
		w.digest = digest
	case pinned || strings.HasPrefix(text, "sha256:"):
		return w, fmt.Errorf("%q is no digest: sha256: and 64 hexadecimal digits", text)
	case versioned:
		v, err := packaging.ParseVersion(version)
		if err != nil {
			return w, err
		}
		w.name, w.version, w.versioned = name, v, true
	default:
		w.name = text
	}
	return w, nil
}

// Of is what is looked for, if it is a part, as one of a kind.
func (w Wanted) Of(kind Kind) Wanted {
	w.only = kind
	return w
}

// in lists what of a document's parts is looked for.
func (w Wanted) in(d *sbom.Document) []string {
	found := []string{}
	for _, p := range d.Parts() {
		if w.is(p) {
			found = append(found, strings.TrimSuffix(p.Name+" "+p.Version, " "))
		}
	}
	return found
}

// is reports whether a part is looked for.
func (w Wanted) is(p sbom.Part) bool {
	switch {
	case w.only == Distribution && p.Kind != "pypi", w.only == Library && p.Kind == "pypi":
		return false
	case p.Kind == "pypi" && packaging.NormalName(w.name) == packaging.NormalName(p.Name):
		v, err := packaging.ParseVersion(p.Version)
		return !w.versioned || err == nil && v.Compare(w.version) == 0
	case w.versioned:
		return p.Kind == "deb" && w.name == p.Name && w.text == p.Name+"=="+p.Version
	}
	return p.Kind != "pypi" && (w.name == p.Name || w.name == p.Source) || slices.Contains(p.Files, w.name)
}

// Search looks for something. Its fields are set before it is used.
type Search struct {
	Wanted Wanted
	// Bill gives the bill of materials of a digest, by a reference.
	Bill func(ctx context.Context, ref string) ([]byte, error)
	// Open opens a channel by REPOSITORY and name.
	Open func(repository, name string) (*channel.Channel, error)

	known  map[string][]string
	failed map[string]string
	out    wire.Deployments
}

// Begin makes the report, with what is unknown already.
func (s *Search) Begin(unknown ...string) {
	s.known, s.failed = map[string][]string{}, map[string]string{}
	s.out = wire.Deployments{
		Schema: wire.DeploymentsSchema, What: s.Wanted.text, Channels: []wire.ChannelHolds{}, Hosts: []wire.HostHolds{}, Unknown: append([]string{}, unknown...),
	}
}

// Unknown notes what could not be looked at.
func (s *Search) Unknown(format string, args ...any) {
	s.out.Unknown = append(s.out.Unknown, fmt.Sprintf(format, args...))
}

// End gives the report.
func (s *Search) End() wire.Deployments {
	for _, why := range s.failed {
		s.out.Unknown = append(s.out.Unknown, why)
	}
	slices.Sort(s.out.Unknown)
	return s.out
}

// of lists what a digest has of what is looked for. That it has nothing of that is false.
func (s *Search) of(ctx context.Context, ref, digest string) (holds []string, ok bool) {
	if s.Wanted.name == "" {
		return []string{}, s.Wanted.digest == "" || s.Wanted.digest == digest
	}
	if holds, seen := s.known[digest]; seen {
		return holds, len(holds) > 0
	}
	bill, err := s.Bill(ctx, ref)
	if err == nil {
		var d *sbom.Document
		if d, err = sbom.Read(bill); err == nil {
			s.known[digest] = s.Wanted.in(d)
			delete(s.failed, digest)
			return s.known[digest], len(s.known[digest]) > 0
		}
	}
	s.failed[digest] = fmt.Sprintf("what %s holds: %v", ref, err)
	return nil, false
}

// Hosts adds the hosts that hold it, by their reports.
func (s *Search) Hosts(ctx context.Context, found []reports.Report) {
	for _, r := range found {
		if r.Digest == "" {
			continue
		}
		holds, ok := s.of(ctx, r.Ref(r.Digest), r.Digest)
		if !ok {
			continue
		}
		s.out.Hosts = append(s.out.Hosts, wire.HostHolds{
			Host: r.Host, Channel: r.Channel, Root: r.Root, Digest: r.Digest, State: string(r.State), Why: r.Why, Since: r.Since, Reported: r.Time, Wanted: r.Wanted, Holds: holds,
		})
	}
}

// FollowedBy are the channels of reports, each once.
func FollowedBy(found []reports.Report) []string {
	var all []string
	for _, r := range found {
		if !slices.Contains(all, r.Channel) {
			all = append(all, r.Channel)
		}
	}
	return all
}

// Channels adds the channels that hold it, of a list of NAME:CHANNEL. Those that cannot be read are
// noted.
func (s *Search) Channels(ctx context.Context, names []string) {
	names = slices.Clone(names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := s.channel(ctx, name); err != nil {
			s.Unknown("channel %s: %v", name, err)
		}
	}
}

func (s *Search) channel(ctx context.Context, name string) error {
	i := strings.LastIndexByte(name, ':')
	if i <= strings.LastIndexByte(name, '/') {
		return errors.New("it is not NAME:CHANNEL")
	}
	c, err := s.Open(name[:i], name[i+1:])
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
		if holds, ok := s.of(ctx, c.Reference(digest), digest); ok {
			s.out.Channels = append(s.out.Channels, wire.ChannelHolds{Channel: name, Digest: digest, Named: digest == log.Digest, Revoked: log.Revoked[digest], Holds: holds})
		}
	}
	return nil
}
