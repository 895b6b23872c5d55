package trials

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// limitCached is what a build with a filled cache may take of docker build's time.
const limitCached = 0.5

// Cached builds the web recipe with an empty store and a filled cache in a registry, beside
// docker build with the cache of an image in the same registry, in one run. Both fill theirs
// before, which is not measured. An error is that it could not be measured, or that something
// was compiled.
func (t *Trials) Cached(ctx context.Context) (recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.BenchFile))
	if err != nil {
		return recorded.Figure{}, err
	}
	var figure recorded.Figure
	if err := inTemp(func(work string) (err error) { figure, err = t.cached(ctx, work); return err }); err != nil {
		return recorded.Figure{}, err
	}
	return figure, book.Put(figure)
}

func (t *Trials) cached(ctx context.Context, work string) (_ recorded.Figure, err error) {
	registry, err := t.newRegistry(ctx, work)
	if err != nil {
		return recorded.Figure{}, err
	}
	if err := registry.start(ctx); err != nil {
		return recorded.Figure{}, err
	}
	defer func() { err = errors.Join(err, registry.stop()) }()
	address := registry.address
	dir, err := t.fromCatalogue(ctx, work, webRecipe)
	if err != nil {
		return recorded.Figure{}, err
	}
	t.Say("locking %s, in the usual store", webRecipe)
	if _, err := t.lock(ctx, t.Store, dir); err != nil {
		return recorded.Figure{}, err
	}
	full := filepath.Join(work, "full")
	defer func() { err = errors.Join(err, t.forgetStore(ctx, full)) }()
	if err := t.fillCache(ctx, work, full, dir, address+"/cache"); err != nil {
		return recorded.Figure{}, err
	}
	r, err := t.fillRival(ctx, work, full, dir, address)
	if r != nil {
		defer func() { err = errors.Join(err, r.remove(ctx)) }()
	}
	if err != nil {
		return recorded.Figure{}, err
	}
	return t.fromCaches(ctx, work, dir, r)
}

// fillCache builds the recipe in a store that is empty, and fills a cache with it. From then on
// the program believes the cache's key.
func (t *Trials) fillCache(ctx context.Context, work, full, dir, cache string) error {
	key := filepath.Join(work, "cache.key")
	if _, err := t.Ampoule.Run(ctx, "cache", "keygen", key); err != nil {
		return err
	}
	home := filepath.Join(work, "config")
	if err := os.MkdirAll(filepath.Join(home, "ampoule"), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("[cache]\nuse = [%q]\ntrusted = [%q]\n", cache, key+".pub")
	if err := os.WriteFile(filepath.Join(home, "ampoule", "config.toml"), []byte(text), 0o644); err != nil {
		return err
	}
	t.Ampoule.Env = append(t.Ampoule.Env, "XDG_CONFIG_HOME="+home)
	t.Say("ampoule build, which fills the cache")
	_, _, err := t.build(ctx, full, dir, "--cache-key", key)
	return errors.Join(err, t.forgetStore(ctx, full))
}

// fillRival builds by a Dockerfile and pushes the image with its base. Nothing of them stays in
// the engine.
func (t *Trials) fillRival(ctx context.Context, work, full, dir, address string) (*rival, error) {
	recipe, lock, source, err := inputs(full, dir)
	if err != nil {
		return nil, err
	}
	r, err := t.newRivalAs(ctx, work, address+"/", recipe, lock, source)
	if err != nil {
		return r, err
	}
	if err := r.require(lock); err != nil {
		return r, err
	}
	t.Say("docker build, which fills the registry")
	if _, err := r.build(ctx, true); err != nil {
		return r, fmt.Errorf("building by Dockerfile: %w", err)
	}
	for _, image := range []string{r.base, r.image} {
		if _, err := t.Docker.Run(ctx, "push", "--quiet", image); err != nil {
			return r, err
		}
	}
	return r, r.remove(ctx)
}

// fromCaches builds on both sides from nothing but the caches.
func (t *Trials) fromCaches(ctx context.Context, work, dir string, r *rival) (_ recorded.Figure, err error) {
	empty := filepath.Join(work, "empty")
	defer func() { err = errors.Join(err, t.forgetStore(ctx, empty)) }()
	t.Say("ampoule build, from an empty store and the cache")
	_, ours, err := t.build(ctx, empty, dir)
	if err != nil {
		return recorded.Figure{}, err
	}
	if compiled := compiledIn(ours); len(compiled) > 0 {
		return recorded.Figure{}, fmt.Errorf("with a filled cache, %d wheels were compiled", len(compiled))
	}
	t.Say("docker build, from the image in the registry")
	theirs, err := r.buildFrom(ctx)
	if err != nil {
		return recorded.Figure{}, fmt.Errorf("building by Dockerfile, from the registry: %w", err)
	}
	return recorded.Figure{
		Name: "empty store, filled cache", Value: round(ours.Wall.Seconds() / theirs.Seconds()), Limit: limitCached,
		Of: fmt.Sprintf("ampoule build with --cache: %.0f s; docker pull, and docker build --cache-from: %.0f s; one registry on the same machine, no limit on the link",
			ours.Wall.Seconds(), theirs.Seconds()),
		When: t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(),
	}, nil
}

// buildFrom is docker build with nothing but the image that a registry has. Every layer must be
// that image's.
func (r *rival) buildFrom(ctx context.Context) (time.Duration, error) {
	pulled, err := r.docker.Run(ctx, "pull", "--quiet", r.image)
	if err != nil {
		return 0, err
	}
	built, err := r.engine().Run(ctx, "build", "--network", "host", "--force-rm", "--tag", r.image, "--cache-from", r.image, r.dir)
	if err != nil {
		return 0, err
	}
	if steps := strings.Count(built.Out, "Step "); strings.Count(built.Out, "Using cache") < steps-1 {
		return 0, fmt.Errorf("docker build did not take all of its %d steps from the cache:\n%s", steps, built.Out)
	}
	return pulled.Wall + built.Wall, nil
}

// engine is the builder that is part of every engine, also where the client lacks the other one.
func (r *rival) engine() drive.Program {
	docker := r.docker
	docker.Env = append(append([]string{}, docker.Env...), "DOCKER_BUILDKIT=0")
	return docker
}
