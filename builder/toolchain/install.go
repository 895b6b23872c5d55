package toolchain

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain/debian"
	"ampoule/recipes"
	"ampoule/tree"
)

const (
	// importDir is where packages are laid in the sandbox. It reaches no layer.
	importDir = "var/cache/ampoule"
	// policyFile is asked by maintainers' scripts before they start a service; 101
	// forbids it (invoke-rc.d(8)). It reaches no layer.
	policyFile = "usr/sbin/policy-rc.d"
)

// makeInstall installs packages in a sandbox and compares the outcome with what was there.
func (s *Stage) makeInstall(ctx context.Context, lower sandbox.Image, debs []recipes.Deb, log io.Writer) (_ *made, err error) {
	var open []io.Closer
	m := &made{close: func() {
		for _, c := range open {
			c.Close()
		}
	}}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	below, closer, err := layers.RootFS(ctx, s.store, lower)
	if err != nil {
		return nil, err
	}
	open = append(open, closer)
	before, err := DpkgStatus(below)
	if err != nil {
		return nil, err
	}
	if err := s.fetchDebs(ctx, debs); err != nil {
		return nil, err
	}
	whole, closer, err := s.runInstall(ctx, lower, below, debs, log)
	if closer != nil {
		open = append(open, closer)
	}
	if err != nil {
		return nil, err
	}
	above, err := normalise(withoutOurs(whole, below))
	if err != nil {
		return nil, err
	}
	if err := verifyInstalled(above, debs, before...); err != nil {
		return nil, err
	}
	m.Tree, err = difference(below, above)
	return m, err
}

// withoutOurs leaves out what installing took.
func withoutOurs(whole, below *tree.Tree) *tree.Tree {
	_, hadPolicy := below.Lookup(policyFile)
	return whole.Select(func(e tree.Entry) bool {
		ours := e.Path == importDir || strings.HasPrefix(e.Path, importDir+"/") || e.Path == policyFile && !hadPolicy
		return !ours
	})
}

// runInstall returns the whole file system after installing.
func (s *Stage) runInstall(ctx context.Context, lower sandbox.Image, below *tree.Tree, debs []recipes.Deb, log io.Writer) (_ *tree.Tree, _ io.Closer, err error) {
	ordered, err := s.inOrder(debs)
	if err != nil {
		return nil, nil, err
	}
	id, err := s.images.Load(ctx, lower.Config, lower.Layers...)
	if err != nil {
		return nil, nil, fmt.Errorf("loading image: %w", err)
	}
	box, err := s.runner.Start(ctx, sandbox.Spec{Image: id, Name: "install packages", Profile: sandbox.InstallPackages})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	if err := s.importDebs(ctx, box, below, ordered); err != nil {
		return nil, nil, fmt.Errorf("bringing in packages: %w", err)
	}
	if err := runDpkg(ctx, box, ordered, log); err != nil {
		return nil, nil, err
	}
	return layers.Changed(ctx, s.store, box, below, log)
}

// runDpkg unpacks all packages and then configures them. Unpacking goes on where a
// pre-dependency is not configured yet, which within one set cannot always be had;
// configuring is strict.
func runDpkg(ctx context.Context, box sandbox.Sandbox, debs []recipes.Deb, log io.Writer) error {
	common := []string{"dpkg", "--force-unsafe-io", "--force-confdef", "--force-confold"}
	unpack := append(slices.Clone(common), "--force-depends", "--unpack")
	for _, d := range debs {
		unpack = append(unpack, "/"+importDir+"/"+fileName(d))
	}
	for _, args := range [][]string{unpack, append(slices.Clone(common), "--configure", "--pending")} {
		last := newTail(log)
		step := sandbox.Step{Args: args, Env: append(installEnv(), "HOME=/root"), Stdout: last, Stderr: last}
		if err := box.Exec(ctx, step); err != nil {
			var exit *sandbox.ExitError
			if errors.As(err, &exit) {
				// The command line of hundreds of packages says nothing to a person.
				short := *exit
				short.Args = args[:min(len(args), len(common)+2)]
				return &StepError{Step: "dpkg", Last: last.lines(), Err: &short}
			}
			return err
		}
	}
	return nil
}

// fileName is a package's name in the sandbox.
func fileName(d recipes.Deb) string { return d.SHA256 + ".deb" }

// importDebs streams the packages into the sandbox, with the file that forbids services.
func (s *Stage) importDebs(ctx context.Context, box sandbox.Sandbox, below *tree.Tree, debs []recipes.Deb) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := s.writeImport(w, below, debs)
		w.CloseWithError(err)
		written <- err
	}()
	err := box.Import(ctx, "/", r)
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	return errors.Join(err, cause(<-written))
}

// cause leaves out what only repeats that the reader gave up.
func cause(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

func (s *Stage) writeImport(w io.Writer, below *tree.Tree, debs []recipes.Deb) error {
	tw := tar.NewWriter(w)
	if _, ok := below.Lookup(policyFile); !ok {
		content := "#!/bin/sh\nexit 101\n"
		hdr := &tar.Header{Name: policyFile, Mode: 0o755, Size: int64(len(content)), ModTime: tree.Time, Typeflag: tar.TypeReg}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, content); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: importDir + "/", Mode: 0o755, ModTime: tree.Time, Typeflag: tar.TypeDir}); err != nil {
		return err
	}
	for _, d := range debs {
		if err := s.writeDeb(tw, d); err != nil {
			return fmt.Errorf("package %s %s: %w", d.Name, d.Version, err)
		}
	}
	return tw.Close()
}

func (s *Stage) writeDeb(tw *tar.Writer, d recipes.Deb) error {
	f, err := s.store.Open(d.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	hdr := &tar.Header{Name: path.Join(importDir, fileName(d)), Mode: 0o644, Size: info.Size(), ModTime: tree.Time, Typeflag: tar.TypeReg}
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// inOrder sorts packages so that each comes after those of the set that it
// depends on, as far as there are no circles; by name where nothing else decides.
func (s *Stage) inOrder(debs []recipes.Deb) ([]recipes.Deb, error) {
	stanzas := make([]debian.Stanza, 0, len(debs))
	byName := map[string]recipes.Deb{}
	for _, d := range debs {
		stanza, err := s.control(d)
		if err != nil {
			return nil, fmt.Errorf("package %s %s: %w", d.Name, d.Version, err)
		}
		if _, twice := byName[d.Name]; twice {
			return nil, fmt.Errorf("package %s: two versions", d.Name)
		}
		byName[d.Name] = d
		stanzas = append(stanzas, stanza)
	}
	ordered := make([]recipes.Deb, 0, len(debs))
	for _, name := range dependencyOrder(stanzas) {
		ordered = append(ordered, byName[name])
	}
	return ordered, nil
}

func (s *Stage) control(d recipes.Deb) (debian.Stanza, error) {
	f, err := s.store.Open(d.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return controlOf(f, d)
}

// dependencyOrder returns the packages' names, dependencies first.
func dependencyOrder(stanzas []debian.Stanza) []string {
	needs := map[string][]string{}
	names := make([]string, 0, len(stanzas))
	for _, s := range stanzas {
		name := s.Get("Package")
		names = append(names, name)
		needs[name] = append(relations(s.Get("Pre-Depends")), relations(s.Get("Depends"))...)
	}
	slices.Sort(names)
	var order []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		dependencies, ours := needs[name]
		if !ours || seen[name] {
			return
		}
		seen[name] = true
		for _, d := range dependencies {
			visit(d)
		}
		order = append(order, name)
	}
	for _, name := range names {
		visit(name)
	}
	return order
}

// relations returns the names in a field of dependencies, alternatives included
// (Debian Policy, section 7.1).
func relations(field string) []string {
	var names []string
	for alternative := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == ',' || r == '|' }) {
		name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
		name, _, _ = strings.Cut(name, ":")
		name, _, _ = strings.Cut(name, "(")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
