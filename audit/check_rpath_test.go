package audit

import (
	"testing"

	"ampoule/tree"
)

func TestRpath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rpath   string
		foreign bool
		want    string // severity; empty when accepted
	}{
		{rpath: "$ORIGIN"},
		{rpath: "$ORIGIN/"},
		{rpath: "${ORIGIN}/../.."},
		{rpath: "$ORIGIN/../../.."},
		{rpath: "$ORIGIN/inner/../../.."},
		{rpath: "$ORIGIN/../../../..", want: "refuse"},
		{rpath: "$ORIGIN/../../../../web/lib", want: "refuse"},
		{rpath: "$ORIGIN/leaves/x", want: "refuse"},
		{rpath: "$ORIGIN/up/../../..", want: "refuse"},
		{rpath: "$ORIGINAL/lib", want: "refuse"},
		{rpath: "$ORIGIN.libs", want: "refuse"},
		{rpath: "$ORIGIN/$LIB", want: "refuse"},
		{rpath: "/build/lib", want: "refuse"},
		{rpath: "/build/lib", foreign: true, want: "warn"},
		{rpath: "/tmp/lib", foreign: true, want: "refuse"},
		{rpath: "/x/../var/tmp", foreign: true, want: "refuse"},
		{rpath: "lib", foreign: true, want: "refuse"},
		{rpath: "$ORIGIN:", foreign: true, want: "refuse"},
		{rpath: "$ORIGIN/../../../..", foreign: true, want: "refuse"},
	}
	for _, tt := range tests {
		for field, flag := range map[string]string{"DT_RPATH": oldRPath, "DT_RUNPATH": newRPath} {
			t.Run(field+" "+tt.rpath, func(t *testing.T) {
				t.Parallel()
				e := in(t, dynload, extension(t, "victim", flag, "-Wl,-rpath,"+tt.rpath))
				e.Owner = OwnerInterpreter
				s := subject(t, e,
					tree.Entry{Path: dynload + "leaves", Kind: tree.Symlink, Link: "/etc"},
					tree.Entry{Path: dynload + "up", Kind: tree.Symlink, Link: "../.."})
				if tt.foreign {
					s.Foreign = []string{OwnerInterpreter}
				}
				var want []string
				if tt.want != "" {
					want = []string{tt.want + " rpath " + e.Path + ": " + field + " *"}
				}
				expect(t, judge(t, s), want...)
			})
		}
	}
}
