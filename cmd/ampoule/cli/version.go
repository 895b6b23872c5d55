package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ampoule/builder"
)

// Version says which program this is.
type Version struct {
	// Version is the release's, or names the commit that it was built from.
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
and the version of the builder: what of Ampoule itself decides bits. The builder's
enters every key: programs with different ones build different artifacts from the same
recipe and lock. The program's own enters none.`,
		Example: `  ampoule version
  ampoule version --output json`,
		Args:              usage(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return PrintVersion(s) },
	}
}

// PrintVersion tells which program this is.
func PrintVersion(s *Session) error {
	v := thisVersion()
	return s.print(v.String(), v)
}

// stamped is the version that the linker writes into the program (see the Makefile). It
// enters no key and no artifact: two programs with the same builder are the same there.
var stamped string

// thisVersion is this program's.
func thisVersion() Version {
	info, _ := debug.ReadBuildInfo()
	return versionOf(stamped, info)
}

// unknownVersion is the version of a program that nothing was written into.
const unknownVersion = "v0.0.0-unknown"

// versionOf reads the version that a program says, and what Go recorded when it was
// built; info may be nil.
func versionOf(stamped string, info *debug.BuildInfo) Version {
	v := Version{Version: stamped, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Builder: builder.Version()}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	// Go calls what it has no version of "(devel)".
	if goes := info.Main.Version; v.Version == "" && goes != "(devel)" {
		v.Version = goes
	}
	v.Version = cmp.Or(v.Version, unknownVersion)
	return v
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
