package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ampoule/artifact"
	"ampoule/cmd/ampoule/display"
	"ampoule/registry"
	"ampoule/wiring"
)

// Describer says what a registry knows of an artifact.
type Describer interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	Referrers(ctx context.Context, ref, artifactType string) ([]registry.ReferrerInfo, error)
}

func newInspect(s *Session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "inspect REF|NAME",
		Short: "Describes a published artifact",
		Long: `Inspect asks the registry what an artifact is: its digest, platforms, labels (recipe,
key, Python's version, fingerprint, tree, prefix, and whether another build gives the
same), its layers with their sizes, and what refers to it: the gate's verdict, the
wheelhouse and dependency groups. Nothing of the layers is fetched.

With --file it reads the layers and says of one file where it is from: which
distribution, Debian package with its source, interpreter or application, with the file's
sha256, mode and size, and the layer that carries it. A path is relative to the tree, or
absolute in the image.

` + refsHelp + `

A name alone stands for the artifact of that name that the store's registry got last;
which one it is, is told. Verbs that run or install something want a digest.`,
		Example: `  ampoule inspect web@sha256:…
  ampoule inspect web
  ampoule inspect registry.example/team/web@sha256:… --output json
  ampoule inspect web --file lib/libssl.so.3`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeRefs(0, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.serviceOf(cmd, args...)
			if err != nil {
				return err
			}
			if c != nil {
				if err := hereAlone(cmd, c, "file"); err != nil {
					return err
				}
				return RemoteInspect(cmd.Context(), s, c, args[0])
			}
			return s.wired(cmd.Context(), func(ctx context.Context, w *wiring.Parts) error {
				ref := args[0]
				if _, _, layout := splitLayout(ref); !layout && s.Registry == "" && artifact.IsRepository(ref) {
					newest, err := Newest(ctx, s, w.Own, ref)
					if err != nil {
						return err
					}
					ref = newest
				}
				found, err := s.locate(ctx, w, ref)
				if err != nil {
					return err
				}
				if file != "" {
					return errors.Join(InspectFile(ctx, s, found, found.ref, file), found.close())
				}
				return errors.Join(Inspect(ctx, s, found, found.ref), found.close())
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "say where this file is from")
	return cmd
}

// The forms of a description as JSON.
type (
	artifactInfo struct {
		Ref       string         `json:"ref"`
		Name      string         `json:"name"`
		Digest    string         `json:"digest"`
		Images    []imageInfo    `json:"images"`
		Referrers []referrerInfo `json:"referrers"`
	}
	imageInfo struct {
		Platform   string            `json:"platform"`
		Digest     string            `json:"digest"`
		Created    time.Time         `json:"created"`
		Entrypoint []string          `json:"entrypoint,omitempty"`
		Command    []string          `json:"command,omitempty"`
		Env        []string          `json:"env,omitempty"`
		Labels     map[string]string `json:"labels"`
		Layers     []layerInfo       `json:"layers"`
	}
	layerInfo struct {
		Name   string `json:"name"`
		Base   bool   `json:"base"`
		Digest string `json:"digest"`
		DiffID string `json:"diffID"`
		Size   int64  `json:"size"`
	}
	referrerInfo struct {
		Type   string     `json:"artifactType"`
		Digest string     `json:"digest"`
		Group  string     `json:"group,omitempty"`
		Files  []fileInfo `json:"files"`
	}
	fileInfo struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
)

// Inspect prints what a registry says of an artifact.
func Inspect(ctx context.Context, s *Session, d Describer, ref string) error {
	found, err := d.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	// The digest's reference: what was asked for may be a tag.
	referrers, err := d.Referrers(ctx, found.Ref, "")
	if err != nil {
		return err
	}
	info := describe(found, referrers)
	return s.print(info.text(), info)
}

func describe(d registry.Description, referrers []registry.ReferrerInfo) artifactInfo {
	info := artifactInfo{Ref: d.Ref, Name: d.Name, Digest: d.Digest, Images: []imageInfo{}, Referrers: []referrerInfo{}}
	for _, i := range d.Images {
		image := imageInfo{
			Platform: i.Platform, Digest: i.Digest, Created: i.Created, Entrypoint: i.Config.Entrypoint,
			Command: i.Config.Cmd, Env: i.Config.Env, Labels: i.Config.Labels, Layers: []layerInfo{},
		}
		for _, l := range i.Layers {
			image.Layers = append(image.Layers, layerInfo{l.Name, l.Base, l.Digest, l.DiffID, l.Size})
		}
		info.Images = append(info.Images, image)
	}
	for _, r := range referrers {
		files := []fileInfo{}
		for _, f := range r.Files {
			files = append(files, fileInfo{f.Name, f.Digest, f.Size})
		}
		info.Referrers = append(info.Referrers, referrerInfo{r.ArtifactType, r.Digest, groupOf(r.Annotations), files})
	}
	return info
}

// text is the description for people. What it holds was written by whoever published the
// artifact: no value of it can begin a line, or a column, of its own.
func (a artifactInfo) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	line := func(format string, values ...string) {
		shown := make([]any, len(values))
		for i, v := range values {
			shown[i] = display.Clean(v, false)
		}
		fmt.Fprintf(w, format, shown...)
	}
	line("%s\n", a.Ref)
	for _, i := range a.Images {
		line("\nimage\t%s\n  platform\t%s\n", i.Digest, i.Platform)
		for _, name := range artifact.LabelNames() {
			if value := i.Labels[name]; value != "" {
				line("  %s\t%s\n", strings.TrimPrefix(name, artifact.Namespace), value)
			}
		}
		if command := append(append([]string{}, i.Entrypoint...), i.Command...); len(command) > 0 {
			line("  runs\t%s\n", strings.Join(command, " "))
		}
		total := int64(0)
		for _, l := range i.Layers {
			total += l.Size
		}
		fmt.Fprintf(w, "  layers\t%d, %s\n", len(i.Layers), display.Size(total))
		for _, l := range i.Layers {
			line("    %s\t%s\t%s\n", l.Name, l.Digest, display.Size(l.Size))
		}
	}
	for _, r := range a.Referrers {
		line("\nreferrer\t%s\n  type\t%s\n", r.Digest, r.Type)
		if r.Group != "" {
			line("  group\t%s\n", r.Group)
		}
		for _, f := range r.Files {
			line("    %s\t%s\t%s\n", f.Name, f.Digest, display.Size(f.Size))
		}
	}
	if err := w.Flush(); err != nil {
		// A strings.Builder takes everything.
		panic("cli: formatting a description: " + err.Error())
	}
	return b.String()
}
