package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

func TestTags(t *testing.T) {
	t.Parallel()
	const info = site + "victim-1.0.dist-info/"
	module := in(t, site, extension(t, "victim"))
	text := tree.FileEntry(site+"victim.py", 0o644, []byte("x = 1\n"))
	renamed := func(suffix string) tree.Entry {
		e := module
		e.Path = site + "victim" + suffix
		return e
	}
	refuse := func(rest string) []string { return []string{"refuse tags " + rest} }
	const foreign = ".cpython-312-x86_64-linux-gnu.so"
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"of this interpreter":             {tagged(t, module, "cp313-cp313-linux_x86_64"), nil},
		"of this and others":              {tagged(t, module, "cp312-cp312-linux_x86_64", "cp313-cp313-manylinux_2_17_x86_64"), nil},
		"of another":                      {tagged(t, module, "cp312-cp312-linux_x86_64"), refuse(info + "WHEEL: Tag cp312-cp312-linux_x86_64")},
		"free-threaded":                   {tagged(t, module, "cp313-cp313t-linux_x86_64"), refuse(info + "WHEEL: Tag cp313-cp313t-linux_x86_64")},
		"pure":                            {tagged(t, text, "py2.py3-none-any"), nil},
		"pure, with native code":          {tagged(t, module, "py3-none-any"), refuse(module.Path + ": ELF in a wheel for any platform")},
		"for any Python, of one platform": {tagged(t, module, "py3-none-linux_x86_64"), nil},
		"no tag":                          {tagged(t, text), refuse(info + "WHEEL: Tag none")},
		"a broken one":                    {tagged(t, text, "py3"), refuse(info + "WHEEL: Tag *")},
		"a module of the limited API":     {tagged(t, renamed(".abi3.so"), "cp38-abi3-linux_x86_64"), nil},
		"a module without a tag":          {tagged(t, renamed(".so"), "cp313-cp313-linux_x86_64"), nil},
		"a module of another Python":      {tagged(t, renamed(foreign), "cp313-cp313-linux_x86_64"), refuse(site + "victim" + foreign + ": suffix " + foreign)},
		"a free-threaded module": {
			tagged(t, renamed(".cpython-313t-x86_64-linux-gnu.so"), "cp313-cp313-linux_x86_64"),
			refuse(site + "victim.cpython-313t-x86_64-linux-gnu.so: suffix .cpython-313t-x86_64-linux-gnu.so"),
		},
		"a module of another Python, beside its own": {
			append(tagged(t, module, "cp313-cp313-linux_x86_64"), installed("other", renamed(foreign))...),
			[]string{"warn tags " + site + "victim" + foreign + ": suffix " + foreign},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
		})
	}
}

func readAll(t *testing.T, e tree.Entry) []byte {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tagged is a distribution "victim" with a file, whose WHEEL has those tags.
func tagged(t *testing.T, e tree.Entry, tags ...string) []tree.Entry {
	t.Helper()
	const info = site + "victim-1.0.dist-info/"
	list := installed("victim", e)
	for i, e := range list {
		switch e.Path {
		case info + "WHEEL":
			list[i] = e.Replace(readAll(t, wheelFile(info, tags...)))
		case info + "RECORD":
			// Of WHEEL it has another hash then, which the check record would tell.
			rows := strings.Split(string(readAll(t, e)), "\n")
			for j, row := range rows {
				if strings.Contains(row, "WHEEL") {
					rows[j] = "victim-1.0.dist-info/WHEEL," + recordHash(wheelFile(info, tags...)) + ","
				}
			}
			list[i] = e.Replace([]byte(strings.Join(rows, "\n")))
		}
	}
	return list
}

// Free-threaded builds before 3.15 take a module by the name of an ABI that they do not
// have.
func TestThreadedSuffix(t *testing.T) {
	t.Parallel()
	const site = "lib/python3.13t/site-packages/"
	suffixes := []string{".cpython-313t-x86_64-linux-gnu.so", ".abi3.so", ".so"}
	module := tree.FileEntry(site+"a.abi3.so", 0o644, nil)
	for want, beside := range map[Severity]tree.Entry{
		Refuse: tree.FileEntry(site+"b"+suffixes[0], 0o644, nil),
		Warn:   tree.FileEntry(site+"a"+suffixes[0], 0o644, nil),
	} {
		for _, flags := range []string{"t", ""} {
			x := &exam{
				Subject: Subject{Tree: newTree(t, module, beside)},
				home:    installation{version: "3.13", flags: flags, lib: "lib/python3.13t", site: strings.TrimSuffix(site, "/")},
			}
			f, found := x.suffixFault(&object{entry: module}, suffixes)
			if found != (flags == "t") || found && f.Severity != want {
				t.Errorf("flags %q beside %s: %t, %+v", flags, beside.Path, found, f)
			}
		}
	}
}
