package ci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
)

// Mount is a directory of this machine, and the place at which the artifact sees it.
type Mount struct{ Source, Target string }

// Bind is the mount as an engine takes it.
func (m Mount) Bind() string { return m.Source + ":" + m.Target }

// Inside is a directory of this machine as the artifact sees it: the mount itself, if the
// directory is not below it.
func (m Mount) Inside(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the workspace: %w", err)
	}
	below, err := filepath.Rel(m.Source, absolute)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return m.Target, nil
	}
	return filepath.Join(m.Target, below), nil
}

// MountOf mounts a workspace at a place; empty is the workspace's own path, so that paths
// in reports and messages are those of the checkout. One that would hide files of the artifact is
// an error of the kind Usage.
func MountOf(workspace, at string) (Mount, error) {
	source, err := filepath.Abs(workspace)
	if err != nil {
		return Mount{}, fmt.Errorf("finding the workspace: %w", err)
	}
	if at == "" {
		at = source
	}
	target := filepath.Clean(at)
	switch {
	case !filepath.IsAbs(target):
		err = fmt.Errorf("it is not absolute")
	case strings.Contains(source+target, ":"):
		err = fmt.Errorf("a path with %q cannot be mounted", ":")
	case hides(target):
		err = fmt.Errorf("it would hide files of the artifact")
	}
	if err != nil {
		return Mount{}, faults.New(faults.Usage, "--at DIR names another place for it in the artifact, as --at /workspace",
			"mounting the workspace %s at %s: %w", source, target, err)
	}
	return Mount{source, target}, nil
}

// Copy mounts a copy of the directory in its place. What is neither a file, a directory nor a
// link cannot be copied. Remove removes the copy.
func (m Mount) Copy() (_ Mount, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "ampoule-workspace-")
	if err != nil {
		return Mount{}, nil, fmt.Errorf("copying the workspace: %w", err)
	}
	remove = func() error { return os.RemoveAll(dir) }
	if err := os.CopyFS(dir, os.DirFS(m.Source)); err != nil {
		return Mount{}, nil, errors.Join(fmt.Errorf("copying the workspace: %w", err), remove())
	}
	return Mount{dir, m.Target}, remove, nil
}

// TakeReports copies reports out of a copy of a workspace. Neither directory is left on the
// way, whatever links are in them.
func TakeReports(from, to string, reports []Report) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return fmt.Errorf("taking reports: %w", err)
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenRoot(to)
	if err != nil {
		return fmt.Errorf("taking reports: %w", err)
	}
	defer func() { _ = target.Close() }()
	for _, r := range reports {
		data, err := source.ReadFile(r.File)
		if err == nil {
			err = target.MkdirAll(filepath.Dir(r.File), 0o755)
		}
		if err == nil {
			err = target.WriteFile(r.File, data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("taking reports: %w", err)
		}
	}
	return nil
}

// hides reports whether a mount would hide files of the artifact, or of its base.
func hides(target string) bool {
	if target == "/" {
		return true
	}
	for _, dir := range []string{"/" + artifact.Prefix, "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr"} {
		if within(target, dir) || within(dir, target) {
			return true
		}
	}
	return false
}

// within reports whether a path is a directory or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
