package cli

import (
	"os"
	"os/exec"
	"runtime/debug"
	"testing"
	"time"
)

func TestVersionOf(t *testing.T) {
	t.Parallel()
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "8e0ec638e587"}, {Key: "vcs.modified", Value: "true"}}
	for name, c := range map[string]struct {
		stamped  string
		info     *debug.BuildInfo
		want     string
		revision string
	}{
		"nothing is known":         {"", nil, unknownVersion, ""},
		"go has no version":        {"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, unknownVersion, ""},
		"go has one":               {"", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: vcs}, "v1.2.3", "8e0ec638e587"},
		"the linker wrote one":     {"v1.2.4", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v1.2.4", ""},
		"the linker's comes first": {"v1.2.4-2-g8e0ec63", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.4-2-g8e0ec63", ""},
	} {
		got := versionOf(c.stamped, c.info)
		if got.Version != c.want || got.Revision != c.revision || got.Modified != (c.revision != "") {
			t.Errorf("%s: %+v", name, got)
		}
		if none := versionOf("", nil); got.Builder != none.Builder {
			t.Errorf("%s: the builder is %s, not %s", name, got.Builder, none.Builder)
		}
	}
}

// Whatever verb is called waits for the program's start first: no package may do work there.
func TestStart(t *testing.T) {
	t.Parallel()
	const most = 60 * time.Millisecond
	least := time.Hour
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Args = []string{"ampoule", "version"}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		least = min(least, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	if least > most {
		t.Errorf("the program's start takes %s of the processor, not at most %s: GODEBUG=inittrace=1 says which package takes how long", least, most)
	}
}
