package unpack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/unpack/unpacktest"
	"ampoule/tree"
)

// BenchmarkInstall lays out wheels: unpacked, each into a tar as builds do, and by pip and
// uv, each without bytecode and without a look at an index. The wheels are those of the
// directory AMPOULE_BENCH_WHEELS, else some that are made here; uv is measured where it
// is.
func BenchmarkInstall(b *testing.B) {
	in, err := host()
	if python := os.Getenv("AMPOULE_BENCH_PYTHON"); python != "" {
		in, err = describe(python)
	}
	if err != nil {
		b.Fatal(err)
	}
	files := benchWheels(b)
	b.Run("unpacked", func(b *testing.B) {
		for b.Loop() {
			var all errgroup.Group
			all.SetLimit(2)
			for _, file := range files {
				all.Go(func() error { return layOut(file, filepath.Join(b.TempDir(), filepath.Base(file)), in) })
			}
			if err := all.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
	python := "/" + in.Prefix + "/bin/" + in.Executable
	benchProgram(b, "pip", append([]string{
		python, "-I", "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--quiet", "--disable-pip-version-check", "--target", "OUT",
	}, files...))
	if uv, err := exec.LookPath("uv"); err == nil {
		benchProgram(b, "uv", append([]string{
			uv, "pip", "install", "--no-index", "--no-deps", "--no-config", "--cache-dir", "CACHE", "--quiet", "--python", python, "--target", "OUT",
		}, files...))
	}
}

// benchProgram runs a command with empty directories in place of OUT and CACHE.
func benchProgram(b *testing.B, name string, args []string) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			filled := make([]string, len(args))
			for i, arg := range args {
				if filled[i] = arg; arg == "OUT" || arg == "CACHE" {
					filled[i] = b.TempDir()
				}
			}
			if out, err := exec.Command(filled[0], filled[1:]...).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

// layOut unpacks a wheel into a tar.
func layOut(file, out string, in Interpreter) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w, err := Open(f, info.Size(), filepath.Base(file), in)
	if err != nil {
		return err
	}
	t, err := w.Tree(nil)
	if err != nil {
		return err
	}
	to, err := os.Create(out)
	if err != nil {
		return err
	}
	defer to.Close()
	return t.WriteTar(to, "opt/ampoule", tree.Time)
}

// benchWheels gives the wheels to install: 20 with 200 modules each, if no others are named.
func benchWheels(b *testing.B) []string {
	b.Helper()
	if dir := os.Getenv("AMPOULE_BENCH_WHEELS"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(files) == 0 {
			b.Fatalf("wheels in %s: %q, %v", dir, files, err)
		}
		return files
	}
	dir := b.TempDir()
	files := make([]string, 20)
	for i := range files {
		var members []unpacktest.Member
		for j := range 200 {
			text := bytes.Repeat(fmt.Appendf(nil, "def f%d(x):\n    return x + %d\n", j, i), 50)
			members = append(members, unpacktest.Member{Name: fmt.Sprintf("p%d/m%d.py", i, j), Text: string(text), Method: 8})
		}
		files[i] = filepath.Join(dir, fmt.Sprintf("p%d-1.0-py3-none-any.whl", i))
		if err := os.WriteFile(files[i], unpacktest.Wheel(b, filepath.Base(files[i]), members...), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return files
}
