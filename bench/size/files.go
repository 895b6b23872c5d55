package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sizeOf measures a directory or a commit.
func sizeOf(ctx context.Context, what string) (figures, error) {
	m := newMeter()
	read := commitFiles
	if info, err := os.Stat(what); err == nil && info.IsDir() {
		read = dirFiles
	}
	if err := read(ctx, what, m.add); err != nil {
		return figures{}, err
	}
	return m.figures()
}

// An adder is given each file of a repository, by its path with slashes.
type adder func(name string, text []byte) error

// dirFiles hands on the files of a work tree that git knows or would take.
func dirFiles(ctx context.Context, dir string, add adder) error {
	out, err := git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and git was not told yet
		}
		if err != nil {
			return err
		}
		if err := add(name, text); err != nil {
			return err
		}
	}
	return nil
}

// commitFiles hands on the files of a commit.
func commitFiles(ctx context.Context, commit string, add adder) error {
	root, err := git(ctx, ".", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	archive, err := git(ctx, strings.TrimSpace(string(root)), "archive", "--format=tar", commit)
	if err != nil {
		return err
	}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the archive of %s: %w", commit, err)
		}
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeSymlink {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := add(header.Name, text); err != nil {
			return err
		}
	}
}

// git runs git in a directory and gives what it prints.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
