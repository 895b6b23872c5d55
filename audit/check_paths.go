package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "paths",
		reason: "no build directory in any file, and no temporary one in native code",
		needs:  aBuild,
		run:    checkPaths,
	})
}

// scanBlock is how many bytes are searched at a time, scanContext how many are
// shown before and after a hit.
const (
	scanBlock   = 1 << 20
	scanContext = 40
)

// temporary is a directory that Python's tempfile made in /tmp. Compilers and generators
// leave the names of their sources in what they make.
var temporary = Forbidden{Reason: "a temporary directory with a random name", pattern: regexp.MustCompile(`tmp/tmp[a-z0-9_]{8}/`)}

// checkPaths searches every file, every path and every link's target for the
// forbidden texts. Compressed members of archives are searched as they stand.
func checkPaths(ctx context.Context, x *exam) (outcome, error) {
	entries := x.Tree.Entries()
	found := make([][]Finding, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range entries {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var err error
			found[i], err = x.forbiddenIn(e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return outcome{}, err
	}
	out := outcome{examined: len(entries)}
	for i, findings := range found {
		for _, f := range findings {
			f.File = entries[i].Path
			if x.foreign(entries[i].Owner) {
				f.Severity = Warn
			}
			out.add(f)
		}
	}
	return out, nil
}

// forbiddenIn finds the first place of each forbidden text in an entry.
func (x *exam) forbiddenIn(e tree.Entry) ([]Finding, error) {
	var findings []Finding
	for _, n := range x.Forbidden {
		// A directory's name is told once, not for everything below it.
		if strings.Contains(e.Path, n.Text) && !strings.Contains(path.Dir(e.Path), n.Text) {
			findings = append(findings, n.found("path", e.Path))
		}
		if strings.Contains(e.Link, n.Text) {
			findings = append(findings, n.found("link", e.Link))
		}
	}
	if e.Kind != tree.File || len(x.Forbidden) == 0 {
		return findings, nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	texts := x.Forbidden
	if x.objects[e.Path] != nil {
		texts = append(slices.Clone(texts), temporary) // elsewhere it may be an example
	}
	inside, err := scan(r, e.Size, texts)
	if err != nil {
		return nil, fmt.Errorf("searching %s: %w", e.Path, err)
	}
	return append(findings, inside...), nil
}

func (n Forbidden) found(field, value string) Finding {
	if n.pattern != nil {
		return Finding{
			Severity: Refuse, Field: field, Value: printable(value),
			Cause:  "The file names " + n.Reason + ": another build makes other bytes.",
			Remedy: "Have the file made from a source in a directory of the build; `ampoule build --check` shows whether it was all.",
		}
	}
	return Finding{
		Severity: Refuse, Field: field, Value: printable(value),
		Cause:  "The file names the " + n.Reason + " " + printable(n.Text) + ", which no other machine has.",
		Remedy: "Build with a path-independent setting (such as -ffile-prefix-map), or have the file made without it.",
	}
}

// in finds where the text begins and ends; it begins at -1 where it is not.
func (n Forbidden) in(block []byte) (at, end int) {
	if n.pattern == nil {
		at = bytes.Index(block, []byte(n.Text))
		return at, at + len(n.Text)
	}
	if found := n.pattern.FindIndex(block); found != nil {
		return found[0], found[1]
	}
	return -1, -1
}

// scan reads a stream of about size bytes once, block by block, and finds the
// first place of each text. Blocks overlap by the longest text and what is shown
// before a hit.
func scan(r io.Reader, size int64, texts []Forbidden) ([]Finding, error) {
	overlap := scanContext
	for _, n := range texts {
		overlap = max(overlap, len(n.Text)-1+scanContext)
	}
	buf := make([]byte, min(int64(scanBlock), size)+int64(overlap)+1)
	done := make([]bool, len(texts))
	var findings []Finding
	var start int64 // offset of buf[0] in the stream
	for kept := 0; ; {
		n, err := io.ReadFull(r, buf[kept:])
		block := buf[:kept+n]
		for i, t := range texts {
			if done[i] {
				continue
			}
			if at, end := t.in(block); at >= 0 {
				done[i] = true
				around := block[max(0, at-scanContext):min(len(block), end+scanContext)]
				findings = append(findings, t.found(fmt.Sprintf("offset %d", start+int64(at)), string(around)))
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return findings, nil
		}
		if err != nil {
			return nil, err
		}
		kept = copy(buf, block[len(block)-overlap:])
		start += int64(len(block) - overlap)
	}
}
