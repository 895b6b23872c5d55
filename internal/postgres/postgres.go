// Package postgres starts PostgreSQL servers by the system's own programs, for tests and measurements.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Cluster is a PostgreSQL server with its data in a temporary directory. It listens on a
// socket there, and nowhere else.
type Cluster struct {
	dir string
	// settings are name=value, beside the usual ones.
	settings []string
	server   *exec.Cmd
	// kept says that the data stays when the server is stopped.
	kept bool
}

// patience bounds how long the server may take to begin.
const patience = time.Minute

// Start makes a cluster and starts its server. Settings are name=value, and count before those that
// tests usually have. Stop is called at the end.
func Start(ctx context.Context, settings ...string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "ampoule-postgres-")
	if err != nil {
		return nil, err
	}
	return StartIn(ctx, dir, settings...)
}

// StartIn does so in a directory that is empty, and removed at the end.
func StartIn(ctx context.Context, dir string, settings ...string) (*Cluster, error) {
	return begin(ctx, &Cluster{dir: dir, settings: settings})
}

// Keep starts a server in a directory that stays, with the data that the last one has left there.
func Keep(ctx context.Context, dir string, settings ...string) (*Cluster, error) {
	c := &Cluster{dir: dir, settings: settings, kept: true}
	if _, err := os.Stat(c.data()); err == nil {
		// Whoever had it may have been killed: then its server still runs.
		_, _ = c.run(ctx, "pg_ctl", "stop", "--pgdata", c.data(), "--mode", "fast")
		return c, c.Run(ctx)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return begin(ctx, c)
}

// begin makes the data of a cluster and starts its server.
func begin(ctx context.Context, c *Cluster) (_ *Cluster, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if _, err := c.run(ctx, "initdb", "--pgdata", c.data(), "--username", "postgres", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"); err != nil {
		return nil, err
	}
	return c, c.Run(ctx)
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Run starts the server, which was not running.
func (c *Cluster) Run(ctx context.Context) error {
	// What is committed outlasts a killed server without fsync; only power loss needs it.
	args := []string{"-D", c.data(), "-k", c.dir}
	for _, s := range append([]string{"listen_addresses=", "fsync=off", "max_connections=200", "shared_buffers=32MB"}, c.settings...) {
		args = append(args, "-c", s)
	}
	cmd, err := c.command(context.WithoutCancel(ctx), "postgres", args...)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.server = cmd
	return c.await(ctx)
}

// await returns when the server answers.
func (c *Cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := c.ask(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.dir, "server.log"))
			return fmt.Errorf("starting PostgreSQL: %w\n%s", err, log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// URL is the address of a database of the cluster.
func (c *Cluster) URL(name string) string {
	return "postgres://postgres@/" + name + "?" + url.Values{"host": {c.dir}}.Encode()
}

// Create makes a database.
func (c *Cluster) Create(ctx context.Context, name string) error {
	_, err := c.run(ctx, "createdb", "--host", c.dir, "--username", "postgres", name)
	return err
}

// Halt ends the server, at once: as if it had crashed, or in order.
func (c *Cluster) Halt(crash bool) error {
	if c.server == nil {
		return nil
	}
	sig := syscall.SIGINT // ends sessions, and then the server
	if crash {
		sig = syscall.SIGQUIT
	}
	err := c.server.Process.Signal(sig)
	var ended *exec.ExitError
	if waited := c.server.Wait(); waited != nil && !errors.As(waited, &ended) {
		err = errors.Join(err, waited)
	}
	c.server = nil
	return err
}

// Stop ends the server and removes its data, unless that is kept.
func (c *Cluster) Stop() error {
	err := c.Halt(false)
	if c.kept {
		return err
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// ask answers a query of one value.
func (c *Cluster) ask(ctx context.Context, query string) (string, error) {
	return c.run(ctx, "psql", "--host", c.dir, "--username", "postgres", "--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", query, "postgres")
}

// run runs a program of PostgreSQL's to its end, and returns what it prints.
func (c *Cluster) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := c.command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", name, err, errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// command is a program of PostgreSQL's. Its server refuses to run as root: it then runs as
// another user, whom the directory is given to.
func (c *Cluster) command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if os.Geteuid() != 0 {
		return cmd, nil
	}
	uid, gid, err := other()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return cmd, os.Chown(c.dir, int(uid), int(gid))
}

// other is a user who is not root.
func other() (uid, gid uint32, err error) {
	found, err := user.Lookup("postgres")
	if err != nil {
		found, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, err
	}
	u, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	g, err := strconv.ParseUint(found.Gid, 10, 32)
	return uint32(u), uint32(g), err
}

// find looks for a program where the PATH leads, and where Debian puts it.
func find(name string) (string, error) {
	// Debian's own programs there lead to a script that chooses a cluster.
	if path, err := exec.LookPath(name); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil || filepath.Base(path) == name {
			return path, err
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is missing: install PostgreSQL (`make setup`)", name)
	}
	return found[len(found)-1], nil
}
