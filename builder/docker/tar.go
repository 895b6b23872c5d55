package docker

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// blockSize is the size of a tar's blocks; two zero blocks are its end mark.
const blockSize = 512

// pipeBuffer is the size of the pieces in which a rewritten tar is handed on.
const pipeBuffer = 128 << 10

// change changes a member's header in place. It returns false for a member that is
// to be left out.
type change func(*tar.Header) (bool, error)

// rewriter is a tar that is rewritten while it is read.
type rewriter struct {
	*io.PipeReader
	source io.Reader
	// done is closed when nothing reads the source any more; err is set then.
	done chan struct{}
	err  error
}

// rewrite makes a tar of another one, with constant memory. Reading it fails when
// the source ends without a tar's end mark. Whoever reads it has to close it.
func rewrite(source io.Reader, c change) *rewriter {
	pr, pw := io.Pipe()
	r := &rewriter{PipeReader: pr, source: source, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		w := bufio.NewWriterSize(pw, pipeBuffer)
		r.err = copyTar(w, source, c)
		if r.err == nil {
			r.err = w.Flush()
		}
		pw.CloseWithError(r.err)
	}()
	return r
}

// Close ends the rewriting and closes the source, where it can be closed.
func (r *rewriter) Close() error {
	err := r.PipeReader.Close()
	if c, ok := r.source.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	<-r.done
	return err
}

// finish ends the rewriting without closing the source, and returns the error that
// reading the source or its members had. When it was used whole, what follows the
// tar's end mark is read too, for whoever writes it.
func (r *rewriter) finish(whole bool) error {
	if whole {
		if _, err := io.Copy(io.Discard, r.PipeReader); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r.source)
		return err
	}
	err := r.PipeReader.Close()
	<-r.done
	if err == nil {
		err = r.err
	}
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// countReader counts what is read.
type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// copyTar copies the members of a tar, changed.
func copyTar(w io.Writer, source io.Reader, c change) error {
	count := &countReader{r: source}
	tr, tw := tar.NewReader(count), tar.NewWriter(w)
	for {
		before := count.n
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// Next takes a stream that just stops for one that has ended.
			if count.n-before < 2*blockSize {
				return fmt.Errorf("reading tar: no end mark: %w", io.ErrUnexpectedEOF)
			}
			return tw.Close()
		}
		if err != nil {
			return fmt.Errorf("reading tar: %w", err)
		}
		if err := copyMember(tw, tr, hdr, c); err != nil {
			return err
		}
	}
}

func copyMember(tw *tar.Writer, tr *tar.Reader, hdr *tar.Header, c change) error {
	name := hdr.Name
	if isSparse(hdr) {
		return fmt.Errorf("reading tar: %s: sparse files are not supported", name)
	}
	keep, err := c(hdr)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !keep {
		return discard(tr, name)
	}
	hdr.Uname, hdr.Gname = "", ""
	if err := tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("writing tar: %s: %w", name, err)
	}
	if _, err := io.Copy(tw, tr); err != nil {
		return fmt.Errorf("copying tar: %s: %w", name, err)
	}
	return nil
}

// isSparse reports whether a member may unpack to far more than the tar holds.
func isSparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return hdr.Typeflag == tar.TypeGNUSparse
}

func discard(tr *tar.Reader, name string) error {
	if _, err := io.Copy(io.Discard, tr); err != nil {
		return fmt.Errorf("reading tar: %s: %w", name, err)
	}
	return nil
}

// chain applies changes in turn, until one leaves the member out.
func chain(changes ...change) change {
	return func(hdr *tar.Header) (bool, error) {
		for _, c := range changes {
			if keep, err := c(hdr); !keep || err != nil {
				return false, err
			}
		}
		return true, nil
	}
}

// checkMember refuses a member that leaves the directory it is unpacked in.
func checkMember(hdr *tar.Header) (bool, error) {
	if leaves(hdr.Name) || hdr.Typeflag == tar.TypeLink && leaves(hdr.Linkname) {
		return false, errors.New("the path leaves the directory")
	}
	return hdr.Typeflag != tar.TypeXGlobalHeader, nil
}

func leaves(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// stripFirst takes the first part off a member's paths: the engine puts the name
// of the directory asked for before all that is in it.
func stripFirst(hdr *tar.Header) (bool, error) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(hdr.Name, "/"), "/")
	if rest == "" {
		return false, nil
	}
	hdr.Name = rest
	if hdr.Typeflag == tar.TypeLink {
		_, hdr.Linkname, _ = strings.Cut(strings.TrimPrefix(hdr.Linkname, "/"), "/")
		if hdr.Linkname == "" {
			return false, errors.New("hard link to the directory itself")
		}
	}
	return true, nil
}

// engineFiles are what an engine makes in the file system of every container,
// covering what the image has there.
var engineFiles = map[string]bool{
	"/proc": true, "/sys": true, "/dev": true,
	"/.dockerenv":           true,
	"/etc/hostname":         true,
	"/etc/hosts":            true,
	"/etc/mtab":             true,
	"/etc/resolv.conf":      true,
	"/sbin/docker-init":     true,
	"/usr/sbin/docker-init": true,
}

// leaveOutEngine leaves out what the engine made, of members relative to dir.
func leaveOutEngine(dir string) change {
	return func(hdr *tar.Header) (bool, error) {
		full := path.Clean(dir + "/" + hdr.Name)
		return full != dir && !isEngines(full), nil
	}
}
