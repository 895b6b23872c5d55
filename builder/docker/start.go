package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-units"

	"ampoule/builder/sandbox"
)

// hostname is what every sandbox calls itself, so that no machine's name gets into a build.
const hostname = "ampoule"

// shmBytes is the size of /dev/shm, which counts as memory.
const shmBytes = 512 << 20

// openFiles is the limit of open files in a sandbox, whatever the engine's own is: a
// program that closes every possible descriptor is slow where the limit is high.
// An engine that may not raise its own limit can always give this one.
const openFiles = 1024

// removePoll is the time between looks at a container that is being removed.
const removePoll = 50 * time.Millisecond

// oomScore makes the processes of sandboxes the first that the kernel kills when the
// machine has no memory left (proc(5), oom_score_adj).
const oomScore = 500

// confinement says what a sandbox may have. The zero value is that of one that installs
// packages, without its capabilities.
type confinement struct {
	online bool
	// capabilities are names without "CAP_".
	capabilities []string
	// user is the numeric user and group; 0 until one is drawn, and for root.
	user int
	// users are what it is drawn from; the zero value is root.
	users userRange
	// export is how much may be exported at a time, in bytes.
	export int64
}

func (s confinement) unprivileged() bool { return s.users != userRange{} }

// noNewPrivileges is the security option that keeps setuid programs from gaining rights.
const noNewPrivileges = "no-new-privileges"

// packageCapabilities are what dpkg needs as root.
var packageCapabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID"}

func (s confinement) userAndGroup() string { return fmt.Sprintf("%d:%d", s.user, s.user) }

func (s confinement) network() container.NetworkMode {
	if s.online {
		return network.NetworkDefault
	}
	return network.NetworkNone
}

// confinementFor makes the confinement that a spec asks for.
func confinementFor(spec sandbox.Spec) (confinement, error) {
	switch {
	case spec.Profile == sandbox.InstallPackages:
		return confinement{capabilities: packageCapabilities}, spec.Check()
	case spec.Guise.Apart:
		return confinement{users: apartUsers}, spec.Check()
	}
	return confinement{users: usualUsers}, spec.Check()
}

// Start implements [sandbox.Runner]. The image must have sleep in its PATH, cat,
// /bin/sh and /usr/bin/env; every Debian image has. Besides the engine's report, what a
// process inside sees of itself is read: capabilities, no-new-privileges, seccomp,
// users, signals and network interfaces.
func (e *Engine) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	s, err := confinementFor(spec)
	if err != nil {
		return nil, fmt.Errorf("starting sandbox %s: %w", spec.Name, err)
	}
	return e.start(ctx, s, spec)
}

func (e *Engine) start(ctx context.Context, s confinement, spec sandbox.Spec) (sandbox.Sandbox, error) {
	spec.Limits = e.within(spec.Limits)
	s.export = spec.Limits.Disk
	if s.unprivileged() {
		s.export = spec.Limits.Export()
	}
	b, err := e.run(ctx, s, spec)
	if err != nil {
		return nil, fmt.Errorf("starting sandbox %s: %w", spec.Name, engineFault(err))
	}
	return b, nil
}

// within fills limits up with the engine's own, and asks for no more processors than the
// machine has, which the engine would refuse.
func (e *Engine) within(l sandbox.Limits) sandbox.Limits {
	l = l.Or(e.limits)
	l.CPUs = min(l.CPUs, e.budget.CPUs)
	return l
}

// run creates, starts and verifies a container, and leaves none behind on an error.
func (e *Engine) run(ctx context.Context, s confinement, spec sandbox.Spec) (*box, error) {
	if err := e.usage.room(ctx); err != nil {
		return nil, err
	}
	id, s, err := e.createAlone(ctx, s, spec)
	if err != nil {
		return nil, err
	}
	b := &box{engine: e, id: id, name: spec.Name, confinement: s, limits: spec.Limits, removed: make(chan struct{})}
	if err := e.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return nil, errors.Join(startError(ctx, err), b.remove(ctx))
	}
	e.removeLeft(ctx)
	if err := b.verify(ctx); err != nil {
		return nil, errors.Join(err, b.remove(ctx))
	}
	e.usage.add(b)
	return b, nil
}

// create makes a container. The request is not cancelled half way: an engine that
// has begun goes on, and nobody would know the container.
func (e *Engine) create(ctx context.Context, c *container.Config, h *container.HostConfig, name string) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	created, err := e.client.ContainerCreate(context.WithoutCancel(ctx), c, h, nil, nil, containerName(name))
	if errdefs.IsNotFound(err) {
		return "", fmt.Errorf("creating container: image %s is not loaded: %w", c.Image, err)
	}
	if err != nil {
		return "", fmt.Errorf("creating container: %w", err)
	}
	return created.ID, nil
}

// startError explains why a container did not start.
func startError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if strings.Contains(err.Error(), "executable file not found") {
		return &hinted{kind: errCannotHold, cause: err, hint: imageHint}
	}
	return fmt.Errorf("starting container: %w", err)
}

func (e *Engine) config(s confinement, spec sandbox.Spec) *container.Config {
	return &container.Config{
		Image:       string(spec.Image),
		Hostname:    cmp.Or(spec.Guise.Hostname, hostname),
		User:        s.userAndGroup(),
		WorkingDir:  "/",
		Entrypoint:  []string{"sleep"},
		Cmd:         []string{"infinity"},
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels:      e.sandboxLabels(s, spec.Name),
	}
}

// sandboxLabels tell of a sandbox's user, too.
func (e *Engine) sandboxLabels(s confinement, name string) map[string]string {
	labels := e.labels(name)
	if s.unprivileged() {
		labels[labelUser] = strconv.Itoa(s.user)
	}
	return labels
}

func (e *Engine) labels(name string) map[string]string {
	return map[string]string{labelStore: e.store, labelOwner: e.owner.id, labelLock: e.owner.mark, labelName: name}
}

func (e *Engine) hostConfig(s confinement, limits sandbox.Limits) *container.HostConfig {
	init := true
	return &container.HostConfig{
		NetworkMode: s.network(),
		IpcMode:     container.IPCModePrivate,
		CapDrop:     []string{"ALL"},
		CapAdd:      s.capabilities,
		SecurityOpt: []string{noNewPrivileges, seccompOption()},
		LogConfig:   container.LogConfig{Type: "none"},
		ShmSize:     shmBytes,
		Init:        &init,
		OomScoreAdj: oomScore,
		Resources:   e.resources(limits),
	}
}

func (e *Engine) resources(limits sandbox.Limits) container.Resources {
	return container.Resources{
		Memory:     limits.Memory,
		MemorySwap: limits.Memory,
		PidsLimit:  &limits.PIDs,
		NanoCPUs:   e.nanoCPUs(limits),
		Ulimits: []*units.Ulimit{
			{Name: "core"},
			{Name: "nofile", Soft: openFiles, Hard: openFiles},
			{Name: "fsize", Soft: limits.File(), Hard: limits.File()},
		},
	}
}

// nanoCPUs is a limit of processors as engines take it; 0, which is none, where the
// engine's kernel cannot bound them.
func (e *Engine) nanoCPUs(limits sandbox.Limits) int64 {
	if !e.quota {
		return 0
	}
	return limits.CPUs * 1e9
}

// removeLeft removes what could not be removed, since the engine did not answer: it does now. What still
// cannot be is tried again with the next sandbox.
func (e *Engine) removeLeft(ctx context.Context) {
	e.left.Range(func(one, _ any) bool {
		_ = one.(*box).remove(ctx)
		return true
	})
}

// containerName makes a name that is free, and that shows what the container is for.
func containerName(name string) string {
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, name)
	if len(slug) > 60 {
		slug = slug[:60]
	}
	return strings.Join([]string{"ampoule", slug, strings.ToLower(rand.Text()[:10])}, "-")
}

// remove removes a container with its volumes and waits until it is gone, whoever
// began to remove it. One that does not exist is no error.
func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanTimeout, errors.New("the engine does not remove it"))
	defer cancel()
	err := e.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	for errdefs.IsConflict(err) && ctx.Err() == nil {
		time.Sleep(removePoll)
		_, err = e.client.ContainerInspect(ctx, id)
		if err == nil {
			err = errdefs.ErrConflict
		}
	}
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("removing container %.12s: %w", id, err)
}
