package wheels

import (
	"strings"
	"testing"

	"ampoule/recipes"
)

func TestSameVersion(t *testing.T) {
	t.Parallel()
	// The spellings in one line are one version; no two lines are.
	lines := []string{
		"1.0 1 1.0.0 v1.0 V1 01.0 0!1.0 1.00",
		"1!1.0 1!1",
		"1.10 1.10.0 1.010",
		"1.1",
		"10 10.0",
		"0 0.0 00",
		"1.0a1 1.0.a1 1.0-alpha-1 1.0_ALPHA.1 1a1 1.0alpha1 1.0a01",
		"1.0a 1.0a0 1.0.alpha",
		"1.0b2 1.0-beta2 1.0.b.2",
		"1.0rc1 1.0c1 1.0-rc1 1.0.pre1 1.0_preview_1",
		"1.0.post1 1.0-1 1.0post1 1.0-r1 1.0.rev1 1.0_post1",
		"1.0.post0 1.0post 1.0.post",
		"1.0.dev0 1.0dev 1.0-dev 1.0.DEV00",
		"1.0a1.post2.dev3 1.0-alpha1-2.dev3",
		"1.0+ubuntu.1 1.0+Ubuntu-1 1.0.0+ubuntu_01",
		"1.0+ubuntu.10",
		"2013b 2013b0 2013.beta",
		"2004d",
		"not-a-version Not-A-Version",
	}
	for i, line := range lines {
		for _, a := range strings.Fields(line) {
			for j, other := range lines {
				for _, b := range strings.Fields(other) {
					if got := SameVersion(a, b); got != (i == j) {
						t.Errorf("SameVersion(%q, %q) is %t", a, b, got)
					}
				}
			}
		}
	}
}

func TestCheckIdentity(t *testing.T) {
	t.Parallel()
	sdist := func(id string) recipes.Dist {
		name, version, _ := strings.Cut(id, "==")
		return recipes.Dist{Name: name, Version: version}
	}
	for _, c := range []struct{ id, wheel, fault string }{
		{"psycopg2==2.9.10", "psycopg2-2.9.10-cp313-cp313-linux_x86_64.whl", ""},
		{"zope-interface==7.2", "zope.interface-7.2-cp313-cp313-linux_x86_64.whl", ""},
		{"zope-interface==7.2", "zope_interface-7.2-1build-cp313-cp313-linux_x86_64.whl", ""},
		{"docopt==0.6.2", "Docopt-0.6.2.0-py2.py3-none-any.whl", ""},
		{"pytz==2013b0", "pytz-2013b-py3-none-any.whl", ""},
		{"x==1.0.post1", "x-1.0_1-py3-none-any.whl", ""},
		{"x==1.0rc1", "x-1.0_rc1-py3-none-any.whl", ""},
		{"x==1.0+local.1", "x-1.0_local.1-py3-none-any.whl", ""},
		{"x==1.0+local.1", "x-1.0+local.1-py3-none-any.whl", ""},
		{"x==1.0", "y-1.0-py3-none-any.whl", "a wheel of y"},
		{"x==1.0", "x_y-1.0-py3-none-any.whl", "a wheel of x-y"},
		{"x==1.0", "x-1.0.1-py3-none-any.whl", "of version 1.0.1"},
		{"x==1.0", "x-1.0rc1-py3-none-any.whl", "of version 1.0rc1"},
		{"x==1.0", "x-1.0+local-py3-none-any.whl", "of version 1.0+local"},
		{"x==1.0", "x-1.0-py3-none.whl", "not a wheel's file name"},
		{"x==1.0", "x-1.0-1-2-py3-none-any.whl", "not a wheel's file name"},
		{"x==1.0", "x-1.0-py3-none-any.zip", "not a wheel's file name"},
		{"x==1.0", "", "not a wheel's file name"},
	} {
		err := checkIdentity(sdist(c.id), c.wheel)
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s as the wheel of %s: %v, want %q", c.wheel, c.id, err, c.fault)
		}
	}
}
