package trials

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"ampoule/bench/internal/recorded"
)

// The limits of installing on a host.
const (
	limitFirst    = 1.3  // of unpacking the same layers with tar
	limitNext     = 0.3  // the same
	limitRollback = 0.05 // seconds
	limitPull     = 1.0  // of docker pull's time
	limitMoved    = 1.1  // of a distribution's own bytes
)

// hostRounds is how often each side is measured: the median counts.
const hostRounds = 3

// Hosts installs a published artifact, and then another one that shares most with it, beside tar
// and docker pull, and records the ratios. Both lie in the registry of the store; where none are named, they
// are built: see [Trials.hundred]. Each side begins without the kernel's caches and ends with sync.
func (t *Trials) Hosts(ctx context.Context, refs ...string) ([]recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.HostsFile))
	if err != nil {
		return nil, err
	}
	b := &hostBench{t: t, store: t.Store, put: func(f recorded.Figure) error {
		f.When, f.Cores = t.Now().UTC().Format(time.DateOnly), runtime.NumCPU()
		return book.Put(f)
	}}
	if b.store == "" {
		if b.store, err = t.usualStore(ctx); err != nil {
			return nil, err
		}
	}
	err = inTemp(func(work string) (err error) {
		b.work = work
		if len(refs) == 0 {
			if refs, err = t.hundred(ctx, work, b.store); err != nil {
				return err
			}
		}
		return b.all(ctx, refs[0], refs[1])
	})
	return b.figures, err
}

// usualStore is the directory of the user's own store.
func (t *Trials) usualStore(ctx context.Context) (string, error) {
	run, err := t.Ampoule.Run(ctx, "store", "path")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(run.Out), nil
}

// hostBench is one run.
type hostBench struct {
	t           *Trials
	work, store string
	runs        int
	// put records a figure as it comes; figures are those that came.
	put     func(recorded.Figure) error
	figures []recorded.Figure
}

// hostArtifact is what `ampoule inspect --output json` tells of an artifact.
type hostArtifact struct {
	Ref    string `json:"ref"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Images []struct {
		Digest string `json:"digest"`
		Layers []struct {
			Name   string `json:"name"`
			Base   bool   `json:"base"`
			Digest string `json:"digest"`
			Size   int64  `json:"size"`
		} `json:"layers"`
	} `json:"images"`
	// blobs are the files of the tree's layers, in their order; names those of the layers.
	blobs, names []string
	// head is the size of index, manifest and configuration in bytes, size that of the layers.
	head, size int64
}

func (b *hostBench) all(ctx context.Context, first, next string) error {
	one, err := b.inspect(ctx, first)
	if err != nil {
		return err
	}
	two, err := b.inspect(ctx, next)
	if err != nil {
		return err
	}
	for _, measure := range []func(context.Context, hostArtifact, hostArtifact) ([]recorded.Figure, error){b.moves, b.installs, b.pulls} {
		some, err := measure(ctx, one, two)
		if err != nil {
			return err
		}
		for _, f := range some {
			b.t.Say("%s: %.3f %s", f.Name, f.Value, f.Of)
			if err := b.put(f); err != nil {
				return err
			}
		}
		b.figures = append(b.figures, some...)
	}
	return nil
}

// inspect finds an artifact's layers in the store.
func (b *hostBench) inspect(ctx context.Context, ref string) (a hostArtifact, err error) {
	run, err := b.t.in(b.store).Run(ctx, "inspect", ref, "--output", "json")
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(run.Out), &a); err != nil {
		return a, fmt.Errorf("inspecting %s: %w", ref, err)
	}
	if len(a.Images) != 1 {
		return a, fmt.Errorf("%s has %d images", ref, len(a.Images))
	}
	dir := filepath.Join(b.store, "registry", "repositories", a.Name, "blobs", "sha256")
	file := func(digest string) string { return filepath.Join(dir, strings.TrimPrefix(digest, "sha256:")) }
	for _, l := range a.Images[0].Layers {
		if !l.Base {
			a.blobs, a.names, a.size = append(a.blobs, file(l.Digest)), append(a.names, l.Name), a.size+l.Size
		}
	}
	raw, err := os.ReadFile(file(a.Images[0].Digest))
	if err != nil {
		return a, err
	}
	var manifest struct {
		Config struct {
			Size int64 `json:"size"`
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return a, err
	}
	index, err := os.Stat(file(a.Digest))
	if err != nil {
		return a, err
	}
	a.head = int64(len(raw)) + manifest.Config.Size + index.Size()
	return a, nil
}

// timed runs something without the kernel's caches, up to the end of sync.
func timed(work func() error) (time.Duration, error) {
	syscall.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return 0, fmt.Errorf("dropping caches: %w", err)
	}
	begun := time.Now()
	err := work()
	syscall.Sync()
	return time.Since(begun), err
}

// series are the times of things that are done in turns, so that what else the machine has to do meets all of
// them.
type series map[string][]time.Duration

// time notes how long something took.
func (s series) time(name string, work func() (time.Duration, error)) error {
	took, err := work()
	s[name] = append(s[name], took)
	return err
}

func (s series) median(name string) time.Duration {
	sorted := slices.Sorted(slices.Values(s[name]))
	return sorted[len(sorted)/2]
}

// ratio divides two medians.
func (s series) ratio(name, by string) float64 {
	return round(s.median(name).Seconds() / s.median(by).Seconds())
}

// fresh is a directory that is not there yet. Nothing is removed before the end: ext4 looks for
// new inodes behind those that were given back a moment ago.
func (b *hostBench) fresh() string {
	b.runs++
	return filepath.Join(b.work, fmt.Sprint(b.runs))
}

// untar unpacks layers with tar.
func (b *hostBench) untar(ctx context.Context, a hostArtifact) (time.Duration, error) {
	dir := b.fresh()
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // it is a release's
		return 0, err
	}
	return timed(func() error {
		for _, blob := range a.blobs {
			if out, err := exec.CommandContext(ctx, "tar", "xzf", blob, "-C", dir).CombinedOutput(); err != nil {
				return fmt.Errorf("tar: %w\n%s", err, out)
			}
		}
		return nil
	})
}

// host calls a verb of ampoule host, and times the process.
func (b *hostBench) host(ctx context.Context, store, verb, root string, args ...string) (time.Duration, error) {
	run, err := b.t.in(store).Run(ctx, append([]string{"host", verb, "--root", root}, args...)...)
	if err != nil {
		return 0, err
	}
	return run.Wall, nil
}

// install installs and activates an artifact without the kernel's caches.
func (b *hostBench) install(ctx context.Context, store, root, ref string) (time.Duration, error) {
	return timed(func() error {
		_, err := b.host(ctx, store, "install", root, "--activate", ref)
		return err
	})
}

// installs compares installing with tar, and goes back.
func (b *hostBench) installs(ctx context.Context, one, two hostArtifact) ([]recorded.Figure, error) {
	b.t.Say("tar, then ampoule host install, %d times in turns", hostRounds)
	s := series{}
	for range hostRounds {
		root := b.fresh()
		err := s.time("tar", func() (time.Duration, error) { return b.untar(ctx, one) })
		if err == nil {
			err = s.time("first", func() (time.Duration, error) { return b.install(ctx, b.store, root, one.Ref) })
		}
		if err == nil {
			err = s.time("tar of the next", func() (time.Duration, error) { return b.untar(ctx, two) })
		}
		if err == nil {
			err = s.time("next", func() (time.Duration, error) { return b.install(ctx, b.store, root, two.Ref) })
		}
		if err == nil {
			err = b.goBack(ctx, s, root, two.Digest)
		}
		if err != nil {
			return nil, err
		}
	}
	back, start := s.median("back"), s.median("start")
	return []recorded.Figure{
		{Name: "first install", Value: s.ratio("first", "tar"), Limit: limitFirst,
			Of: fmt.Sprintf("ampoule host install --activate: %.2f s, tar xzf of the same %d layers (%d MiB): %.2f s", s.median("first").Seconds(), len(one.blobs), one.size>>20, s.median("tar").Seconds())},
		{Name: "next release", Value: s.ratio("next", "tar of the next"), Limit: limitNext,
			Of: fmt.Sprintf("one that shares %.1f %% of its layers' bytes: %.2f s, tar xzf of all its layers: %.2f s",
				100*float64(sharedBytes(one, two))/float64(two.size), s.median("next").Seconds(), s.median("tar of the next").Seconds())},
		{Name: "rollback", Value: round(back.Seconds()), Limit: limitRollback, Unit: "s",
			Of: fmt.Sprintf("ampoule host rollback, the whole process, the median of %d; of these the program's start (ampoule version) takes %.3f s, and the deed the rest: %.3f s",
				len(s["back"]), start.Seconds(), (back - start).Seconds())},
	}, nil
}

// backs is how often is gone back in each round.
const backs = 5

// goBack goes back from a release several times.
func (b *hostBench) goBack(ctx context.Context, s series, root, digest string) error {
	for range backs {
		err := s.time("back", func() (time.Duration, error) { return b.host(ctx, b.store, "rollback", root) })
		if err == nil {
			err = s.time("start", func() (time.Duration, error) {
				run, err := b.t.in(b.store).Run(ctx, "version")
				if err != nil {
					return 0, err
				}
				return run.Wall, nil
			})
		}
		if err == nil {
			_, err = b.host(ctx, b.store, "activate", root, "--glance", digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sharedBytes is the size of the layers of an artifact that another one has.
func sharedBytes(one, two hostArtifact) (shared int64) {
	for _, l := range two.Images[0].Layers {
		if !l.Base && slices.Contains(one.blobs, filepath.Join(filepath.Dir(one.blobs[0]), strings.TrimPrefix(l.Digest, "sha256:"))) {
			shared += l.Size
		}
	}
	return shared
}

// pulls compares installing with docker pull, both from the served registry, and on a machine whose own store
// is empty.
func (b *hostBench) pulls(ctx context.Context, one, _ hostArtifact) ([]recorded.Figure, error) {
	s := series{}
	err := b.t.serving(ctx, b.store, func(address string) error {
		ref := address + "/" + one.Name + "@" + one.Digest
		b.t.Say("docker pull, then ampoule host install, %d times in turns", hostRounds)
		for range hostRounds {
			err := s.time("docker", func() (time.Duration, error) {
				return timed(func() error {
					_, err := b.t.Docker.Run(ctx, "pull", "--quiet", ref)
					return err
				})
			})
			if err == nil {
				_, err = b.t.Docker.Run(ctx, "image", "rm", ref)
			}
			if err == nil {
				err = s.time("ours", func() (time.Duration, error) {
					return b.install(ctx, filepath.Join(b.work, "elsewhere"), b.fresh(), ref)
				})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []recorded.Figure{{Name: "beside docker pull", Value: s.ratio("ours", "docker"), Limit: limitPull,
		Of: fmt.Sprintf("ampoule host install --activate: %.2f s, docker pull: %.2f s, from one registry on this machine; docker pulls the base, too, unless another image has it",
			s.median("ours").Seconds(), s.median("docker").Seconds())}}, nil
}
