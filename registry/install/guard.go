package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ampoule/system"
)

// openDir opens a directory by its path, and openChild one that stands below another
// under a name; both tell what it is. A link, and anything that is no directory, is an
// [*UnsafeError].
func openDir(dir, shown string) (*os.Root, fs.FileInfo, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, nil, err
	}
	return openSeen(info, shown, func() (*os.Root, error) { return os.OpenRoot(dir) })
}

func openChild(parent *os.Root, name, shown string) (*os.Root, fs.FileInfo, error) {
	info, err := parent.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	return openSeen(info, shown, func() (*os.Root, error) { return parent.OpenRoot(name) })
}

// openSeen opens what was seen, and nothing that has come into its place.
func openSeen(seen fs.FileInfo, shown string, open func() (*os.Root, error)) (*os.Root, fs.FileInfo, error) {
	if err := checkDir(shown, seen); err != nil {
		return nil, nil, err
	}
	dir, err := open()
	if err != nil {
		return nil, nil, err
	}
	opened, err := dir.Stat(".")
	if err == nil && !os.SameFile(seen, opened) {
		err = &UnsafeError{Path: shown, Why: "changed while it was opened", Advice: "find out who changes it"}
	}
	if err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	return dir, opened, nil
}

func checkDir(shown string, info fs.FileInfo) error {
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		return &UnsafeError{Path: shown, Why: "is a symbolic link", Advice: "name the directory itself that it leads to"}
	case !info.IsDir():
		return &UnsafeError{Path: shown, Why: "is not a directory", Advice: "choose another --root, or move it away"}
	}
	return nil
}

func ownerOf(info fs.FileInfo) int { return statOf(info).Owner }

func inodeOf(info fs.FileInfo) uint64 { return statOf(info).Inode }

func linksOf(info fs.FileInfo) uint64 { return statOf(info).Links }

func statOf(info fs.FileInfo) system.Stat {
	stat, ok := system.StatOf(info)
	if !ok {
		panic("install: nothing is known of files on this system")
	}
	return stat
}

// others says why users other than root and the one that runs this may change what
// a directory holds; it is nil where they may not.
//
// The sticky bit does not help: it keeps others from replacing what is there, and not
// from being the first to make a name.
func others(shown string, info fs.FileInfo) *UnsafeError {
	if owner := ownerOf(info); owner != 0 && owner != os.Geteuid() {
		return &UnsafeError{
			Path: shown, Why: fmt.Sprintf("belongs to user %d", owner),
			Advice: "run as that user, or choose another --root",
		}
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &UnsafeError{
			Path: shown, Why: fmt.Sprintf("may be changed by others: its mode is %04o", info.Mode().Perm()),
			Advice: "chmod go-w " + shown,
		}
	}
	return nil
}

// exposed tells of the directories above a root the nearest one whose owner, or
// everybody, may put another directory in the root's place; empty where there is none.
// Nothing that is installed leads out of the root, so this is told and not refused.
func exposed(root string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(root))
	if err != nil {
		return ""
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return ""
		}
		owner, mode := ownerOf(info), info.Mode()
		switch {
		case owner != 0 && owner != os.Geteuid():
			return fmt.Sprintf("%s belongs to user %d, who can put another directory in the place of %s", dir, owner, root)
		case mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0:
			return fmt.Sprintf("everybody may change %s, and put another directory in the place of %s", dir, root)
		case dir == filepath.Dir(dir):
			return ""
		}
	}
}

// makeDirs makes a directory and those above it that are missing, with mode 0755
// whatever the umask.
func makeDirs(dir string) error {
	_, err := os.Lstat(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return &UnsafeError{Path: dir, Why: "is below something that is not a directory", Advice: "choose another --root"}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	err = os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		return &UnsafeError{Path: filepath.Dir(dir), Why: "is a link to nothing", Advice: "choose another --root"}
	}
	if err != nil {
		return ignoreExist(err)
	}
	made, err := os.OpenFile(dir, os.O_RDONLY|system.OnlyDirectory|system.NoFollow, 0)
	if err != nil {
		return err
	}
	return errors.Join(made.Chmod(0o755), made.Close())
}

// ignoreExist is for names that another installation makes at the same time.
func ignoreExist(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// makeDir makes a directory with mode 0755, whatever the umask, unless the name is taken.
func makeDir(parent *os.Root, name string) error {
	if err := parent.Mkdir(name, 0o755); err != nil {
		return ignoreExist(err)
	}
	return parent.Chmod(name, 0o755)
}
