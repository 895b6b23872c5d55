package toolchain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/builder/toolchain/debian"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// notDebian says that a root file system is not one that Debian packages can be laid on.
func notDebian(format string, args ...any) error {
	return faults.New(faults.Input, "a toolchain stands on a Debian suite or on an image of Debian that has dpkg",
		"the base is not a Debian system: %w", fmt.Errorf(format, args...))
}

// maxStatus bounds dpkg's status and os-release, in bytes.
const maxStatus = 64 << 20

// statusFile is where dpkg keeps what is installed (dpkg(1), "FILES").
const statusFile = "var/lib/dpkg/status"

// DpkgStatus returns the stanzas of the packages that are installed in a root
// file system, in dpkg's order. A root without dpkg's status is an error of kind Input.
func DpkgStatus(root *tree.Tree) ([]debian.Stanza, error) {
	data, err := readFile(root, statusFile)
	if err != nil {
		return nil, err
	}
	var installed []debian.Stanza
	err = debian.Stanzas(bytes.NewReader(data), func(s debian.Stanza) error {
		switch status := s.Get("Status"); {
		case strings.HasSuffix(status, " ok installed"):
			installed = append(installed, s)
		case !strings.HasSuffix(status, " ok config-files") && !strings.HasSuffix(status, " ok not-installed"):
			return fmt.Errorf("package %s is %q", s.Get("Package"), status)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", statusFile, err)
	}
	return installed, nil
}

// Suite returns the Debian suite of a root file system, by its os-release(5).
// Anything but a Debian with a code name is an error of kind Input.
func Suite(root *tree.Tree) (string, error) {
	data, err := readFile(root, "etc/os-release")
	if err != nil {
		return "", err
	}
	fields := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if ok {
			fields[name] = strings.Trim(value, `"'`)
		}
	}
	if fields["ID"] != "debian" {
		return "", notDebian("etc/os-release says ID=%s", fields["ID"])
	}
	if fields["VERSION_CODENAME"] == "" {
		return "", notDebian("etc/os-release has no VERSION_CODENAME")
	}
	return fields["VERSION_CODENAME"], nil
}

func readFile(root *tree.Tree, path string) ([]byte, error) {
	e, ok := root.Resolve(path)
	if !ok || e.Kind != tree.File {
		return nil, notDebian("it has no file %s", path)
	}
	if e.Size > maxStatus {
		return nil, fmt.Errorf("reading %s: %d bytes: %w", path, e.Size, tree.ErrLimit)
	}
	return e.ReadAll()
}

// installedPackage is what dpkg tells packages apart by.
type installedPackage struct{ name, version, arch string }

func (p installedPackage) String() string { return p.name + " " + p.version + " " + p.arch }

func packageOf(s debian.Stanza) installedPackage {
	return installedPackage{s.Get("Package"), s.Get("Version"), s.Get("Architecture")}
}

// verifyInstalled compares what is installed in a root with what should be there:
// these packages and those that stood there before.
func verifyInstalled(root *tree.Tree, debs []recipes.Deb, before ...debian.Stanza) error {
	stanzas, err := DpkgStatus(root)
	if err != nil {
		return err
	}
	want := map[installedPackage]bool{}
	for _, s := range before {
		want[packageOf(s)] = true
	}
	for _, d := range debs {
		want[installedPackage{d.Name, d.Version, d.Arch}] = true
	}
	var wrong []string
	for _, s := range stanzas {
		p := packageOf(s)
		if !want[p] {
			wrong = append(wrong, p.String()+" is installed and should not be")
		}
		delete(want, p)
	}
	for _, p := range slices.SortedFunc(maps.Keys(want), func(a, b installedPackage) int { return strings.Compare(a.name, b.name) }) {
		wrong = append(wrong, p.String()+" should be installed and is not")
	}
	if len(wrong) > 0 {
		return errors.New("comparing installed packages with the locked ones: " + strings.Join(recipes.First(wrong), "; "))
	}
	return nil
}
