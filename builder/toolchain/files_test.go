package toolchain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

func TestFilesOf(t *testing.T) {
	t.Parallel()
	installed := []string{
		"Package: libmagic1\nArchitecture: amd64\nDepends: libmagic-mgc (= 1), libc6, debconf | debconf-2.0, gone | libvirtual",
		"Package: libmagic-mgc\nArchitecture: amd64\nPre-Depends: base-files", "Package: libc6\nArchitecture: amd64\nDepends: libgcc-s1",
		"Package: libgcc-s1\nArchitecture: amd64", "Package: debconf\nArchitecture: all\nPriority: required\nDepends: perl",
		"Package: perl\nArchitecture: amd64", "Package: base-files\nArchitecture: amd64\nEssential: yes",
		"Package: libreal\nArchitecture: all\nProvides: libvirtual (= 2), libother", "Package: lonely\nArchitecture: all",
	}
	var status strings.Builder
	for _, s := range installed {
		status.WriteString(s + "\nStatus: install ok installed\nVersion: 1\n\n")
	}
	root, err := tree.New([]tree.Entry{
		tree.FileEntry("var/lib/dpkg/status", 0o644, []byte(status.String())),
		tree.FileEntry("var/lib/dpkg/info/libmagic1:amd64.list", 0o644, []byte("/.\n/usr\n/usr/lib/libmagic.so.1\n")),
		tree.FileEntry("var/lib/dpkg/info/libmagic-mgc.list", 0o644, []byte("/.\n/usr/lib/file/magic.mgc\n")),
		tree.FileEntry("var/lib/dpkg/info/libreal.list", 0o644, nil),
		tree.FileEntry("var/lib/dpkg/info/debconf.list", 0o644, nil),
		tree.FileEntry("var/lib/dpkg/info/perl:amd64.list", 0o644, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := FilesOf(root, []string{"libmagic1"})
	want := []Installed{
		{"libmagic-mgc", false, []string{"usr/lib/file/magic.mgc"}}, {"libmagic1", true, []string{"usr", "usr/lib/libmagic.so.1"}}, {"libreal", false, nil},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// What is asked for by name is taken, required or not.
	if got, err := FilesOf(root, []string{"debconf"}); err != nil || len(got) != 2 || !got[0].Wanted {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := FilesOf(root, []string{"libzbar0"}); err == nil || !strings.Contains(err.Error(), "libzbar0: it is not installed") {
		t.Errorf("of a package that is not there: %v", err)
	}
	if _, err := FilesOf(root, []string{"lonely"}); err == nil || !strings.Contains(err.Error(), "lonely") {
		t.Errorf("without dpkg's list: %v", err)
	}
}
