package locking

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/builder/fetch"
	"ampoule/faults"
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
