package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/builder/unpack"
	"ampoule/tree"
)

// finisher has what wheels get that Go does not make: bytecode, and search paths in ELF
// files. Each wheel's files are finished in a sandbox that has no other wheel's, since
// compiler and patchelf read what strangers made.
type finisher struct {
	stage *Stage
	in    Interpreter
	image sandbox.ID
	log   *buildlog.Log
	// jobs is how many processes compile one wheel.
	jobs     int
	target   unpack.Interpreter
	bytecode bytecode
}

// finished is what came out of a sandbox.
type finished struct {
	entries []tree.Entry
	closer  io.Closer
}

// Close releases the entries' contents.
func (f *finished) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// patch is what an ELF file gets.
type patch struct {
	File  string `json:"file"`
	RPath string `json:"rpath"`
}

// job is what finish_wheel.py is told.
type job struct {
	Patches []patch `json:"patches"`
	Compile bool    `json:"compile"`
	// Site is the site-packages directory.
	Site string `json:"site"`
}

// finish finishes a wheel's files. Only what it is asked for comes back: bytecode of the
// wheel's sources, and the ELF files that were to be changed.
func (f *finisher) finish(ctx context.Context, w Wheel, u *unpack.Wheel) (*finished, error) {
	patches, err := f.patches(u)
	if err != nil {
		return nil, err
	}
	return f.run(ctx, "install-"+w.Name, u, f.sources(u), patches)
}

// run finishes files in a sandbox of a name.
func (f *finisher) run(ctx context.Context, name string, u *unpack.Wheel, sources []string, patches []patch) (_ *finished, err error) {
	if len(sources)+len(patches) == 0 {
		return &finished{}, nil
	}
	sb, err := f.stage.Runner.Start(ctx, sandbox.Spec{Image: f.image, Name: name})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := f.hand(ctx, sb, u, sources, patches); err != nil {
		return nil, err
	}
	step := sandbox.InParallel(f.jobs, func(n int) sandbox.Step {
		return sandbox.Step{
			Args: []string{f.in.Python, "-I", "-S", "-B", sandbox.WorkDir + "/finish_wheel.py", "/" + f.in.Prefix, strconv.Itoa(n)},
			Env:  sandbox.Env(), Dir: sandbox.WorkDir, Stdout: f.log, Stderr: f.log,
		}
	})
	if err := sb.Exec(ctx, step); err != nil {
		return nil, err
	}
	t, closer, err := layers.Export(ctx, f.stage.Store, sb, sandbox.WorkDir+"/tree")
	if err != nil {
		return nil, err
	}
	entries, err := f.take(t, u, sources, patches)
	if err != nil {
		return nil, errors.Join(err, closer.Close())
	}
	return &finished{entries, closer}, nil
}

// sources lists the files of a wheel that may have bytecode: what import finds.
func (f *finisher) sources(u *unpack.Wheel) []string {
	var sources []string
	for p := range u.Entries {
		if strings.HasPrefix(p, f.target.Site+"/") && strings.HasSuffix(p, ".py") {
			sources = append(sources, p)
		}
	}
	slices.Sort(sources)
	return sources
}

// workDir is [sandbox.WorkDir], relative to the root.
var workDir = strings.TrimPrefix(sandbox.WorkDir, "/") + "/"

// hand puts the files to finish into a sandbox.
func (f *finisher) hand(ctx context.Context, sb sandbox.Sandbox, u *unpack.Wheel, sources []string, patches []patch) error {
	told := job{Patches: patches, Compile: len(sources) > 0, Site: f.target.Site}
	if told.Patches == nil {
		told.Patches = []patch{}
	}
	data, err := json.Marshal(told)
	if err != nil {
		return fmt.Errorf("telling what to finish: %w", err)
	}
	entries := []tree.Entry{
		tree.FileEntry("finish_wheel.py", 0o644, finishScript), tree.FileEntry("job.json", 0o644, data), relocate.Module(),
		{Path: "home", Kind: tree.Dir, Mode: 0o755},
	}
	for i := range entries {
		entries[i].Path = workDir + entries[i].Path
	}
	given := slices.Clone(sources)
	for _, p := range patches {
		given = append(given, p.File)
	}
	for _, p := range given {
		e := u.Entries[p]
		e.Path = workDir + "tree/" + p
		entries = append(entries, e)
	}
	inputs, err := tree.New(entries)
	if err != nil {
		return fmt.Errorf("collecting what to finish: %w", err)
	}
	// All at once, the directory too: each call of the engine takes a part of the time that
	// compiling a wheel does.
	return sandbox.ImportTree(ctx, sb, "/", inputs)
}

// take looks through what a sandbox gives back.
func (f *finisher) take(t *tree.Tree, u *unpack.Wheel, sources []string, patches []patch) ([]tree.Entry, error) {
	cached := make(map[string]string, len(sources))
	for _, p := range sources {
		cached[f.bytecode.of(p)] = p
	}
	wanted := map[string]bool{}
	for _, p := range patches {
		wanted[p.File] = true
	}
	var entries []tree.Entry
	for _, e := range t.Entries() {
		source, isCache := cached[e.Path]
		_, given := u.Entries[e.Path]
		switch {
		case e.Kind == tree.Dir:
			continue
		case e.Kind == tree.File && wanted[e.Path]:
			e.Mode = u.Entries[e.Path].Mode
		case e.Kind == tree.File && given:
			continue // a source, which counts as the wheel has it
		case e.Kind == tree.File && isCache:
			if err := f.bytecode.check(e, u.Entries[source]); err != nil {
				return nil, err
			}
			e.Mode = 0o644
		default:
			return nil, fmt.Errorf("finishing gave %s, which nobody asked for", e.Path)
		}
		e.UID, e.GID = 0, 0
		entries = append(entries, e)
	}
	return entries, nil
}

// bytecode is what the interpreter calls bytecode files, and how these begin.
type bytecode struct {
	// suffix is that of file names: .cpython-313.pyc.
	suffix string
	// magic is the first four bytes; empty of an interpreter without bytecode of its own.
	magic []byte
}

// bytecodeOf looks at what the interpreter has of its os module.
func bytecodeOf(t *tree.Tree) bytecode {
	dir := stdlib(t) + "/__pycache__/"
	for _, e := range t.Entries() {
		suffix, ok := strings.CutPrefix(e.Path, dir+"os")
		if !ok || !strings.HasSuffix(suffix, ".pyc") || strings.Count(suffix, ".") != 2 {
			continue
		}
		if data, err := e.ReadAll(); err == nil && len(data) >= headerSize {
			return bytecode{suffix, data[:4]}
		}
	}
	return bytecode{}
}

// of names the bytecode file of a source (PEP 3147).
func (b bytecode) of(source string) string {
	dir, base := path.Split(source)
	return dir + "__pycache__/" + strings.TrimSuffix(base, ".py") + b.suffix
}

// The header of a bytecode file (PEP 552): the magic number, flags, the hash of the source.
const (
	headerSize = 16
	// hashed says that there is a hash, and that nobody compares it with the source.
	hashed = "\x01\x00\x00\x00"
)

// check looks at the header of a bytecode file: it is trusted without a look at its source.
func (b bytecode) check(e, source tree.Entry) error {
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	text, err := source.ReadAll()
	if err != nil {
		return err
	}
	hash := sourceHash(b.magic, text, roundsOf(b.suffix))
	if len(b.magic) != 4 || len(data) < headerSize || !bytes.Equal(data[:4], b.magic) || string(data[4:8]) != hashed || !bytes.Equal(data[8:headerSize], hash) {
		return fmt.Errorf("%s is not bytecode of its source for this interpreter", e.Path)
	}
	return nil
}

// patches says what ELF files of a wheel get, so that they find in the tree's lib what
// they do not find by their own search path. What is built here was given that before it
// was packed, unless it has an RPATH of its own; published wheels have theirs, and ld.so
// then looks nowhere else (ld.so(8)).
func (f *finisher) patches(u *unpack.Wheel) ([]patch, error) {
	var patches []patch
	for _, p := range slices.Sorted(maps.Keys(u.Entries)) {
		linking, err := f.linking(u.Entries[p])
		if err != nil {
			return nil, err
		}
		if linking == nil {
			continue
		}
		if rpath, wanted := carriedPath(p, linking, u.Entries); wanted {
			patches = append(patches, patch{p, rpath})
		}
	}
	return patches, nil
}

// carriedPath is the search path of an ELF file with the tree's lib added, if it needs that.
func carriedPath(p string, l *linking, files map[string]tree.Entry) (string, bool) {
	var own []string
	for _, entry := range strings.Split(l.search, ":") {
		if entry != "" {
			own = append(own, entry)
		}
	}
	origin := path.Dir(p)
	finds := func(name string) bool {
		return slices.ContainsFunc(own, func(entry string) bool {
			_, ok := files[path.Join(placeOf(entry, origin), name)]
			return ok
		})
	}
	there := slices.ContainsFunc(own, func(entry string) bool { return placeOf(entry, origin) == "lib" })
	if there || !slices.ContainsFunc(l.needed, func(name string) bool { return !audit.IsGlibc(name) && !finds(name) }) {
		return "", false
	}
	place, err := filepath.Rel(origin, "lib")
	if err != nil {
		return "", false // both are paths in the tree: there is a way
	}
	return strings.Join(append(own, strings.TrimSuffix("$ORIGIN/"+place, "/.")), ":"), true
}

// placeOf is the directory that an entry of a search path means, relative to the tree; one
// outside is none of its paths.
func placeOf(entry, origin string) string {
	for _, name := range []string{"$ORIGIN", "${ORIGIN}"} {
		if rest, ok := strings.CutPrefix(entry, name); ok {
			return path.Join(origin, rest)
		}
	}
	return path.Clean(entry)
}
