package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"ampoule/artifact"
	"ampoule/registry"
	"ampoule/registry/trust/evidence"
)

const (
	// maxSegment bounds a segment, in bytes.
	maxSegment = artifact.ChannelSegment * (maxEntry + 1)
	// reads is how many files of a log are read at once.
	reads = 4
)

// pack makes the files of a log: whole segments, and then the other entries one by one. Equal
// entries give equal files, so a registry has most of them when one entry is added.
func pack(entries []Signed) []artifact.File {
	var files []artifact.File
	whole := len(entries) / artifact.ChannelSegment * artifact.ChannelSegment
	for first := 0; first < whole; first += artifact.ChannelSegment {
		var b bytes.Buffer
		for _, e := range entries[first : first+artifact.ChannelSegment] {
			b.Write(e.data)
			b.WriteByte('\n')
		}
		name := fmt.Sprintf("%d-%d.jsonl", first+1, first+artifact.ChannelSegment)
		files = append(files, artifact.BytesFile(name, artifact.ChannelSegmentType, b.Bytes()))
	}
	for _, e := range entries[whole:] {
		files = append(files, artifact.BytesFile(fmt.Sprintf("%d.json", e.Sequence), evidence.EnvelopeMediaType, e.data))
	}
	return files
}

// opener reads files of a repository; [*registry.Repository] is one.
type opener interface {
	Open(ctx context.Context, f registry.FileInfo) (io.ReadCloser, error)
}

// unpack reads the entries of a log's files. What is no log is an error of no kind; what a
// registry fails to give is its error.
func unpack(ctx context.Context, from opener, info registry.ReferrerInfo) ([]Signed, error) {
	if err := checkFiles(info); err != nil {
		return nil, &formError{err}
	}
	texts := make([][]byte, len(info.Files))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(reads)
	for i, f := range info.Files {
		group.Go(func() (err error) {
			texts[i], err = read(reading, from, f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var entries []Signed
	for i, f := range info.Files {
		found, err := parseFile(f, texts[i])
		if err != nil {
			return nil, &formError{fmt.Errorf("file %d: %w", i+1, err)}
		}
		entries = append(entries, found...)
	}
	return entries, nil
}

// formError says that something has not the form of a log.
type formError struct{ error }

// Unwrap returns what is wrong.
func (e *formError) Unwrap() error { return e.error }

// checkFiles looks at what a manifest says of its files, before any is read.
func checkFiles(info registry.ReferrerInfo) error {
	if info.ArtifactType != artifact.ChannelType {
		return fmt.Errorf("its type is %.80q, not %s", info.ArtifactType, artifact.ChannelType)
	}
	segments, single := 0, 0
	for i, f := range info.Files {
		limit := int64(maxEntry)
		switch {
		case f.MediaType == artifact.ChannelSegmentType && single == 0:
			limit = maxSegment
			segments++
		case f.MediaType == evidence.EnvelopeMediaType:
			single++
		default:
			return fmt.Errorf("file %d of the type %.80q does not belong there", i+1, f.MediaType)
		}
		if f.Size > limit {
			return fmt.Errorf("file %d has %d bytes, more than %d", i+1, f.Size, limit)
		}
	}
	if len(info.Files) == 0 || single >= artifact.ChannelSegment || segments > maxSequence/artifact.ChannelSegment {
		return fmt.Errorf("it has %d segments and %d other entries", segments, single)
	}
	return nil
}

func read(ctx context.Context, from opener, f registry.FileInfo) (_ []byte, err error) {
	r, err := from.Open(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	text, err := io.ReadAll(io.LimitReader(r, f.Size+1))
	if err == nil && int64(len(text)) != f.Size {
		err = fmt.Errorf("%w: %s has %d bytes, not %d", registry.ErrDigest, f.Digest, len(text), f.Size)
	}
	return text, err
}

func parseFile(f registry.FileInfo, text []byte) ([]Signed, error) {
	if f.MediaType != artifact.ChannelSegmentType {
		e, err := Parse(text)
		return []Signed{e}, err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if len(lines) != artifact.ChannelSegment+1 || len(lines[artifact.ChannelSegment]) != 0 {
		return nil, fmt.Errorf("the segment has not %d lines", artifact.ChannelSegment)
	}
	entries := make([]Signed, artifact.ChannelSegment)
	for i := range entries {
		var err error
		if entries[i], err = Parse(bytes.TrimSuffix(lines[i], []byte("\n"))); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return entries, nil
}
