package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ampoule/builder"
)

// Version says which program this is.
type Version struct {
	// Version is the module's: "(devel)" when it was built from a checkout.
	Version string `json:"version"`
	// Revision is the commit; empty when the build did not record it.
	Revision string `json:"revision,omitempty"`
	// Modified says that the checkout had changes beside the commit.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Builder is the builder's version, which enters every key.
	Builder string `json:"builder"`
}

func newVersion(s *Session) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Tells which Ampoule this is",
		Long: `Version tells the program's version, its commit, the Go release that compiled it,
and the version of the builder: what of Ampoule itself decides bits. It enters every
key: programs with different ones build different artifacts from the same recipe and
lock.`,
		Example: `  ampoule version
  ampoule version --output json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			return PrintVersion(s, info)
		},
	}
}

// PrintVersion tells the version that a program's build information says; nil is none.
func PrintVersion(s *Session, info *debug.BuildInfo) error {
	v := Version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Builder: builder.Version()}
	if info != nil {
		if info.Main.Version != "" {
			v.Version = info.Main.Version
		}
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.Revision = setting.Value
			case "vcs.modified":
				v.Modified = setting.Value == "true"
			}
		}
	}
	return s.print(v.String(), v)
}

// String is the version in one line.
func (v Version) String() string {
	text := "ampoule " + v.Version
	if v.Revision != "" {
		text += " " + v.Revision
	}
	if v.Modified {
		text += " (modified)"
	}
	return text + fmt.Sprintf(", builder %s, %s, %s", v.Builder, v.Go, v.Platform)
}
