package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/docker/docker/client"

	"ampoule/builder/sandbox"
)

// answerBytes bounds what an engine may say to an image.
const answerBytes = 16 << 20

// errLayer is wrapped by errors of a layer that cannot be read, or is not what it says.
var errLayer = errors.New("bad layer")

// send loads an image in the format of "docker save", without its lowest layers.
func (e *Engine) send(ctx context.Context, s *stage, without int) error {
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := s.writeTo(ctx, pw, without)
		pw.CloseWithError(err)
		written <- err
	}()
	err := e.sendTar(ctx, pr)
	pr.CloseWithError(errors.New("the engine did not read all of it"))
	writeErr := <-written
	if errors.Is(writeErr, errLayer) {
		return writeErr
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return errors.Join(err, writeErr)
}

func (e *Engine) sendTar(ctx context.Context, r io.Reader) error {
	answer, err := e.client.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return readAnswer(answer.Body)
}

// readAnswer reads the messages of an engine that loads an image.
func readAnswer(r io.Reader) error {
	decoder := json.NewDecoder(io.LimitReader(r, answerBytes))
	for {
		var message struct {
			Error string `json:"error"`
		}
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the engine's answer: %w", err)
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
	}
}

// manifest is an element of manifest.json.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// writeTo writes an image in the format of "docker save".
func (s *stage) writeTo(ctx context.Context, w io.Writer, without int) error {
	m := manifest{Config: s.digest + ".json", RepoTags: []string{s.tag}}
	for _, l := range s.layers {
		m.Layers = append(m.Layers, layerName(l))
	}
	data, err := json.Marshal([]manifest{m})
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := writeFile(tw, "manifest.json", int64(len(data)), bytes.NewReader(data)); err != nil {
		return err
	}
	if err := writeFile(tw, m.Config, int64(len(s.json)), bytes.NewReader(s.json)); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, l := range s.layers[without:] {
		if seen[l.DiffID] {
			continue
		}
		seen[l.DiffID] = true
		if err := writeLayer(ctx, tw, l); err != nil {
			return fmt.Errorf("layer %.19s: %w", l.DiffID, err)
		}
	}
	return tw.Close()
}

func layerName(l sandbox.Layer) string {
	return strings.TrimPrefix(l.DiffID, "sha256:") + "/layer.tar"
}

func writeFile(tw *tar.Writer, name string, size int64, r io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

// writeLayer writes a layer, and breaks the image off when it is not what it says.
func writeLayer(ctx context.Context, tw *tar.Writer, l sandbox.Layer) error {
	size, err := layerSize(ctx, l)
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: layerName(l), Size: size, Mode: 0o644}); err != nil {
		return err
	}
	n, err := readLayer(ctx, tw, l)
	if err == nil && n != size {
		err = fmt.Errorf("%w: %d bytes the first time, %d the second", errLayer, size, n)
	}
	return err
}

// layerSize is the size of a layer: a file's, or what reading it tells.
func layerSize(ctx context.Context, l sandbox.Layer) (int64, error) {
	r, err := l.Open(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errLayer, err)
	}
	if f, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() {
			return info.Size(), r.Close()
		}
	}
	if err := r.Close(); err != nil {
		return 0, fmt.Errorf("%w: %w", errLayer, err)
	}
	return readLayer(ctx, io.Discard, l)
}

// readLayer copies a layer, and checks its hash at the end.
func readLayer(ctx context.Context, w io.Writer, l sandbox.Layer) (int64, error) {
	r, err := l.Open(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errLayer, err)
	}
	defer r.Close()
	hash := sha256.New()
	source := &sourceReader{ctx: ctx, r: io.TeeReader(r, hash)}
	n, err := io.Copy(w, source)
	if source.err != nil {
		return n, fmt.Errorf("%w: %w", errLayer, source.err)
	}
	if errors.Is(err, tar.ErrWriteTooLong) {
		return n, fmt.Errorf("%w: it grew while it was read", errLayer)
	}
	if err != nil {
		return n, err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != l.DiffID {
		return n, fmt.Errorf("%w: its content is %s", errLayer, got)
	}
	return n, nil
}

// sourceReader stops when ctx is cancelled, and remembers an error that reading had.
type sourceReader struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
