package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// targets makes apt download the indexes of files beside those of packages; they are
// described to apt as apt-file(1) describes them.
const targets = `Acquire::IndexTargets::deb::Contents-deb {
	MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
	ShortDescription "Contents-$(ARCHITECTURE)";
	Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents";
	PDiffs "false";
	KeepCompressed "true";
	KeepCompressedAs "gz";
};
Acquire::Languages "none";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
`

// download lets apt fetch and verify the indexes of the suites' main component below
// dir, and returns their files by suite.
func download(ctx context.Context, dir string, suites []string, keyring string) (map[string][]string, error) {
	mirror, err := mirror(ctx)
	if err != nil {
		return nil, err
	}
	var sources strings.Builder
	for _, suite := range suites {
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, mirror, suite)
	}
	config := targets
	for key, value := range map[string]string{
		"Dir::Etc::sourcelist": filepath.Join(dir, "sources.list"), "Dir::Etc::sourceparts": "-",
		"Dir::State::lists": filepath.Join(dir, "lists"), "Dir::Cache": filepath.Join(dir, "cache"),
	} {
		config += fmt.Sprintf("%s %q;\n", key, value)
	}
	if err := errors.Join(
		os.Chmod(dir, 0o755), // apt downloads as a user of its own
		os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755),
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources.String()), 0o644),
		os.WriteFile(filepath.Join(dir, "apt.conf"), []byte(config), 0o644),
	); err != nil {
		return nil, fmt.Errorf("setting apt up: %w", err)
	}
	if _, err := apt(ctx, "-c", filepath.Join(dir, "apt.conf"), "--error-on=any", "update"); err != nil {
		return nil, err
	}
	return listed(ctx, dir, suites)
}

// listed asks apt where it put the indexes. A suite has two: of its architecture and
// of what is the same for all.
func listed(ctx context.Context, dir string, suites []string) (map[string][]string, error) {
	out, err := apt(ctx, "-c", filepath.Join(dir, "apt.conf"), "indextargets",
		"--format", "$(CODENAME) $(FILENAME)", "Created-By: Contents-deb")
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for line := range strings.Lines(out) {
		suite, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[suite] = append(found[suite], file)
	}
	for _, suite := range suites {
		if len(found[suite]) != 2 {
			return nil, fmt.Errorf("%s has the indexes %q, want two", suite, found[suite])
		}
	}
	return found, nil
}

// mirror asks apt which mirror of Debian this machine uses.
func mirror(ctx context.Context) (string, error) {
	out, err := apt(ctx, "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
	if err != nil {
		return "", err
	}
	uri, _, _ := strings.Cut(out, "\n")
	if uri == "" {
		return "", errors.New("apt has no source of Debian's main component")
	}
	return uri, nil
}

// apt runs apt-get and returns what it prints.
func apt(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", cmd, err, stderr.String())
	}
	return string(out), nil
}
