package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder"
	"ampoule/builder/fetch"
)

func TestPlanText(t *testing.T) {
	t.Parallel()
	got := planText(builder.Plan{
		Key: "sha256:00", Inputs: []fetch.Item{{Source: "pypi"}, {Source: "cpython"}, {Source: "pypi"}}, Compiled: []string{"a==1"},
		Adopted: []builder.Adopted{
			{Name: "b", Version: "2", Until: "2027-03-01", Why: "adopted", Known: []string{"Debian packages libb-dev"}, Blocks: []string{"no sdist"}},
			{Name: "c", Version: "3", Until: "2027-03-01", Why: "adopted"},
		},
	})
	want := `key       sha256:00
inputs    3 files: 1 of cpython, 2 of pypi
compiled  CPython, and 1 wheel
  a==1
adopted   2 published wheels
  b==2, until 2027-03-01: adopted
    known: Debian packages libb-dev
    open:  no sdist
  c==3, until 2027-03-01: adopted
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
