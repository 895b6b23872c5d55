package sandboxtest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"ampoule/builder/sandbox"
)

// probePackage is the program of the test image.
const probePackage = "ampoule/builder/sandbox/sandboxtest/probe"

// buildProbe compiles the program, once for a test binary.
var buildProbe = sync.OnceValues(func() (program []byte, err error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "probe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", name, probePackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling %s: %w\n%s", probePackage, err, out)
	}
	return os.ReadFile(name)
})

// Unique is a text that no test had before.
func Unique() string { return rand.Text() }

// Config is the configuration of the test image. Its environment must not reach a step.
func Config() sandbox.Config {
	return sandbox.Config{
		Architecture: runtime.GOARCH,
		Env:          []string{"PATH=/usr/bin:/bin", "FROM_IMAGE=1"},
		Entrypoint:   []string{"/bin/probe"},
		WorkingDir:   "/srv",
	}
}

// ProgramLayer is a layer with the program that the suite runs, as /bin/probe, and
// with what a minimal system has: /bin/sleep, /bin/cat, /bin/sh, /usr/bin/env.
func ProgramLayer(t testing.TB) sandbox.Layer {
	t.Helper()
	program, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	return TarLayer(t, []*tar.Header{
		{Name: "bin/", Mode: 0o755}, {Name: "sbin/", Mode: 0o755}, {Name: "usr/", Mode: 0o755}, {Name: "usr/bin/", Mode: 0o755},
		{Name: "etc/", Mode: 0o755}, {Name: "srv/", Mode: 0o755}, {Name: "tmp/", Mode: 0o1777},
		{Name: "etc/passwd", Mode: 0o644},
		{Name: "bin/probe", Mode: 0o755},
		{Name: "bin/sleep", Linkname: "bin/probe", Mode: 0o755},
		{Name: "bin/cat", Linkname: "bin/probe", Mode: 0o755},
		{Name: "bin/sh", Linkname: "bin/probe", Mode: 0o755},
		{Name: "usr/bin/env", Linkname: "bin/probe", Mode: 0o755},
	}, map[string]string{"bin/probe": string(program), "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"})
}

// TarLayer makes a layer of headers. A name that ends with a slash is a directory,
// a header with a Linkname and no Typeflag a hard link, and everything else has
// content.
func TarLayer(t testing.TB, headers []*tar.Header, contents map[string]string) sandbox.Layer {
	t.Helper()
	data := Tar(t, headers, contents)
	sum := sha256.Sum256(data)
	return sandbox.Layer{
		DiffID: "sha256:" + hex.EncodeToString(sum[:]),
		Open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// Tar makes a tar as [TarLayer] does.
func Tar(t testing.TB, headers []*tar.Header, contents map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, hdr := range headers {
		hdr.Size = int64(len(contents[hdr.Name]))
		switch {
		case hdr.Typeflag != 0:
		case hdr.Name[len(hdr.Name)-1] == '/':
			hdr.Typeflag = tar.TypeDir
		case hdr.Linkname != "":
			hdr.Typeflag = tar.TypeLink
		default:
			hdr.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, contents[hdr.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
