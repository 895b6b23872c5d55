// Package weigh tells how many bytes installed distributions take: those of a
// sealed tree, and the same versions from published wheels.
//
// Bytecode is left out on both sides: installers choose freely whether to write it.
package weigh

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/packaging"
)

// All adds up the regular files below a directory; without bytecode if that is left out.
func All(dir string, bytecode bool) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !bytecode && isBytecode(name) {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("weighing %s: %w", dir, err)
	}
	return total, nil
}

func isBytecode(name string) bool { return path.Ext(filepath.ToSlash(name)) == ".pyc" }

// Own is what distributions take of a sealed tree: their files, as their RECORDs list
// them (the database of installed distributions), and the shared libraries in the
// tree's lib directory that are carried for them and not for the interpreter. Names
// are normalised; one that is not installed is an error.
func Own(tree string, names []string) (int64, error) {
	sites, err := filepath.Glob(filepath.Join(tree, "lib", "python3.*", "site-packages"))
	if err != nil || len(sites) != 1 {
		return 0, fmt.Errorf("weighing %s: it has %d site-packages, not one", tree, len(sites))
	}
	var total int64
	var binaries []string
	for _, name := range names {
		files, err := filesOf(sites[0], name)
		if err != nil {
			return 0, fmt.Errorf("weighing %s: %w", name, err)
		}
		for _, f := range files {
			total += f.size
			if f.isELF {
				binaries = append(binaries, f.path)
			}
		}
	}
	carried, err := carriedFor(tree, binaries)
	if err != nil {
		return 0, fmt.Errorf("weighing the carried libraries of %s: %w", tree, err)
	}
	return total + carried, nil
}

// file is an installed file.
type file struct {
	path  string
	size  int64
	isELF bool
}

// filesOf lists the regular files of a distribution without bytecode.
func filesOf(site, name string) ([]file, error) {
	records, err := filepath.Glob(filepath.Join(site, "*.dist-info", "RECORD"))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(records, func(record string) bool {
		spelled, _, ok := packaging.ParseInfoDir(filepath.Base(filepath.Dir(record)))
		return ok && packaging.NormalName(spelled) == name
	})
	if i < 0 {
		return nil, errors.New("it is not installed")
	}
	rows, err := readRecord(records[i])
	if err != nil {
		return nil, err
	}
	var files []file
	for _, row := range rows {
		if isBytecode(row.Path) {
			continue
		}
		f, err := look(filepath.Join(site, filepath.FromSlash(row.Path)))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func readRecord(record string) ([]packaging.RecordRow, error) {
	f, err := os.Open(record)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, packaging.MaxRecord+1))
	if err != nil {
		return nil, err
	}
	return packaging.ParseRecord(data)
}

// look tells what a file is. Links take nothing.
func look(path string) (file, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return file{path: path}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	n, err := io.ReadFull(f, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return file{}, err
	}
	return file{path, info.Size(), string(magic[:n]) == elf.ELFMAG}, nil
}

// carriedFor adds up the carried libraries that binaries load and the interpreter
// does not.
func carriedFor(tree string, binaries []string) (int64, error) {
	modules, err := filepath.Glob(filepath.Join(tree, "lib", "python3.*", "lib-dynload", "*.so"))
	if err != nil {
		return 0, err
	}
	python, err := filepath.EvalSymlinks(filepath.Join(tree, "bin", "python3"))
	if err != nil {
		return 0, err
	}
	interpreter, err := loads(tree, append(modules, python))
	if err != nil {
		return 0, err
	}
	theirs, err := loads(tree, binaries)
	if err != nil {
		return 0, err
	}
	var total int64
	for library, size := range theirs {
		// Whoever embeds Python loads what belongs to the interpreter.
		if _, ours := interpreter[library]; !ours && !strings.HasPrefix(filepath.Base(library), "libpython") {
			total += size
		}
	}
	return total, nil
}

// loads gives the sizes of the files of the tree's lib directory that ELF files
// load, directly or not, by path.
func loads(tree string, files []string) (map[string]int64, error) {
	queue, found := slices.Clone(files), map[string]int64{}
	for len(queue) > 0 {
		needed, err := dynamic(queue[0])
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, soname := range needed {
			library, err := filepath.EvalSymlinks(filepath.Join(tree, "lib", filepath.Base(soname)))
			if errors.Is(err, fs.ErrNotExist) {
				continue // The host has it, or the distribution itself.
			}
			if err != nil {
				return nil, err
			}
			if _, known := found[library]; known {
				continue
			}
			info, err := os.Stat(library)
			if err != nil {
				return nil, err
			}
			found[library] = info.Size()
			queue = append(queue, library)
		}
	}
	return found, nil
}

// dynamic lists what an ELF file needs (DT_NEEDED).
func dynamic(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	needed, err := f.ImportedLibraries()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return needed, nil
}
