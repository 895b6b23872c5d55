package wheels

import (
	"strings"
	"testing"

	"ampoule/recipes"
)

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
