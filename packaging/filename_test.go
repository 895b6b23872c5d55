package packaging

import (
	"errors"
	"testing"
)

func TestParseWheelName(t *testing.T) {
	t.Parallel()
	got, err := ParseWheelName("numpy-2.1.0-1a-cp313-cp313t-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
	want := WheelName{"numpy", "2.1.0", "1a", "cp313", "cp313t", "manylinux_2_17_x86_64.manylinux2014_x86_64"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, name := range []string{"numpy-2.1.0.whl", "numpy-2.1.0-py3-none-any.zip", "a-b-c-d-e-f-g.whl", "a-1-x-py3-none-any.whl", "a--py3-none-any.whl", "../a-1-py3-none-any.whl", ""} {
		if _, err := ParseWheelName(name); !errors.Is(err, ErrFileName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseInfoDir(t *testing.T) {
	t.Parallel()
	if name, version, ok := ParseInfoDir("my_pkg-1.0.dist-info"); !ok || name != "my_pkg" || version != "1.0" {
		t.Errorf("got %s %s %t", name, version, ok)
	}
	for _, dir := range []string{"my_pkg.dist-info", "-1.dist-info", "a-.dist-info", "a-1.egg-info", "x/a-1.dist-info"} {
		if _, _, ok := ParseInfoDir(dir); ok {
			t.Errorf("%q is none", dir)
		}
	}
}

func FuzzParseWheelName(f *testing.F) {
	f.Add("a-1-py3-none-any.whl")
	f.Fuzz(func(t *testing.T, name string) {
		if n, err := ParseWheelName(name); err == nil && (n.Distribution == "" || n.Platform == "") {
			t.Errorf("%q: %+v", name, n)
		}
	})
}

func TestParseWheelNameRefusesTags(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a-1-py3.-none-any.whl", "a-1-3py-none-any.whl", "a-1-py3-none-.any.whl", "a+b-1-py3-none-any.whl", "a-1-py3-none-any.WHL"} {
		if n, err := ParseWheelName(name); !errors.Is(err, ErrFileName) || len(n.Tags()) > 0 {
			t.Errorf("%q: %+v, %v", name, n, err)
		}
	}
	n, err := ParseWheelName("a-1-Py2.py3.py2-none-any.whl")
	if tags := n.Tags(); err != nil || len(tags) != 2 || tags[0].Python != "py2" || tags[1].Python != "py3" {
		t.Errorf("%v, %v", tags, err)
	}
}

func TestParseSdistName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"foo-1.0.tar.gz": "foo 1.0", "Foo-Bar-1.0rc1.zip": "Foo-Bar 1.0rc1", "foo-1.0-1.tar.gz": "foo-1.0 1",
		"foo-1.0.tgz": "", "foo.tar.gz": "", "-1.0.tar.gz": "", "foo-x.tar.gz": "", "foo-1.0-py3-none-any.whl": "", "": "",
	} {
		name, version, err := ParseSdistName(file)
		if want == "" && !errors.Is(err, ErrFileName) || want != "" && (err != nil || name+" "+version.String() != want) {
			t.Errorf("%q: %s %v, %v", file, name, version, err)
		}
	}
}

func TestSdistVersion(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"foo-1.0.tar.gz", "foo", "1.0"}, {"Foo_Bar-1.0.zip", "foo-bar", "1.0"}, {"foo-bar-1.0-1.tar.gz", "Foo.Bar", "1.0-1"},
		{"foo-bar-1.0.tar.gz", "foo", "bar-1.0"}, {"foobar-1.0.tar.gz", "foo", ""}, {"foo-1.0.tar.gz", "foo-bar", ""},
		{"foo-1.0.tar.bz2", "foo", ""}, {"foo.tar.gz", "foo", ""},
	} {
		if got, ok := SdistVersion(c[0], c[1]); got != c[2] || ok != (c[2] != "") {
			t.Errorf("%s of %s: %q, %t", c[0], c[1], got, ok)
		}
	}
}

func FuzzParseSdistName(f *testing.F) {
	f.Add("foo-1.0.tar.gz")
	f.Fuzz(func(t *testing.T, file string) {
		name, version, err := ParseSdistName(file)
		if err != nil {
			return
		}
		if got, ok := SdistVersion(file, name); !ok || name == "" || !IsVersion(version.String()) {
			t.Errorf("%q: %q %v, %q", file, name, version, got)
		}
	})
}
