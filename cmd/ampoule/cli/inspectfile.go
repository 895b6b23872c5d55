package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"ampoule/cmd/ampoule/display"
	"ampoule/contents"
)

// fileAnswer is what inspect says of one file, as JSON.
type fileAnswer struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	contents.File
}

// InspectFile prints which part of an artifact one of its files is from.
func InspectFile(ctx context.Context, s *Session, src contents.Source, ref, name string) (err error) {
	a, err := contents.Open(ctx, src, ref, platform())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	f, err := a.File(ctx, name)
	if err != nil {
		return err
	}
	return s.print(fileText(f), fileAnswer{a.Ref, a.Digest, f})
}

// fileText is what is known of a file, for people.
func fileText(f contents.File) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, display.Clean(value, false))
		}
	}
	line("path", f.Path)
	line("is a", f.Kind)
	line("leads to", f.Link)
	line("mode", f.Mode)
	if f.Kind == "file" {
		line("size", fmt.Sprintf("%s (%d bytes)", display.Size(f.Size), f.Size))
		line("sha256", f.SHA256)
	}
	line("from", originText(f.From))
	line("wheel", f.From.Wheel)
	line("  sha256", f.From.SHA256)
	line("sdist sha256", f.From.Sdist)
	if f.From.Source != "" {
		line("source", f.From.Source+" "+f.From.SourceVersion)
	}
	if f.Layer != "" {
		line("layer", f.Layer+" "+f.LayerDigest)
	}
	_ = w.Flush() // it writes to memory
	return b.String()
}

// originText says what brought a file.
func originText(o contents.Origin) string {
	named := strings.TrimSpace(o.Name + " " + o.Version)
	switch o.Kind {
	case contents.FromInterpreter:
		return "the interpreter, " + named
	case contents.FromDistribution:
		return "the distribution " + named
	case contents.FromApplication:
		return strings.TrimSpace("the application " + named)
	case contents.FromDebian:
		return "the Debian package " + named
	case contents.FromAmpoule:
		return "Ampoule: it tells of the artifact, or starts programs"
	case contents.FromBase:
		return "the image's base; no package of it lists the file"
	case contents.FromCarried:
		return "the toolchain; which Debian package is not published beside the artifact"
	}
	return "" // a directory is of all that is in it
}
