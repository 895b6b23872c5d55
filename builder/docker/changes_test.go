package docker

import (
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
)

func TestSortChanges(t *testing.T) {
	t.Parallel()
	there, gone := sortChanges([]container.FilesystemChange{
		{Kind: container.ChangeModify, Path: "/usr"},
		{Kind: container.ChangeAdd, Path: "/usr/lib/a/b"},
		{Kind: container.ChangeDelete, Path: "/usr/z"},
		{Kind: container.ChangeDelete, Path: "/usr/share/replaced"},
		{Kind: container.ChangeAdd, Path: "/usr/share/replaced/new"},
		{Kind: container.ChangeAdd, Path: "/etc/hosts"},
		{Kind: container.ChangeAdd, Path: "/dev/x"},
		{Kind: container.ChangeAdd, Path: "/.dockerenv"},
	})
	want := []string{"usr", "usr/lib", "usr/lib/a", "usr/lib/a/b", "usr/share", "usr/share/replaced", "usr/share/replaced/new"}
	if diff := cmp.Diff(want, there); diff != "" {
		t.Errorf("there (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"usr/share/replaced", "usr/z"}, gone); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
}
