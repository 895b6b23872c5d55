package packaging

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTags(t *testing.T) {
	t.Parallel()
	got, err := ParseTags("py2.py3-none-any")
	if diff := cmp.Diff([]Tag{{"py2", "none", "any"}, {"py3", "none", "any"}}, got); diff != "" || err != nil {
		t.Errorf("(-want +got), %v:\n%s", err, diff)
	}
	long := strings.Repeat("a.", 40) + "a"
	for _, text := range []string{"", "py3", "py3-none", "py3-none-any-x", "py3--any", "py3.-none-any", long + "-" + long + "-any"} {
		if got, err := ParseTags(text); !errors.Is(err, ErrTag) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// What packaging.tags lists for each Python.
func TestSupports(t *testing.T) {
	t.Parallel()
	plain, threaded := CPython{Minor: 13, Flags: "", Machine: "x86_64"}, CPython{Minor: 13, Flags: "t", Machine: "x86_64"}
	for _, c := range []struct {
		python CPython
		tag    string
		want   bool
	}{
		{plain, "cp313-cp313-linux_x86_64", true},
		{plain, "cp313-cp313-manylinux_2_17_x86_64", true},
		{plain, "cp313-cp313-manylinux2014_x86_64", true},
		{plain, "cp313-cp313-manylinux_2_17_aarch64", false},
		{plain, "cp313-cp313-musllinux_1_2_x86_64", false},
		{plain, "cp313-cp313-win_amd64", false},
		{CPython{Minor: 13, Machine: "x86_64", Musl: true}, "cp313-cp313-musllinux_1_2_x86_64", true},
		{CPython{Minor: 13, Machine: "x86_64", Musl: true}, "cp313-cp313-manylinux_2_17_x86_64", false},
		{plain, "cp313-cp313-any", false},
		{plain, "cp312-cp312-linux_x86_64", false},
		{plain, "cp313-cp313t-linux_x86_64", false},
		{plain, "cp313-cp313d-linux_x86_64", false},
		{threaded, "cp313-cp313t-linux_x86_64", true},
		{threaded, "cp313-cp313-linux_x86_64", false},
		{CPython{Minor: 13, Flags: "d", Machine: "x86_64"}, "cp313-cp313d-linux_x86_64", true},
		{CPython{Minor: 13, Flags: "d", Machine: "x86_64"}, "cp313-cp313-linux_x86_64", true},
		{CPython{Minor: 13, Flags: "td", Machine: "x86_64"}, "cp313-cp313t-linux_x86_64", true},
		{CPython{Minor: 13, Flags: "td", Machine: "x86_64"}, "cp313-cp313-linux_x86_64", false},
		{plain, "cp39-abi3-linux_x86_64", true},
		{plain, "cp313-abi3-linux_x86_64", true},
		{plain, "cp314-abi3-linux_x86_64", false},
		{threaded, "cp39-abi3-linux_x86_64", false},
		{plain, "cp313-abi3t-linux_x86_64", false},
		{threaded, "cp313-abi3t-linux_x86_64", true},
		{threaded, "cp314-abi3t-linux_x86_64", false},
		{threaded, "cp313t-abi3t-linux_x86_64", false},
		{plain, "py3-none-any", true},
		{plain, "py2-none-any", false},
		{plain, "py39-none-any", true},
		{plain, "py314-none-any", false},
		{plain, "py3-none-linux_x86_64", true},
		{plain, "py3-abi3-linux_x86_64", false},
		{plain, "cp313-none-any", true},
		{plain, "cp312-none-any", false},
		{plain, "cp3-none-any", false},
		{plain, "pp310-pypy310_pp73-linux_x86_64", false},
	} {
		tags, err := ParseTags(c.tag)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.python.Supports(tags[0]); got != c.want {
			t.Errorf("%+v supports %s: %t", c.python, c.tag, got)
		}
	}
}

func FuzzParseTags(f *testing.F) {
	f.Add("py2.py3-none-any")
	f.Add("cp313-cp313t-manylinux_2_17_x86_64.manylinux2014_x86_64")
	f.Fuzz(func(t *testing.T, text string) {
		tags, err := ParseTags(text)
		if err == nil && (len(tags) == 0 || len(tags) > maxTags) {
			t.Errorf("%q gives %d tags", text, len(tags))
		}
		for _, tag := range tags {
			again, err := ParseTags(tag.String())
			if err != nil || len(again) != 1 || again[0] != tag {
				t.Errorf("%v again: %v, %v", tag, again, err)
			}
			CPython{Minor: 13, Flags: "", Machine: "x86_64"}.Supports(tag)
		}
	})
}
