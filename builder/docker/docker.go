// Package docker runs sandboxes, loads images and runs artifacts with a Docker
// engine, version 20.10 or later.
//
// An [Engine] implements [sandbox.Runner] and [sandbox.Images]; [Online], which it
// gives on request, implements [sandbox.Online] and nothing else. Files move in
// and out as tar streams, never as mounts, so that a remote engine works as a local
// one does.
package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"ampoule/builder/sandbox"
)

var (
	_ sandbox.Runner = (*Engine)(nil)
	_ sandbox.Images = (*Engine)(nil)
	_ sandbox.Online = (*Online)(nil)
)

// oldestAPI is the API of Docker 20.10, the oldest engine that is supported.
const oldestAPI = "1.41"

// Defaults of [sandbox.Limits], for one sandbox and for all.
const (
	defaultPIDs = 4096
	allPIDs     = 4 * defaultPIDs
	defaultDisk = 32 << 30
	allDisk     = 2 * defaultDisk
	// defaultMemoryPercent is of the memory of the engine's machine.
	defaultMemoryPercent = 80
)

// Labels of the containers that an engine makes.
const (
	labelStore = "ampoule.store"
	labelOwner = "ampoule.owner"
	labelName  = "ampoule.name"
	// labelUser is the numeric user of a sandbox that is not root.
	labelUser = "ampoule.user"
	// labelLock has the mark of the owner's lock file.
	labelLock = "ampoule.lock"
)

// pingTimeout bounds the first question to an engine, which may be a host that
// drops packets.
const pingTimeout = 20 * time.Second

// cleanTimeout bounds the removal of one container.
const cleanTimeout = time.Minute

// storeID is what a store's id looks like: it is part of an image's name.
var storeID = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// Options says how an engine is used.
type Options struct {
	// Host is where the engine listens, in the form of DOCKER_HOST, for example
	// unix:///run/docker.sock. Empty takes DOCKER_HOST and the other variables that
	// the docker command knows.
	Host string
	// Locks is a directory, made when missing, in which every process that uses the
	// store holds a lock file while it lives.
	Locks string
	// Store is the store's id: lower-case letters and digits, separated by single
	// dots, hyphens or underscores. Containers and images carry it, so that a store
	// never touches those of another.
	Store string
	// Limits are for a Spec whose own are zero. Where these are zero too, they are 4096
	// processes, 80 % of the memory and all processors of the engine's machine, and 32 GiB
	// of its disk.
	Limits sandbox.Limits
	// Budget is what all sandboxes of this Engine may use together. Where it is zero, it is
	// 16,384 processes, 80 % of the memory and all processors of the engine's machine, and
	// 64 GiB of its disk; it is at least what a single one may use.
	Budget sandbox.Limits
	// Swept is told how many containers were removed that ended processes had left; may be nil.
	Swept func(ctx context.Context, containers int)
}

// maxLoads is how many images are loaded at once: the engine unpacks each on one processor.
const maxLoads = 2

// Engine is a connection to a Docker engine. Its methods may be called
// concurrently, except Close.
type Engine struct {
	client *client.Client
	owner  *owner
	store  string
	limits sandbox.Limits
	budget sandbox.Limits
	usage  *usage
	// partial says that the engine keeps layers apart from images, and takes an
	// image without those of its layers that are there.
	partial bool
	// swap says that the engine's kernel can bound swap.
	swap bool
	// quota says that the engine's kernel can bound processors.
	quota bool
	// loading holds a token for each running Load.
	loading chan struct{}
	// swept is as in [Options].
	swept func(ctx context.Context, containers int)
	// left holds the sandboxes that could not be removed when they ended.
	left sync.Map
	// images holds, for each image, a channel for one token: no image is loaded twice at once.
	images sync.Map
}

// Open connects to the engine, takes a lock file, and sweeps (see [Engine.Sweep]).
// An engine that is missing, does not answer or is too old is an error wrapping
// [sandbox.ErrUnavailable], with a Hint.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if !storeID.MatchString(o.Store) {
		return nil, fmt.Errorf("opening Docker: store id %q: want lower-case letters and digits with single separators", o.Store)
	}
	e, err := connect(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening Docker: %w", err)
	}
	if e.owner, err = takeOwner(o.Locks); err != nil {
		return nil, errors.Join(fmt.Errorf("opening Docker: %w", err), e.client.Close())
	}
	e.usage = e.watch(ctx)
	if err := e.Sweep(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening Docker: %w", err), e.Close())
	}
	return e, nil
}

// connect asks the engine who it is.
func connect(ctx context.Context, o Options) (*Engine, error) {
	c, err := newClient(o.Host)
	if err != nil {
		return nil, err
	}
	e := &Engine{client: c, store: o.Store, limits: o.Limits, budget: o.Budget, loading: make(chan struct{}, maxLoads), swept: o.Swept}
	if err := e.greet(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return e, nil
}

func newClient(host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	c, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, unavailable(err, "DOCKER_HOST, DOCKER_CERT_PATH or DOCKER_API_VERSION has a value that cannot be used")
	}
	return c, nil
}

// greet checks the engine's version and reads what it can do.
func (e *Engine) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, errors.New("the engine does not answer"))
	defer cancel()
	ping, err := e.client.Ping(ctx)
	if err != nil {
		return e.unreachable(ctx, err)
	}
	if versions.LessThan(ping.APIVersion, oldestAPI) {
		return unavailable(fmt.Errorf("engine at %s has API version %s", e.client.DaemonHost(), ping.APIVersion),
			"Docker 20.10 (API "+oldestAPI+") or later is needed")
	}
	info, err := e.client.Info(ctx)
	if err != nil {
		return e.unreachable(ctx, err)
	}
	if info.OSType != "linux" {
		return unavailable(fmt.Errorf("engine at %s runs %s containers", e.client.DaemonHost(), info.OSType), "an engine for Linux containers is needed")
	}
	e.swap, e.quota = info.SwapLimit, info.CPUCfsQuota
	e.partial = true
	for _, status := range info.DriverStatus {
		if status[0] == "driver-type" && strings.Contains(status[1], "snapshotter") {
			e.partial = false
		}
	}
	memory := info.MemTotal / 100 * defaultMemoryPercent
	e.limits = e.limits.Or(sandbox.Limits{Memory: memory, PIDs: defaultPIDs, CPUs: int64(info.NCPU), Disk: defaultDisk})
	e.budget = e.budget.Or(sandbox.Limits{Memory: memory, PIDs: allPIDs, CPUs: int64(info.NCPU), Disk: allDisk})
	return nil
}

// unreachable makes an error of an engine that does not answer, with a hint.
func (e *Engine) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	host := e.client.DaemonHost()
	hint := "install Docker 20.10 or later and start it (Debian: apt-get install docker.io), or point DOCKER_HOST to one"
	if errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "permission denied") {
		hint = "this user may not use " + host + ": run as root, or as a member of the group docker"
	}
	return unavailable(fmt.Errorf("asking the engine at %s: %w", host, err), hint)
}

// Budget is what all sandboxes of this Engine may use together.
func (e *Engine) Budget() sandbox.Limits { return e.budget }

// Close removes every container that this engine started and that still exists,
// and gives the lock file back.
//
//nolint:contextcheck // it cleans up behind contexts that are done, within a time of its own
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	e.usage.stop()
	err := e.removeOwned(ctx, e.owner.id, e.owner.mark)
	release := e.owner.release
	if err != nil {
		// The file tells a later sweep whose the rest is.
		release = e.owner.file.Close
	}
	return errors.Join(err, release(), e.client.Close())
}

// Online gives the type that starts containers with a network.
func (e *Engine) Online() *Online { return &Online{e} }

// Online starts containers that reach the network. It is no [sandbox.Runner].
type Online struct{ engine *Engine }

// StartOnline implements [sandbox.Online].
func (o *Online) StartOnline(ctx context.Context, spec sandbox.OnlineSpec) (sandbox.Sandbox, error) {
	return o.engine.start(ctx, confinement{online: true, users: usualUsers}, sandbox.Spec{Image: spec.Image, Name: spec.Name, Limits: spec.Limits})
}
