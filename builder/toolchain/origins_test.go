package toolchain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// A file is found at the place that it has, however dpkg spells it, and its package's source
// is told apart from it.
func TestOrigins(t *testing.T) {
	t.Parallel()
	status := `Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib
Version: 1:1.2.13.dfsg-1

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2024a-0

Package: half
Status: install ok half-configured
Architecture: amd64
Version: 1
`
	file := func(p, text string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(text)) }
	root, err := tree.New([]tree.Entry{
		{Path: "lib", Kind: tree.Symlink, Mode: 0o777, Link: "usr/lib"},
		file("usr/lib/libz.so.1.2.13", "z"), file("var/lib/dpkg/status", status),
		file("var/lib/dpkg/info/zlib1g:amd64.list", "/.\n/lib\n/lib/libz.so.1.2.13\n"),
		file("var/lib/dpkg/info/libgcc-s1:amd64.list", "/.\n/usr/lib/libgcc_s.so.1\n"),
		file("var/lib/dpkg/info/tzdata.list", "/.\n/usr/share/zoneinfo\n/usr/share/zoneinfo/UTC\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	zlib := Origin{"zlib1g", "1:1.2.13.dfsg-1", "amd64", "zlib", "1:1.2.13.dfsg-1"}
	gcc := Origin{"libgcc-s1", "12.2.0-14+b1", "amd64", "gcc-12", "12.2.0-14"}
	tz := Origin{"tzdata", "2024a-0", "all", "tzdata", "2024a-0"}
	list, err := Origins(root)
	if diff := cmp.Diff([]Origin{gcc, tz, zlib}, list); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	files, err := OriginsOfFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]Origin{"usr/lib/libz.so.1.2.13": zlib, "usr/lib/libgcc_s.so.1": gcc, "usr/share/zoneinfo/UTC": tz} {
		if files[p] != want {
			t.Errorf("%s is of %+v, not %+v", p, files[p], want)
		}
	}
	bare, err := tree.New([]tree.Entry{file("bin/sh", "x")})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := Origins(bare); len(list) > 0 || err != nil {
		t.Errorf("without dpkg: %v, %v", list, err)
	}
}
