package install

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// procDir is where Linux tells of processes (proc(5)).
const procDir = "/proc"

// users are the processes that use what has the name of a release, by that name.
type users struct {
	byRelease map[string][]Process
	unseen    int
}

func (u users) of(r Release) []Process { return u.byRelease[filepath.Base(r.Path)] }

// releaseInPath finds the names of releases, and of what is about to be removed, in a path.
var releaseInPath = regexp.MustCompile(`sha256-[0-9a-f]{64}|\.tmp-[A-Z2-7]{26}`)

// users looks for the processes that use releases below the root: a file that they have mapped or
// open, their program, or the directory that they stand in.
//
// A process in another mount namespace names the same file by another path, so that the file
// itself is compared where a path has the name of a release and does not begin with the root.
func (s *site) users(ctx context.Context) users {
	found := users{byRelease: map[string][]Process{}}
	root, err := filepath.Abs(s.root)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	list, listErr := os.ReadDir(procDir)
	if err != nil || listErr != nil {
		found.unseen = -1
		return found
	}
	releases := filepath.Join(root, releasesName)
	for _, d := range list {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() || ctx.Err() != nil {
			continue
		}
		proc := filepath.Join(procDir, d.Name())
		names, seen := s.usedBy(proc, releases)
		if !seen && !isKernels(proc) {
			found.unseen++
		}
		if len(names) == 0 {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(proc, "comm"))
		for _, name := range names {
			found.byRelease[name] = append(found.byRelease[name], Process{PID: pid, Name: strings.TrimSpace(string(comm))})
		}
	}
	if _, err := os.Stat(filepath.Join(procDir, "1")); err != nil {
		found.unseen = -1 // proc is mounted with hidepid
	}
	return found
}

// isKernels reports whether a process has no program: it is a thread of the kernel, or has ended.
func isKernels(proc string) bool {
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	return err != nil || len(line) == 0
}

// usedBy lists the releases that a process uses. It is not seen if this user may not look.
func (s *site) usedBy(proc, releases string) (names []string, seen bool) {
	seen = true
	note := func(path string, inode func() uint64) {
		name := s.releaseOf(path, releases, inode)
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	maps, err := os.ReadFile(filepath.Join(proc, "maps"))
	seen = seen && !errors.Is(err, fs.ErrPermission)
	for line := range bytes.Lines(maps) {
		if fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 6); len(fields) == 6 {
			note(strings.TrimLeft(fields[5], " "), func() uint64 {
				inode, _ := strconv.ParseUint(fields[4], 10, 64)
				return inode
			})
		}
	}
	links := []string{"exe", "cwd", "root"}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	seen = seen && !errors.Is(err, fs.ErrPermission)
	for _, f := range files {
		links = append(links, filepath.Join("fd", f.Name()))
	}
	for _, link := range links {
		link = filepath.Join(proc, link)
		target, err := os.Readlink(link)
		seen = seen && !errors.Is(err, fs.ErrPermission)
		note(target, func() uint64 {
			info, err := os.Stat(link)
			if err != nil {
				return 0
			}
			return inodeOf(info)
		})
	}
	return names, seen
}

// releaseOf is the release that a path of a process leads into; empty for none.
func (s *site) releaseOf(path, releases string, inode func() uint64) string {
	path = strings.TrimSuffix(path, " (deleted)")
	if rest, below := strings.CutPrefix(path, releases+"/"); below {
		name, _, _ := strings.Cut(rest, "/")
		if releaseInPath.FindString(name) == name {
			return name
		}
		return ""
	}
	at := releaseInPath.FindStringIndex(path)
	if at == nil {
		return ""
	}
	name, rest := path[at[0]:at[1]], strings.TrimPrefix(path[at[1]:], "/")
	info, err := s.releases.Lstat(filepath.Join(name, rest))
	if err != nil || inodeOf(info) != inode() {
		return ""
	}
	return name
}
