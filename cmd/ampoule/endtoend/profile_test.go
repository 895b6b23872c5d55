//go:build docker

package endtoend

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// standIn is a program that stands in for CPython: it has the targets of its Makefile and two objects,
// so that the sandbox's own compiler counts, and compiles by what it counted, in seconds. It is no
// interpreter: no artifact comes of it.
const standIn = "testdata/counting"

const countingRecipe = `apiVersion: ampoule/v1
name: %s
python:
  version: 3.13.99
  sha256: %s
  configure: [--enable-optimizations, --with-lto]
base: {debian: bookworm}
runtime:
  container: {base: {debian: bookworm}}
`

// Training without link-time optimisation, merging, and a build by the profile with it, with real compilers.
func TestProfiles(t *testing.T) {
	beside(t)
	dir, kept := t.TempDir(), t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "Python-3.13.99"), os.DirFS(standIn)); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "Python.tar.xz")
	run(t, "tar", "-C", dir, "--mode=a+rx", "-cJf", archive, "Python-3.13.99")
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	source := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(kept, source), data, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ampoule.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, countingRecipe, fmt.Sprintf("counting-%d", time.Now().UnixNano()), source), 0o644); err != nil {
		t.Fatal(err)
	}
	// verb wants a code, and gives the last profile that was told, and all that was.
	verb := func(code int, args ...string) (profile, told string) {
		t.Helper()
		told, got := ampouleIn(t, []string{"AMPOULE_KEPT=" + kept}, append([]string{"-f", file}, args...)...)
		if got != code {
			t.Fatalf("ampoule %s ends with code %d, want %d\n%s", strings.Join(args, " "), got, code, told)
		}
		profiles := regexp.MustCompile(`(?m)^sha256:[0-9a-f]{64}$`).FindAllString(told, -1)
		if len(profiles) == 0 {
			return "", told
		}
		return profiles[len(profiles)-1], told
	}
	first, told := verb(0, "pgo-profile")
	if !strings.Contains(told, "counts for 2 of 2 object files") {
		t.Errorf("training says\n%s", told)
	}
	second, _ := verb(0, "pgo-profile")
	merged, _ := verb(0, "pgo-profile", "--merge", second, "--merge", first)
	if again, _ := verb(0, "pgo-profile", "--write", "--merge", first, "--merge", second); first == second || merged != again || merged == first {
		t.Errorf("trained %s and %s, merged %s and %s", first, second, merged, again)
	}
	// The interpreter is compiled by the profile, and then nothing can be made of it. Counts are looked at before
	// linking: they fit without link-time optimisation, too.
	recipe, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flags := func(text string) {
		t.Helper()
		changed := strings.Replace(string(recipe), ", --with-lto]", text, 1)
		if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const compiled = "done  interpreter CPython 3.13.99"
	for _, text := range []string{", --with-lto]", "]"} {
		flags(text)
		verb(0, "lock")
		if told, code := ampouleIn(t, []string{"AMPOULE_KEPT=" + kept}, "-f", file, "build"); !strings.Contains(told, compiled) || code == 0 {
			t.Errorf("building by the profile ends with code %d\n%s", code, told)
		}
	}
	// Locking tells other flags, too, although a recipe without requirements compiles nothing then.
	flags("]\n  env: {CFLAGS_NODIST: -fwrapv}")
	verb(3, "lock")
	if _, told := verb(3, "build"); !strings.Contains(told, "does not fit: configure is") || !strings.Contains(told, "pgo-profile --write") {
		t.Errorf("with other flags it says\n%s", told)
	}

	// The compiler was updated since the lock and the profile were made: lock takes the update, and says so.
	verb(0, "pgo-profile", "--to", kept, "--merge", first, "--merge", second)
	stale := olderCompiler(t, kept, strings.TrimPrefix(merged, "sha256:"))
	if err := os.WriteFile(file, bytes.Replace(recipe, []byte(merged), []byte("sha256:"+stale), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	lockFile := filepath.Join(dir, "ampoule.lock")
	lock, err := os.ReadFile(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	lock = regexp.MustCompile(`(name: gcc-12, version: )[^,]*`).ReplaceAll(lock, []byte("${1}12.0.0-1"))
	if err := os.WriteFile(lockFile, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	_, told = verb(3, "lock", "--upgrade")
	for _, want := range []string{"gcc-12=12.0.0-1", "ampoule pgo-profile --write --upgrade", "ampoule lock --upgrade"} {
		if !strings.Contains(told, want) {
			t.Errorf("locking with another compiler does not say %q, but\n%s", want, told)
		}
	}
}

// olderCompiler puts a profile of an older package of GCC beside one of a directory, with the same counts, and
// gives its sha256.
func olderCompiler(t *testing.T, kept, sum string) string {
	t.Helper()
	from, err := os.Open(filepath.Join(kept, sum))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	var older bytes.Buffer
	in, out := tar.NewReader(from), tar.NewWriter(&older)
	for {
		member, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if member.Name == "profile.json" {
			data = regexp.MustCompile(`"gcc-12=[^"]*"`).ReplaceAll(data, []byte(`"gcc-12=12.0.0-1"`))
			member.Size = int64(len(data))
		}
		if err := out.WriteHeader(member); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(older.Bytes())
	changed := hex.EncodeToString(hash[:])
	if err := os.WriteFile(filepath.Join(kept, changed), older.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return changed
}
