package trials

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ampoule/artifact"
	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// pushSizes are how many manifests repositories have that are pushed to, pushWriters how many
// push at once, and pushTime how long they do.
var (
	pushSizes   = []int{1000, 10_000, 100_000}
	pushWriters = []int{1, 4}
)

const (
	pushTime = 20 * time.Second
	// pushRepository has them.
	pushRepository = "pushes"
)

// Pushes pushes manifests into repositories of several sizes.
func (t *Trials) Pushes(ctx context.Context) error {
	book, err := recorded.Open[recorded.Pushes](filepath.Join(t.Results, recorded.RegistryFile))
	if err != nil {
		return err
	}
	for _, size := range pushSizes {
		if err := inTemp(func(work string) error { return t.pushesInto(ctx, work, size, book) }); err != nil {
			return err
		}
	}
	return nil
}

// pushesInto measures one size.
func (t *Trials) pushesInto(ctx context.Context, store string, size int, book *recorded.Book[recorded.Pushes]) error {
	run, err := t.in(store).Run(ctx, "registry", "token", "create", "measure", "--scope", "push:*")
	if err != nil {
		return err
	}
	repository := filepath.Join(store, "registry", "repositories", pushRepository)
	if err := seed(repository, size); err != nil {
		return fmt.Errorf("filling a repository: %w", err)
	}
	return t.serving(ctx, store, func(address string) error {
		for _, writers := range pushWriters {
			t.Say("%d manifests, %d writers", size, writers)
			count, took, err := push(ctx, "http://"+address, run.Out, fmt.Sprintf("w%d", writers), writers)
			if err != nil {
				return err
			}
			info, err := os.Stat(filepath.Join(repository, "index.json"))
			if err != nil {
				return err
			}
			if err := book.Put(recorded.Pushes{
				Name: fmt.Sprintf("%06d manifests, %d writers", size, writers), When: t.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Shared: t.Shared,
				Manifests: size, Writers: writers, PerSecond: math.Round(float64(count)/took.Seconds()*100) / 100, ListBytes: info.Size(),
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// serving serves the registry of a store while something is done with it.
func (t *Trials) serving(ctx context.Context, store string, work func(address string) error, flags ...string) error {
	p := t.in(store)
	return served(ctx, p.With(append([]string{"registry", "serve", "--listen", "127.0.0.1:0"}, flags...)...), p.Show, func(address string, _ *os.Process) error { return work(address) })
}

// served has a program serve while something is done with it. It prints its address when it does.
func served(ctx context.Context, p drive.Program, errs io.Writer, work func(address string, process *os.Process) error) (err error) {
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), p.Env...), errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if end := cmd.Wait(); end != nil && !errors.As(end, &exit) {
			err = errors.Join(err, fmt.Errorf("serving: %w", end))
		}
	}()
	line := bufio.NewScanner(out)
	if !line.Scan() {
		return errors.New("serving: no address was printed")
	}
	return work(line.Text(), cmd.Process)
}

// emptyConfig is the one blob of all manifests.
const emptyConfig = "{}"

// manifestOf is a manifest that differs from others by its note.
func manifestOf(note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:%s","size":%d},"layers":[],"annotations":{"note":%q}}`,
		artifact.ManifestType, sumOf([]byte(emptyConfig)), len(emptyConfig), note)
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// entry is one of a repository's list.
type entry struct {
	MediaType   string            `json:"mediaType"`
	Size        int               `json:"size"`
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// seed makes an OCI layout with that many tagged manifests.
func seed(repository string, size int) error {
	blobs := filepath.Join(repository, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	write := func(content []byte) error { return os.WriteFile(filepath.Join(blobs, sumOf(content)), content, 0o644) }
	if err := write([]byte(emptyConfig)); err != nil {
		return err
	}
	entries := make([]entry, size)
	for i := range entries {
		m := manifestOf(fmt.Sprintf("seed %d", i))
		if err := write(m); err != nil {
			return err
		}
		entries[i] = entry{artifact.ManifestType, len(m), "sha256:" + sumOf(m), map[string]string{artifact.AnnotationRefName: fmt.Sprintf("seed-%d", i)}}
	}
	list, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": artifact.IndexType, "manifests": entries,
		// What the registry's library would else look for in each manifest: none refers to another.
		"annotations": map[string]string{"org.olareg.referrer.convert": "true"},
	})
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(repository, "index.json"), list, 0o644),
		os.WriteFile(filepath.Join(repository, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// push has writers put tagged manifests for a time, and counts them.
func push(ctx context.Context, url, token, prefix string, writers int) (count int64, took time.Duration, err error) {
	var done atomic.Int64
	failed := make(chan error, writers)
	began := time.Now()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; time.Since(began) < pushTime; i++ {
				tag := fmt.Sprintf("%s-%d-%d", prefix, w, i)
				if err := put(ctx, url+"/v2/"+pushRepository+"/manifests/"+tag, token, manifestOf(tag)); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	took = time.Since(began)
	close(failed)
	return done.Load(), took, <-failed
}

// put puts a manifest.
func put(ctx context.Context, url, token string, manifest []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(manifest))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", artifact.ManifestType)
	req.SetBasicAuth("measure", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("pushing to %s: %s: %s", url, resp.Status, said)
	}
	return err
}
