// Package vary runs the steps of a build in an environment that differs from every
// build's in all that must not decide a bit: host name, user, time zone, locale, the
// number of jobs, the order in which files are created.
package vary

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"ampoule/builder/sandbox"
)

// What the environment has in the place of a build's own.
const (
	Hostname = "elsewhere"
	// TimeZone needs no time zone data (POSIX.1, TZ); the day is another one there for
	// half of the time.
	TimeZone = "XYZ-11:45"
	// Locale is the only one beside a build's that every base has (POSIX.1, 7.2): it has
	// another encoding and other messages. Python goes on in UTF-8 there (PEP 540).
	Locale = "POSIX"
)

// varied are the variables of a step that the environment has in another form.
var varied = map[string]string{"TZ": TimeZone, "LANG": Locale, "LC_ALL": Locale}

// Runner starts sandboxes in the other environment. Those that install packages run as
// root; what they start with is the same.
type Runner struct {
	sandbox.Runner
	// Tmp is the directory for what is being reordered.
	Tmp string
}

// Start implements [sandbox.Runner].
func (r Runner) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	spec.Guise = sandbox.Guise{Hostname: Hostname, Apart: spec.Profile == sandbox.Unprivileged}
	b, err := r.Runner.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return box{b, r.Tmp}, nil
}

type box struct {
	sandbox.Sandbox
	tmp string
}

// Unwrap implements [sandbox.Wrapper].
func (b box) Unwrap() sandbox.Sandbox { return b.Sandbox }

// Jobs is the number of jobs that a step is told of in the place of another one: one fewer, which
// takes no more memory and hardly longer, and two in the place of one.
func Jobs(n int) int {
	if n == 1 {
		return 2
	}
	return n - 1
}

// Exec implements [sandbox.Sandbox].
func (b box) Exec(ctx context.Context, step sandbox.Step) error {
	if step.Parallel != nil {
		step = step.With(Jobs(step.Parallel.Most))
	}
	env := make([]string, len(step.Env))
	for i, v := range step.Env {
		name, _, _ := strings.Cut(v, "=")
		if other, ok := varied[name]; ok {
			v = name + "=" + other
		}
		env[i] = v
	}
	step.Env = env
	return b.Sandbox.Exec(ctx, step)
}

// Import implements [sandbox.Sandbox]: the files come in the reverse order.
func (b box) Import(ctx context.Context, dir string, stream io.Reader) error {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := b.reorder(w, stream)
		w.CloseWithError(err)
		ended <- err
	}()
	err := b.Sandbox.Import(ctx, dir, r)
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	// Nothing reads the stream after this.
	if late := <-ended; err == nil && !errors.Is(late, io.ErrClosedPipe) {
		err = late
	}
	return err
}

// member is one file of a tar, and where its content is meanwhile.
type member struct {
	header *tar.Header
	at     int64
}

// reorder writes the directories of a tar as they come, then all else in the reverse
// order, hard links last, since they name what must be there.
func (b box) reorder(w io.Writer, stream io.Reader) (err error) {
	spool, err := os.CreateTemp(b.tmp, "reorder-")
	if err != nil {
		return fmt.Errorf("reordering files: %w", err)
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	tr, tw := tar.NewReader(stream), tar.NewWriter(w)
	var files, links []member
	var end int64
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if err := tw.WriteHeader(header); err != nil {
				return err
			}
			continue
		case tar.TypeLink:
			links = append(links, member{header, end})
			continue
		}
		files = append(files, member{header, end})
		n, err := io.Copy(spool, tr)
		if err != nil {
			return err
		}
		end += n
	}
	// What follows the end mark is padding, which the sender wants to be rid of.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return err
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := tw.WriteHeader(files[i].header); err != nil {
			return err
		}
		if _, err := io.Copy(tw, io.NewSectionReader(spool, files[i].at, files[i].header.Size)); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := tw.WriteHeader(l.header); err != nil {
			return err
		}
	}
	return tw.Close()
}
