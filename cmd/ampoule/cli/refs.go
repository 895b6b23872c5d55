package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"ampoule/artifact"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/ocidir"
	"ampoule/wiring"
)

// layoutName is what the one repository of a layout is called where nobody says a name.
const layoutName = "artifact"

// splitLayout tells the path of an OCI layout from a reference to a registry, and parts it
// from the digest or tag that it may end with. A path begins with /, ./ or ../, or it ends
// with .tar.
func splitLayout(ref string) (path, suffix string, ok bool) {
	path, digest, pinned := strings.Cut(ref, "@")
	if pinned {
		suffix = "@" + digest
	} else if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path, suffix = path[:i], path[i:]
	}
	for _, begin := range []string{"/", "./", "../"} {
		if strings.HasPrefix(ref, begin) {
			return path, suffix, true
		}
	}
	if path == "." || path == ".." {
		return path, suffix, true
	}
	if !strings.HasSuffix(path, ".tar") {
		return "", "", false
	}
	// A repository may be called so, too; then it has a digest or a tag, and no file is there.
	_, err := os.Stat(path)
	return path, suffix, err == nil || suffix == ""
}

// refsHelp says in help texts what a reference may be.
const refsHelp = `REF is NAME@sha256:… or NAME:TAG in the store's registry, in that of a service that is
named, or in the one of --registry, HOST/NAME@sha256:… in any, NAME:CHANNEL, where the channel's verified log decides and not the
tag, or the path of an OCI layout: a directory, or a file that ampoule export has written, with
@sha256:… behind it where it must be that digest. A path begins with /, ./ or ../, or ends with
.tar.`

// located is where a reference leads.
type located struct {
	*registry.Registry
	ref   string
	close func() error
}

// locate opens the registry, or the layout, that a reference leads to. Its reference is one
// that the registry understands.
func (s *Session) locate(ctx context.Context, w *wiring.Parts, ref string) (located, error) {
	path, suffix, ok := splitLayout(ref)
	if !ok {
		reg, ref, err := s.followed(ctx, w, ref)
		return located{reg, ref, func() error { return nil }}, err
	}
	l, err := ocidir.Open(path)
	if err != nil {
		return located{}, err
	}
	reg, err := registry.Layout(l, path)
	if err == nil && suffix == "" {
		suffix, err = onlyRoot(ctx, l, path)
	}
	found := located{reg, layoutName + suffix, l.Close}
	if err == nil {
		found.ref, err = named(ctx, reg, found.ref)
	}
	if err != nil {
		return located{}, errors.Join(err, l.Close())
	}
	return found, nil
}

// followed is what a channel names, and its registry, where a reference is NAME:CHANNEL: the
// verified log decides, and not the tag, which anybody may have moved who writes the registry.
// Other references stay as they are.
func (s *Session) followed(ctx context.Context, w *wiring.Parts, ref string) (*registry.Registry, string, error) {
	reg, err := w.Registry()
	i := strings.LastIndexByte(ref, ':')
	if err != nil || i <= strings.LastIndexByte(ref, '/') || strings.Contains(ref, "@") {
		return reg, ref, err
	}
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, "", err
	}
	c, at, err := w.Channel(ctx, set.Trust.Policy, ref[:i], ref[i+1:])
	if c == nil || err != nil {
		return reg, ref, err
	}
	log, err := c.Read(ctx)
	if err != nil {
		return nil, "", err
	}
	digest, err := log.Current()
	if err != nil {
		return nil, "", err
	}
	s.tell("channel %s names %s", c, digest)
	return at, c.Reference(digest), nil
}

// onlyRoot is what a layout is there for, if it is one artifact.
func onlyRoot(ctx context.Context, l *ocidir.Layout, path string) (string, error) {
	roots, err := l.Roots(ctx)
	if err != nil {
		return "", fmt.Errorf("reading layout %s: %w", path, err)
	}
	if len(roots) == 1 {
		return "@" + roots[0].Digest, nil
	}
	lines := make([]string, 0, len(roots))
	for _, r := range roots {
		lines = append(lines, path+"@"+r.Digest)
	}
	if len(lines) == 0 {
		return "", notFound("an artifact in the layout "+path, "")
	}
	return "", faults.New(faults.Usage, "name one of them: "+strings.Join(lines, ", "), "the layout %s has %d artifacts", path, len(roots))
}

// named is a reference by digest, under the name that the artifact has.
func named(ctx context.Context, reg *registry.Registry, ref string) (string, error) {
	d, err := reg.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	name := layoutName
	for _, image := range d.Images {
		if recipe := image.Config.Labels[artifact.LabelRecipe]; artifact.IsRepository(recipe) {
			name = recipe
		}
	}
	return name + "@" + d.Digest, nil
}

// at does a verb's work where a reference leads.
func (s *Session) at(ctx context.Context, ref string, work func(ctx context.Context, found located) error) error {
	return s.wired(ctx, func(ctx context.Context, w *wiring.Parts) error {
		found, err := s.locate(ctx, w, ref)
		if err != nil {
			return err
		}
		return errors.Join(work(ctx, found), found.close())
	})
}
