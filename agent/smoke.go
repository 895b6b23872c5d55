package agent

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/agent/program"
	"ampoule/faults"
)

// importing imports the modules that are its arguments, and says which one cannot be.
const importing = `import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        sys.exit("importing %s: %s: %s" % (name, type(error).__name__, error))
`

// smoke tries a release where it lies: its interpreter starts, imports what is to be imported, and
// the commands end well. It is done by an ordinary user, in a directory that is removed.
func (a *Agent) smoke(ctx context.Context, r Release) error {
	s := a.Settings.Smoke
	who, err := tester(s.User)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ampoule-smoke-")
	if err != nil {
		return fmt.Errorf("making a directory for the smoke test: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what it has left there is nobody's
	if who != nil {
		if err := os.Chown(dir, int(who.UID), int(who.GID)); err != nil {
			return fmt.Errorf("making a directory for the smoke test: %w", err)
		}
	}
	until := a.Now().Add(s.Timeout)
	for _, args := range smokeCommands(r.Tests, s.Tests) {
		c := program.Command{
			Args: args, Path: programOf(r.Dir, args[0]), Dir: dir, User: who, Timeout: max(until.Sub(a.Now()), time.Millisecond),
			Environ: smokeEnviron(a.Environ, r.Dir, dir),
		}
		if err := a.runProgram(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// smokeCommands are the commands of a smoke test: imports first, each once.
func smokeCommands(signed, more Tests) [][]string {
	modules := slices.Concat(signed.Imports, more.Imports)
	slices.Sort(modules)
	all := [][]string{append([]string{"python3", "-I", "-c", importing}, slices.Compact(modules)...)}
	for _, args := range slices.Concat(signed.Commands, more.Commands) {
		if !slices.ContainsFunc(all, func(there []string) bool { return slices.Equal(there, args) }) {
			all = append(all, args)
		}
	}
	return all
}

// programOf is the file of a program: of the release's bin, if it is there; else empty, and it is
// looked for in PATH.
func programOf(release, name string) string {
	file := filepath.Join(release, "bin", name)
	if info, err := os.Stat(file); strings.Contains(name, "/") || err != nil || info.IsDir() {
		return ""
	}
	return file
}

// smokeEnviron is the environment of a smoke test: nothing of the agent's own but where programs
// are, and nothing is written beside the release's modules.
func smokeEnviron(environ []string, release, dir string) []string {
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	return []string{
		"PATH=" + filepath.Join(release, "bin") + ":" + path, "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
	}
}

// tester is the user who runs smoke tests; nil is the one that runs the agent, who is not root.
func tester(name string) (*program.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, faults.New(faults.Machine, "name another one as smoke.user", "the user for smoke tests: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the user for smoke tests: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the user for smoke tests: %w", err)
	}
	if uid == 0 {
		return nil, faults.New(faults.Input, "name an ordinary one as smoke.user", "the user for smoke tests is root")
	}
	return &program.User{UID: uint32(uid), GID: uint32(gid)}, nil
}
