package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ampoule/builder/layers"
	"ampoule/builder/toolchain/debian"
	"ampoule/recipes"
	"ampoule/system"
	"ampoule/tree"
)

// makeBase makes a root file system with mmdebstrap.
func (s *Stage) makeBase(ctx context.Context, suite string, debs []recipes.Deb, log io.Writer) (*made, error) {
	tool, err := debian.Tool("mmdebstrap", "mmdebstrap")
	if err != nil {
		return nil, err
	}
	if err := s.fetchDebs(ctx, debs); err != nil {
		return nil, err
	}
	out, err := s.scratchFile()
	if err != nil {
		return nil, err
	}
	t, err := s.bootstrap(ctx, tool, out, debs, log)
	if err == nil {
		err = verifyBase(t, suite, debs)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return &made{Tree: t, close: func() { out.Close() }}, nil
}

// verifyBase returns an error unless a base is of that suite and has exactly these packages.
func verifyBase(t *tree.Tree, suite string, debs []recipes.Deb) error {
	got, err := Suite(t)
	if err != nil {
		return err
	}
	if got != suite {
		return fmt.Errorf("packages locked for %s make a base of %s", suite, got)
	}
	return verifyInstalled(t, debs)
}

// bootstrap makes the tree, whose contents are in the file out.
func (s *Stage) bootstrap(ctx context.Context, tool string, out *os.File, debs []recipes.Deb, log io.Writer) (_ *tree.Tree, err error) {
	// As a user that is not root, mmdebstrap reads the repository under other user
	// IDs, which cannot enter the store.
	dir, err := os.MkdirTemp("", "ampoule-base-")
	if err != nil {
		return nil, fmt.Errorf("making directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.writeRepository(ctx, dir, debs); err != nil {
		return nil, fmt.Errorf("writing repository: %w", err)
	}
	if err := runMmdebstrap(ctx, tool, dir, out, debs, log); err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	t, err := tree.FromTar(out, size, layers.Limits)
	if err != nil {
		return nil, fmt.Errorf("reading root file system: %w", err)
	}
	return normaliseBase(t)
}

// mergeUsr makes a root's /bin, /sbin, /lib and /lib64 links into /usr before
// anything is unpacked: every base of ours has the one layout, whatever its suite.
const mergeUsr = `for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done`

// baseCapabilities are those that mmdebstrap and maintainers' scripts get of root's: what
// dpkg takes, and what making a root file system does. Those for the kernel's modules, for raw
// input and output, for tracing, for the clock and for the network are not among them.
var baseCapabilities = []string{
	"chown", "dac_override", "fowner", "fsetid", "kill", "setuid", "setgid", "setpcap", "setfcap", "sys_chroot", "sys_admin", "mknod", "audit_write",
}

// runMmdebstrap runs mmdebstrap, with nothing of this machine's environment. What it writes
// on the way stands beside the repository.
func runMmdebstrap(ctx context.Context, tool, dir string, out *os.File, debs []recipes.Deb, log io.Writer) error {
	names := make([]string, 0, len(debs))
	for _, d := range debs {
		names = append(names, d.Name)
	}
	repository := url.URL{Scheme: "copy", Path: dir}
	args := []string{
		"/bin/sh", "-c", `umask 022; exec "$@"`, "sh",
		tool, "--mode=auto", "--variant=essential", "--architectures=amd64", "--format=tar",
		"--include=" + strings.Join(names, ","), "--setup-hook=" + mergeUsr,
		"", "-", "deb [trusted=yes] " + repository.String() + " ./",
	}
	root := os.Geteuid() == 0
	if root {
		setpriv, err := debian.Tool("setpriv", "util-linux")
		if err != nil {
			return err
		}
		args = append([]string{setpriv, "--no-new-privs", "--bounding-set=-all,+" + strings.Join(baseCapabilities, ",+"), "--"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(installEnv(), "HOME="+dir, "TMPDIR="+filepath.Dir(dir))
	cmd.Dir = dir
	if root {
		// Nothing but the repository is to be reached, not even by maintainers' scripts.
		system.CutNetwork(cmd)
	}
	// It undoes its mounts when it is interrupted.
	system.Group(cmd, syscall.SIGINT)
	cmd.WaitDelay = 30 * time.Second
	last := newTail(log)
	cmd.Stdout, cmd.Stderr = out, last
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &StepError{Step: "mmdebstrap", Last: last.lines(), Err: err}
	}
	return nil
}

// installEnv is the environment in which packages are installed.
func installEnv() []string {
	return []string{
		"PATH=" + searchPath, "LC_ALL=C.UTF-8", "TZ=UTC",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(tree.Time.Unix(), 10),
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
	}
}

// writeRepository writes a flat repository of packages: each under its hash, and the index.
func (s *Stage) writeRepository(ctx context.Context, dir string, debs []recipes.Deb) error {
	var index strings.Builder
	for _, deb := range debs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		stanza, err := s.copyDeb(dir, deb)
		if err != nil {
			return fmt.Errorf("package %s %s: %w", deb.Name, deb.Version, err)
		}
		index.WriteString(stanza.String())
	}
	name := filepath.Join(dir, "Packages")
	if err := os.WriteFile(name, []byte(index.String()), 0o644); err != nil {
		return err
	}
	return os.Chmod(name, 0o644) // whatever this process's umask is
}

// copyDeb puts one package into the repository and returns its stanza of the index.
func (s *Stage) copyDeb(dir string, deb recipes.Deb) (debian.Stanza, error) {
	in, err := s.store.Open(deb.SHA256)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	stanza, err := controlOf(in, deb)
	if err != nil {
		return nil, err
	}
	name := deb.SHA256 + ".deb"
	out, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(out, sum), in)
	if err == nil {
		err = out.Chmod(0o644) // whatever this process's umask is
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != deb.SHA256 {
		return nil, fmt.Errorf("content is sha256:%s, not sha256:%s", got, deb.SHA256)
	}
	return stanza.With("Filename", "./"+name).With("Size", strconv.FormatInt(size, 10)).With("SHA256", deb.SHA256), nil
}

// controlOf reads a package's control stanza, checks that it is the locked one's,
// and goes back to the file's start.
func controlOf(in io.ReadSeeker, deb recipes.Deb) (debian.Stanza, error) {
	stanza, err := debian.Control(in)
	if err != nil {
		return nil, err
	}
	if got := packageOf(stanza); got != (installedPackage{deb.Name, deb.Version, deb.Arch}) {
		return nil, fmt.Errorf("the file holds %s", got)
	}
	_, err = in.Seek(0, io.SeekStart)
	return stanza, err
}
