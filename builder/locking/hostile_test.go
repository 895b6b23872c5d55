package locking

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/builder/fetch"
	"ampoule/builder/locking/sources"
	"ampoule/faults"
	"ampoule/recipes"
)

// Whatever an sdist's backend says of it, the resolver, which has the network and the
// index's credentials, gets nothing but requirements by name.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	for name, depends := range map[string]string{
		"an address":                  "x @ https://evil.example/x-1.whl",
		"a file":                      "x @ file:///etc/shadow",
		"a repository":                "x @ git+https://evil.example/x",
		"an option in a line":         "--index-url https://evil.example/simple",
		"an option behind it":         "x --config-settings=a=b",
		"a short option":              "-r /etc/passwd",
		"a path":                      "../x",
		"a path below":                "./x/y",
		"an absolute path":            "/etc/passwd",
		"a name with a separator":     "x/y",
		"a name with another":         `x\y`,
		"a variable":                  "${HOME}",
		"a variable in its version":   "x==${SECRET}",
		"control characters":          "x\x1b]0;evil\x07",
		"a null":                      "x\x00y",
		"a return":                    "x\r--index-url https://evil.example",
		"a line separator":            "x\u2028--index-url https://evil.example",
		"letters that turn direction": "x\u202ey",
		"TOML":                        "x\"]\n[[index]]\nurl = \"https://evil.example\"",
		"a marker that runs":          `x; __import__("os").system("id")`,
		"nothing but a marker":        `; python_version > "3"`,
		"an endless name":             strings.Repeat("x", 1<<20) + "/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			sdist := w.sdist("docopt", "0.6.2")
			w.depends[sdist.Filename] = []string{depends}
			var configs []string
			w.uv = func(_, config string) (string, string) {
				configs = append(configs, config)
				if strings.Contains(config, "docopt") {
					return w.resolved(map[string][]indexFile{"docopt==0.6.2": {sdist}}), ""
				}
				return "", refusal
			}
			_, err := w.lockAll(requirements("docopt"), Options{})
			for _, config := range configs {
				if strings.Contains(config, "evil") || strings.Contains(config, "etc/") || strings.Contains(config, "${") || strings.Count(config, "[[index]]") > 1 {
					t.Errorf("the resolver was told %.500q", config)
				}
			}
			if err == nil && !strings.ContainsAny(depends, "\r\n") {
				t.Errorf("%q was taken", depends)
			}
		})
	}
}

// Fields that the resolver gets beside requirements are what they should be, or left out.
func TestHostileFields(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, refused string }{
		"versions that close the table": {"Requires-Python: >=3\"\n [[index]]\n url = \"https://evil.example", ""},
		"versions that are no such":     {"Requires-Python: evil", ""},
		"endless versions":              {"Requires-Python: " + strings.Repeat(">=3,", 1<<20) + ">=evil", ""},
		"an extra with a path":          {"Provides-Extra: ../evil", ""},
		"an extra that closes a list":   {"Provides-Extra: x\"]\n evil = \"", ""},
		"an endless extra":              {"Provides-Extra: " + strings.Repeat("evil", 1<<20), ""},
		"a million requirements":        {strings.Repeat("Requires-Dist: evil\n", 1_000_000), "more than"},
		"a million extras":              {strings.Repeat("Provides-Extra: evil\n", 1_000_000), "more than"},
		"another name":                  {"Name: evil", "it is of evil"},
		"another version":               {"Version: 99", "its version is 99"},
		"a name over two lines":         {"Name: a\n evil", "it is of a evil"},
	} {
		begin := time.Now()
		m, err := parseMetadata("a", "1.0", c.text+"\n")
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		if (faults.Of(err) == faults.Input) != (c.refused != "") || c.refused != "" && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if config := string(uvConfig("https://index.example", []metadata{m})); err == nil && strings.Contains(config, "evil") {
			t.Errorf("%s: the resolver is told %.500q", name, config)
		}
	}
}

// What an sdist or its backend asks for its build is asked of the index by name, or refused.
func TestHostileBuildRequirements(t *testing.T) {
	t.Parallel()
	for _, requires := range []string{
		"x @ https://evil.example/x.whl", "--extra-index-url=https://evil.example", "-e .", "../evil", "${HOME}", "evil/x", "x\n--index-url https://evil.example",
	} {
		for _, dynamic := range []bool{false, true} {
			w := newWorld(t)
			sdist := w.sdist("demo", "1.0", "setuptools")
			if dynamic {
				w.dynamic[sdist.Filename] = []string{requires}
			} else {
				sdist = w.sdist("other", "1.0", requires)
			}
			setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
			w.uv = func(asked, _ string) (string, string) {
				if strings.Contains(asked, "setuptools") {
					return w.resolved(map[string][]indexFile{"setuptools==80.1": {setuptools}}), ""
				}
				name, _, _ := strings.Cut(sdist.Filename, "-")
				return w.resolved(map[string][]indexFile{name + "==1.0": {sdist}}), ""
			}
			_, err := w.lockAll(requirements("demo"), Options{})
			if faults.Of(err) != faults.Input {
				t.Errorf("%q, dynamic %t: %v", requires, dynamic, err)
			}
			if slices.ContainsFunc(w.asked, func(q string) bool { return strings.Contains(q, "evil") }) {
				t.Errorf("%q, dynamic %t: the resolver was asked %q", requires, dynamic, w.asked)
			}
		}
	}
}

// A resolution names files, not places.
func TestHostileResolution(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"a path":           `{name = "../evil-1.tar.gz", url = "https://a.example/x", hashes = {sha256 = "11"}}`,
		"an absolute path": `{name = "/evil-1.tar.gz", url = "https://a.example/x", hashes = {sha256 = "11"}}`,
		"another slash":    `{url = "https://a.example/%2e%2e%2fevil-1.tar.gz/..", hashes = {sha256 = "11"}}`,
		"a null":           `{name = "evil\u0000.tar.gz", url = "https://a.example/x", hashes = {sha256 = "11"}}`,
		"no hash":          `{name = "evil-1.tar.gz", url = "https://a.example/x", hashes = {md5 = "11"}}`,
	} {
		if _, err := parsePylock([]byte("[[packages]]\nname = \"evil\"\nversion = \"1\"\nsdist = " + file + "\n")); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// An sdist that unpacks to more than anybody needs is given up, and at once when the
// locking is interrupted.
func TestSdistBombs(t *testing.T) {
	t.Parallel()
	open := func(data []byte) *os.File {
		name := filepath.Join(t.TempDir(), "sdist")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	names := func(n int) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i := range n {
			if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("a-1/%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	zeros := strings.Repeat("\x00", 66<<20)
	for name, c := range map[string]struct {
		file, want string
		archive    []byte
	}{
		"too many members of a zip":  {"a-1.zip", "more than 200000 members", names(200_001)},
		"a zip of zeros":             {"a-1.zip", "times as many", zipOf(t, member{name: "a-1/zeros", text: zeros})},
		"too many members of a tar":  {"a-1.tar.gz", "more than 200000 members", gzipped(tarOf(t, slices.Repeat([]member{{name: "a-1/x"}}, 200_001)...))},
		"a pyproject.toml of zeros":  {"a-1.tar.gz", "has more than", gzipped(tarOf(t, member{name: "a-1/pyproject.toml", text: zeros}))},
		"a PKG-INFO of zeros":        {"a-1.tar.gz", "has more than", gzipped(tarOf(t, member{name: "a-1/PKG-INFO", text: zeros}))},
		"a tar that is cut off":      {"a-1.tar.gz", "EOF", gzipped(tarOf(t, member{name: "a-1/x", text: zeros})[:5<<20])},
		"a member that claims 1 EiB": {"a-1.tar.gz", "EOF", gzipped(claims(t, 1<<60))},
	} {
		_, err := topFiles(t.Context(), open(c.archive), c.file, "pyproject.toml", "PKG-INFO")
		if faults.Of(err) != faults.Input || !strings.HasPrefix(err.Error(), "reading "+c.file+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		cancel(stop)
		if _, err := topFiles(ctx, open(c.archive), c.file, "pyproject.toml"); !errors.Is(err, stop) {
			t.Errorf("%s, interrupted: %v", name, err)
		}
		if _, err := readCargo(ctx, open(c.archive), c.file); !errors.Is(err, stop) {
			t.Errorf("%s, interrupted while crates are looked for: %v", name, err)
		}
	}
}

// Whatever is looked for in a source archive, the walk through it has the same limits.
func TestEverySourceIsBounded(t *testing.T) {
	t.Parallel()
	const want = "more than 200000 members"
	// A tar without its end is enough: the limit comes first.
	inTar := gzipped(bytes.Repeat(tarOf(t, member{name: "a-1/x"})[:512], sources.MaxMembers+1))
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range sources.MaxMembers + 1 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("a-1/%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for file, archive := range map[string][]byte{"a-1.tar.gz": inTar, "a-1.tgz": inTar, "a-1.zip": b.Bytes()} {
		name := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(name, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		for what, read := range map[string]func(*os.File) error{
			"top files": func(f *os.File) error { _, err := topFiles(t.Context(), f, file, "PKG-INFO"); return err },
			"crates":    func(f *os.File) error { _, err := readCargo(t.Context(), f, file); return err },
			"manifests": func(f *os.File) error { _, err := readSkeleton(t.Context(), f, file); return err },
		} {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := read(f); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v", what, file, err)
			}
			f.Close()
		}
	}
	st := openStore(t)
	source := recipes.LockedPython{File: "Python-3.99.0.tgz", SHA256: put(t, st, string(inTar))}
	if _, err := readConfigure(t.Context(), st, source); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("CPython's source: %v", err)
	}
}

// claims is a tar whose one member says that it is of so many bytes.
func claims(t *testing.T, size int64) []byte {
	t.Helper()
	whole := tarOf(t, member{name: "a-1/x", text: "x"})
	// GNU's form of large numbers: a set bit, then big-endian (tar(5)).
	field := whole[124:136]
	clear(field)
	field[0] = 0x80
	for i := range 8 {
		field[11-i] = byte(size >> (8 * i))
	}
	sum := 0
	copy(whole[148:156], "        ")
	for _, b := range whole[:512] {
		sum += int(b)
	}
	copy(whole[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return whole
}

// A pyproject.toml can be as deep, and as wide, as its size allows.
func TestHostileBuildSystem(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nested lists":   "a = " + strings.Repeat("[", maxTopFile-10),
		"nested tables":  "a = " + strings.Repeat("{a=", maxTopFile/4),
		"requires of it": "[build-system]\nrequires = [" + strings.Repeat("[", 1<<20),
	} {
		begin := time.Now()
		if _, err := readBuildSystem([]byte(text), "a-1.tar.gz"); err == nil || time.Since(begin) > 10*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(begin))
		}
	}
}

// The hostile index pages are those of package fetch; what locking takes of a sound one is
// the sdist of the release that it asked for.
func TestSdistOfAnotherRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, file := range []string{"demo-1.0.tar.gz.asc", "demo-extra-1.0.tar.gz", "demo-1.0.1.tar.gz", "demo-1.0-py3-none-any.whl", "demo-1.0.tar.bz2"} {
		w.file("demo", file, file)
	}
	w.file("demo", "demo-1.0.zip", "x")
	w.index["demo"][len(w.index["demo"])-1].Hashes = map[string]string{"md5": "0"}
	p := w.start(requirements("demo"), Options{})
	_, err := p.findSdist(t.Context(), "demo", "1.0")
	var none *NoSdistError
	if !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
	var missing *fetch.NoProjectError
	if _, err := p.findSdist(t.Context(), "../../admin", "1.0"); !errors.As(err, &missing) {
		t.Errorf("a name that leaves the index: %v", err)
	}
}
