package weigh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ampoule/bench/internal/drive"
	"ampoule/packaging"
)

// Target is where wheels must run.
type Target struct {
	// Python is CPython's full version.
	Python string
	// Glibc is the target's: 2.36. Wheels for it and for every older one fit (PEP 600).
	Glibc string
}

// platforms are the platform tags of x86-64 that a glibc takes, newest first.
func platforms(glibc string) ([]string, error) {
	major, text, _ := strings.Cut(glibc, ".")
	minor, err := strconv.Atoi(text)
	tags := packaging.Platform{Libc: packaging.Glibc, Major: 2, Minor: minor, Machine: "x86_64"}.Accepts()
	if err != nil || major != "2" || len(tags) == 0 {
		return nil, fmt.Errorf("%q is no version of glibc 2", glibc)
	}
	return tags, nil
}

// pipMissing is what pip says when no published file fits.
const pipMissing = "No matching distribution found for"

// pipRetries is what pip says of an index that does not answer, before it says the same.
const pipRetries = "Retrying ("

// Published installs a version of a distribution from its published wheel alone,
// with pip, and adds up its files. Ok is false if it has no wheel for the target.
func Published(ctx context.Context, pip drive.Program, target Target, name, version string) (size int64, ok bool, err error) {
	tags, err := platforms(target.Glibc)
	if err != nil {
		return 0, false, fmt.Errorf("choosing platforms: %w", err)
	}
	dir, err := os.MkdirTemp("", "ampoule-published-")
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	minor := strings.Join(strings.SplitN(target.Python, ".", 3)[:2], ".")
	args := []string{"install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--only-binary", ":all:",
		// Some versions of pip compare with the Python that runs them, whatever --python-version says.
		"--ignore-requires-python",
		"--implementation", "cp", "--python-version", minor, "--target", filepath.Join(dir, "site")}
	for _, tag := range tags {
		args = append(args, "--platform", tag)
	}
	run, err := pip.Run(ctx, append(args, name+"=="+version)...)
	var failure *drive.FailureError
	switch {
	case errors.As(err, &failure) && strings.Contains(run.Messages, pipMissing) && !strings.Contains(run.Messages, pipRetries):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("installing the published wheel of %s %s: %w", name, version, err)
	}
	size, err = All(filepath.Join(dir, "site"), false)
	return size, err == nil, err
}
