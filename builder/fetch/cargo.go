package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// probe is a project that depends on one crate, so that cargo reads the registry's
// index. The empty table keeps cargo from looking for a workspace above.
const probe = `[package]
name = "probe"
version = "0.0.0"

[lib]
path = "Cargo.toml"

[dependencies]
libc = "*"

[workspace]
`

// sparseCargo is the minor version of the first cargo 1 that reads sparse indexes.
// Older ones would clone an index that is larger than most builds.
const sparseCargo = 68

var cargoVersion = regexp.MustCompile(`^cargo 1\.([0-9]+)\.`)

// registry lets cargo read its public registry, or what the user's configuration
// puts in its place, in a directory of its own, and looks at what it has read.
func (m machine) registry(ctx context.Context) (template, index string, err error) {
	cargo, err := m.cargo(ctx)
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "ampoule-cargo-")
	if err != nil {
		return "", "", fmt.Errorf("asking cargo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return m.probeRegistry(ctx, cargo, dir)
}

// cargo finds the first cargo that runs and is new enough. One that rustup put before
// the system's does not run where rustup's home is another user's.
func (m machine) cargo(ctx context.Context) (string, error) {
	var faults []error
	for _, name := range m.cargos {
		told, err := m.run(ctx, name, "--version")
		if err != nil {
			faults = append(faults, err)
			continue
		}
		version := cargoVersion.FindStringSubmatch(told)
		if version == nil {
			faults = append(faults, fmt.Errorf("asking cargo: %q is no version that is known", told))
			continue
		}
		if minor, err := strconv.Atoi(version[1]); err != nil || minor < sparseCargo {
			faults = append(faults, fmt.Errorf("asking cargo: it is %s, which reads no sparse index", version[0][:len(version[0])-1]))
			continue
		}
		return name, nil
	}
	return "", errors.Join(faults...)
}

// probeRegistry makes cargo lock the probe below dir. That cargo finds no crate there
// is no matter as long as it has found the registry.
func (m machine) probeRegistry(ctx context.Context, cargo, dir string) (template, index string, err error) {
	manifest := filepath.Join(dir, "Cargo.toml")
	if err := os.WriteFile(manifest, []byte(probe), 0o600); err != nil {
		return "", "", fmt.Errorf("asking cargo: %w", err)
	}
	home := filepath.Join(dir, "home")
	alone := machine{env: append(slices.Clone(m.env), "CARGO_HOME="+home)}
	if lookup(m.env, "CARGO_REGISTRIES_CRATES_IO_PROTOCOL") == "" {
		// cargo 1.68 and 1.69 clone the index unless they are told so.
		alone.env = append(alone.env, "CARGO_REGISTRIES_CRATES_IO_PROTOCOL=sparse")
	}
	args := []string{"generate-lockfile", "--manifest-path", manifest}
	if config := m.cargoConfig(); config != "" {
		args = append([]string{"--config", config}, args...)
	}
	_, failed := alone.run(ctx, cargo, args...)
	indices := filepath.Join(home, "registry", "index")
	entries, err := os.ReadDir(indices)
	if err != nil || len(entries) == 0 {
		return "", "", errors.Join(failed, errors.New("cargo takes its crates from no registry that has an index"))
	}
	text, err := os.ReadFile(filepath.Join(indices, entries[0].Name(), "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", errors.Join(failed, errors.New("cargo reads its registry in another way than by a sparse index"))
	}
	if err != nil {
		return "", "", fmt.Errorf("asking cargo: %w", err)
	}
	template, err = parseRegistry(text)
	return template, m.indexOf(entries[0].Name()), err
}

// indexOf is the root of the index that cargo keeps in a directory of a name: what its
// configuration puts in the place of the public registry, else the root of the host that the
// name begins with. It is empty where neither is an address of a sparse index.
func (m machine) indexOf(dir string) string {
	var config struct {
		Source map[string]struct {
			Registry string `toml:"registry"`
			Replace  string `toml:"replace-with"`
		} `toml:"source"`
	}
	if file := m.cargoConfig(); file != "" {
		text, err := os.ReadFile(file)
		if err != nil || toml.Unmarshal(text, &config) != nil {
			return ""
		}
	}
	name := "crates-io"
	for range config.Source {
		if next := config.Source[name].Replace; next != "" {
			name = next
		}
	}
	if sparse, ok := strings.CutPrefix(config.Source[name].Registry, "sparse+"); ok {
		return sparse
	}
	end := strings.LastIndex(dir, "-")
	if name != "crates-io" || end <= 0 {
		return ""
	}
	return "https://" + dir[:end] + "/"
}

// cargoConfig is the user's configuration of cargo; empty when there is none. Of
// two the one without a suffix counts, as it does for cargo.
func (m machine) cargoConfig() string {
	home := lookup(m.env, "CARGO_HOME")
	if home == "" {
		home = filepath.Join(lookup(m.env, "HOME"), ".cargo")
	}
	for _, name := range []string{"config", "config.toml"} {
		path := filepath.Join(home, name)
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
