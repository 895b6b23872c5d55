package trials

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
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
// and docker pull, and records the ratios. Both lie in the registry of the store. Each side begins
// without the kernel's caches and ends with sync.
func (t *Trials) Hosts(ctx context.Context, first, next string) ([]recorded.Figure, error) {
	book, err := recorded.Open[recorded.Figure](filepath.Join(t.Results, recorded.BenchFile))
	if err != nil {
		return nil, err
	}
	var figures []recorded.Figure
	err = inTemp(func(work string) error {
		b := &hostBench{t: t, work: work}
		figures, err = b.all(ctx, first, next)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range figures {
		figures[i].When, figures[i].Cores = t.Now().UTC().Format(time.DateOnly), runtime.NumCPU()
		if err := book.Put(figures[i]); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// hostBench is one run.
type hostBench struct {
	t    *Trials
	work string
	runs int
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

func (b *hostBench) all(ctx context.Context, first, next string) ([]recorded.Figure, error) {
	one, err := b.inspect(ctx, first)
	if err != nil {
		return nil, err
	}
	two, err := b.inspect(ctx, next)
	if err != nil {
		return nil, err
	}
	var figures []recorded.Figure
	for _, measure := range []func(context.Context, hostArtifact, hostArtifact) ([]recorded.Figure, error){b.installs, b.pulls, b.moves} {
		some, err := measure(ctx, one, two)
		if err != nil {
			return nil, err
		}
		figures = append(figures, some...)
	}
	return figures, nil
}

// inspect finds an artifact's layers in the store.
func (b *hostBench) inspect(ctx context.Context, ref string) (a hostArtifact, err error) {
	run, err := b.t.in(b.t.Store).Run(ctx, "inspect", ref, "--output", "json")
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(run.Out), &a); err != nil {
		return a, fmt.Errorf("inspecting %s: %w", ref, err)
	}
	if len(a.Images) != 1 {
		return a, fmt.Errorf("%s has %d images", ref, len(a.Images))
	}
	dir := filepath.Join(b.t.Store, "registry", "repositories", a.Name, "blobs", "sha256")
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

// medianOf runs something [hostRounds] times.
func medianOf(work func() (time.Duration, error)) (time.Duration, error) {
	var all []time.Duration
	for range hostRounds {
		took, err := work()
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
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

func (b *hostBench) host(ctx context.Context, verb string, root string, args ...string) (time.Duration, error) {
	run, err := b.t.in(b.t.Store).Run(ctx, append([]string{"host", verb, "--root", root}, args...)...)
	if err != nil {
		return 0, err
	}
	return run.Wall, nil
}

// installs compares installing with tar, and goes back.
func (b *hostBench) installs(ctx context.Context, one, two hostArtifact) ([]recorded.Figure, error) {
	b.t.Say("tar, then ampoule host install, %d times", hostRounds)
	unpacked, err := medianOf(func() (time.Duration, error) { return b.untar(ctx, one) })
	if err != nil {
		return nil, err
	}
	unpackedNext, err := medianOf(func() (time.Duration, error) { return b.untar(ctx, two) })
	if err != nil {
		return nil, err
	}
	var nexts, backs []time.Duration
	first, err := medianOf(func() (time.Duration, error) {
		root := b.fresh()
		took, err := timed(func() error {
			_, err := b.host(ctx, "install", root, "--activate", one.Ref)
			return err
		})
		if err != nil {
			return 0, err
		}
		next, err := timed(func() error {
			_, err := b.host(ctx, "install", root, "--activate", two.Ref)
			return err
		})
		if err != nil {
			return 0, err
		}
		nexts = append(nexts, next)
		back, err := b.host(ctx, "rollback", root)
		backs = append(backs, back)
		return took, err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(nexts)
	slices.Sort(backs)
	next, back := nexts[len(nexts)/2], backs[len(backs)/2]
	shared := sharedBytes(one, two)
	ratio := func(a, b time.Duration) float64 { return round(a.Seconds() / b.Seconds()) }
	return []recorded.Figure{
		{Name: "host first", Value: ratio(first, unpacked), Limit: limitFirst,
			Of: fmt.Sprintf("ampoule host install: %.2f s, tar xzf of the same %d layers (%d MiB): %.2f s; caches dropped, sync at the end", first.Seconds(), len(one.blobs), one.size>>20, unpacked.Seconds())},
		{Name: "host next", Value: ratio(next, unpackedNext), Limit: limitNext,
			Of: fmt.Sprintf("a release that shares %.1f %% of its layers' bytes: %.2f s, tar xzf of all its layers: %.2f s", 100*float64(shared)/float64(two.size), next.Seconds(), unpackedNext.Seconds())},
		{Name: "host rollback", Value: round(back.Seconds()), Limit: limitRollback, Unit: "s", Of: "ampoule host rollback, the whole process"},
	}, nil
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

// pulls compares installing with docker pull, both from the served registry.
func (b *hostBench) pulls(ctx context.Context, one, _ hostArtifact) ([]recorded.Figure, error) {
	var ours, docker time.Duration
	err := b.t.serving(ctx, b.t.Store, func(address string) error {
		ref := address + "/" + one.Name + "@" + one.Digest
		b.t.Say("docker pull %s, then ampoule host install", ref)
		var err error
		docker, err = medianOf(func() (time.Duration, error) {
			_, _ = b.t.Docker.Run(ctx, "image", "rm", ref)
			return timed(func() error {
				_, err := b.t.Docker.Run(ctx, "pull", "--quiet", ref)
				return err
			})
		})
		_, _ = b.t.Docker.Run(ctx, "image", "rm", ref)
		if err != nil {
			return err
		}
		ours, err = medianOf(func() (time.Duration, error) {
			root := b.fresh()
			return timed(func() error {
				_, err := b.t.in(b.t.Store).Run(ctx, "host", "install", "--activate", "--root", root, ref)
				return err
			})
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return []recorded.Figure{{Name: "host pull", Value: round(ours.Seconds() / docker.Seconds()), Limit: limitPull,
		Of: fmt.Sprintf("ampoule host install: %.2f s, docker pull: %.2f s, from one served registry; docker pulls the base, too, unless another image has it", ours.Seconds(), docker.Seconds())}}, nil
}

// moves computes for each distribution of an artifact which bytes a host fetches when that one
// changes, beside the bytes that the distribution has when it is compressed alone.
func (b *hostBench) moves(_ context.Context, one, _ hostArtifact) ([]recorded.Figure, error) {
	var metadata int64
	own, moved := map[string]int64{}, map[string]int64{}
	for i, blob := range one.blobs {
		info, err := os.Stat(blob)
		if err != nil {
			return nil, err
		}
		if one.names[i] == "metadata" {
			metadata = info.Size()
		}
		if slices.Contains([]string{"native", "interpreter", "metadata"}, one.names[i]) {
			continue // no distribution that changes alone
		}
		sizes, err := distributions(blob)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", one.names[i], err)
		}
		for name, size := range sizes {
			own[name] += size
			moved[name] += info.Size()
		}
	}
	if len(own) == 0 {
		return nil, errors.New("the artifact has no distributions")
	}
	var ratios []float64
	var ownAll, movedAll int64
	worst, worstRatio := "", 0.0
	for name := range own {
		bytes := moved[name] + metadata + one.head
		ratio := float64(bytes) / float64(own[name])
		ratios = append(ratios, ratio)
		ownAll, movedAll = ownAll+own[name], movedAll+bytes
		if ratio > worstRatio {
			worst, worstRatio = name, ratio
		}
	}
	slices.Sort(ratios)
	return []recorded.Figure{{Name: "host moved", Value: round(float64(movedAll) / float64(ownAll)), Limit: limitMoved,
		Of: fmt.Sprintf("bytes fetched when one of %d distributions changes, by its own: all together; median %.2f, worst %.0f (%s)", len(own), ratios[len(ratios)/2], worstRatio, worst)}}, nil
}

// distributions tells of each distribution in a layer how large it is when it is compressed alone.
func distributions(blob string) (map[string]int64, error) {
	members, err := readLayer(blob)
	if err != nil {
		return nil, err
	}
	owners := map[string]string{}
	for name, m := range members {
		dir, file := filepath.Split(name)
		base := filepath.Base(dir)
		if file != "RECORD" || !strings.HasSuffix(base, ".dist-info") {
			continue
		}
		dist, _, _ := strings.Cut(base, "-")
		site := filepath.Dir(filepath.Clean(dir))
		for line := range strings.Lines(string(m.data)) {
			p, _, _ := strings.Cut(strings.TrimSpace(line), ",")
			owners[filepath.Join(site, strings.Trim(p, `"`))] = packaging.NormalName(dist)
		}
	}
	for name := range members {
		// Bytecode is of its source's distribution, though RECORD does not have it.
		dir, file := filepath.Split(name)
		stem, _, _ := strings.Cut(file, ".")
		if owner, ok := owners[filepath.Join(filepath.Dir(filepath.Clean(dir)), stem+".py")]; ok && filepath.Base(dir) == "__pycache__" {
			owners[name] = owner
		}
	}
	sizes := map[string]int64{}
	files := map[string][]string{}
	for name, owner := range owners {
		if _, ok := members[name]; ok {
			files[owner] = append(files[owner], name)
		}
	}
	for owner, names := range files {
		slices.Sort(names)
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		tw := tar.NewWriter(zw)
		for _, name := range names {
			if err := errors.Join(tw.WriteHeader(members[name].header), write(tw, members[name].data)); err != nil {
				return nil, err
			}
		}
		if err := errors.Join(tw.Close(), zw.Close()); err != nil {
			return nil, err
		}
		sizes[owner] = int64(packed.Len())
	}
	return sizes, nil
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// layerMember is one file of a layer.
type layerMember struct {
	header *tar.Header
	data   []byte
}

// readLayer reads the files of a layer.
func readLayer(blob string) (map[string]layerMember, error) {
	f, err := os.Open(blob)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	members := map[string]layerMember{}
	for tr := tar.NewReader(zr); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		members[header.Name] = layerMember{header, data}
	}
}
