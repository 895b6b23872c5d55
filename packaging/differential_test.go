//go:build docker

package packaging

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pinned is the library that is asked, by its hash.
const pinned = "packaging==26.4 --hash=sha256:81383611a09c1bc0b08b76e0fd5829d7c6824c65b27a6aee339da133f4233ea2\n"

// library fetches the library, and returns its path.
func library(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	wanted := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(wanted, []byte(pinned), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps", "--only-binary", ":all:",
		"--require-hashes", "--dest", dir, "--requirement", wanted).CombinedOutput()
	if err != nil {
		t.Fatalf("pip download: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("pip downloaded %q, %v", files, err)
	}
	return files[0]
}

// question is one that both are asked: what kind, and the arguments.
type question []any

// ask returns the library's answers.
func ask(t *testing.T, questions []question) []json.RawMessage {
	t.Helper()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, q := range questions {
		if err := enc.Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command("python3", "-I", "-c", "import sys; sys.path.insert(0, sys.argv[1]); exec(compile(open(sys.argv[2]).read(), sys.argv[2], 'exec'))",
		library(t), filepath.Join("testdata", "oracle.py"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	var answers []json.RawMessage
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		answers = append(answers, slices.Clone(lines.Bytes()))
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// ours answers a question as oracle.py does.
func ours(t *testing.T, q question) any {
	text := q[1].(string)
	switch q[0] {
	case "version":
		if v, err := ParseVersion(text); err == nil {
			return v.String()
		}
	case "order":
		a, errA := ParseVersion(text)
		b, errB := ParseVersion(q[2].(string))
		if errA == nil && errB == nil {
			return a.Compare(b)
		}
	case "specifiers":
		if s, err := ParseSpecifiers(text); err == nil {
			return texts(s)
		}
	case "contains":
		s, err := ParseSpecifiers(text)
		v, errV := ParseVersion(q[2].(string))
		if err == nil {
			return errV == nil && s.Contains(v)
		}
	case "requirement":
		if r, err := ParseRequirement(text); err == nil {
			return map[string]any{
				"name": r.Name, "extras": append([]string{}, r.Extras...), "specifiers": slices.Compact(texts(r.Specifiers)),
				"url": r.URL, "marked": r.Marker != nil,
			}
		}
	case "marker":
		r, err := ParseRequirement("x; " + text)
		if err == nil {
			env := q[2].(map[string]string)
			return r.Marker.Holds(env, slices.DeleteFunc([]string{env["extra"]}, func(e string) bool { return e == "" }))
		}
	case "name":
		return NormalName(text)
	default:
		t.Fatalf("a question of kind %q", q[0])
	}
	return nil
}

func texts(s Specifiers) []string {
	all := []string{}
	for _, one := range s {
		all = append(all, one.String())
	}
	slices.Sort(all)
	return all
}

// generator draws texts that are sometimes in the form, and sometimes almost.
type generator struct{ *rand.Rand }

func (g generator) of(choices ...string) string { return choices[g.IntN(len(choices))] }

// maybe gives a text one time in n.
func (g generator) maybe(n int, text string) string {
	if g.IntN(n) == 0 {
		return text
	}
	return ""
}

func (g generator) number() string {
	return g.of("0", "1", "2", "3", "9", "10", "11", "00", "01", "13", "2024", "99999999999999999999999")
}

func (g generator) release() string {
	parts := make([]string, 1+g.IntN(4))
	for i := range parts {
		parts[i] = g.number()
	}
	return strings.Join(parts, ".")
}

func (g generator) version() string {
	sep := func() string { return g.of("", "", ".", "-", "_") }
	text := g.maybe(9, "v") + g.maybe(9, g.number()+"!") + g.release()
	if g.IntN(3) == 0 {
		text += sep() + g.of("a", "b", "rc", "c", "alpha", "beta", "pre", "preview", "A", "RC") + sep() + g.of("", "0", "1", "2", "02")
	}
	if g.IntN(4) == 0 {
		text += g.of(".post", "post", "-", "-r", ".rev", "_post_", "-post") + g.of("1", "2", "0", "")
	}
	if g.IntN(4) == 0 {
		text += sep() + "dev" + sep() + g.of("", "0", "1", "12")
	}
	text += g.maybe(6, "+"+g.of("local", "1", "abc.1", "1.abc", "ubuntu-1", "a_b", "01", "1.2.3", "ABC"))
	return g.spoiled(text)
}

// spoiled changes one byte in some texts.
func (g generator) spoiled(text string) string {
	if text == "" || g.IntN(12) > 0 {
		return text
	}
	i := g.IntN(len(text))
	return text[:i] + g.of("", ".", "-", "_", "!", "+", "*", " ", "x", "1", ",", ";", "(", ")", "[", "=", "<", "\"", "@", "|") + text[i+g.IntN(2):]
}

func (g generator) specifier() string {
	text := g.of("==", "==", "!=", "~=", "<", "<=", ">", ">=", ">=", "===") + g.of("", "", " ") + g.version()
	return text + g.maybe(6, ".*")
}

func (g generator) specifiers() string {
	all := make([]string, 1+g.IntN(3))
	for i := range all {
		all[i] = g.specifier()
	}
	return strings.Join(all, g.of(",", ",", ", ", " ,", " ", "||")) + g.maybe(9, ",")
}

func (g generator) name() string {
	return g.spoiled(g.of("foo", "Foo", "foo.bar", "foo-bar", "foo_bar", "foo--bar", "zope.interface", "F", "a1", "0x", "ruamel.yaml.clib", "backports.zoneinfo", "x-_.y"))
}

func (g generator) comparison() string {
	if g.IntN(5) == 0 {
		return "extra" + g.of("==", " == ", " != ") + g.quoted(g.of("test", "Test", "a_b", "a-b", "docs"))
	}
	variable := g.of(slices.Concat(MarkerVariables, slices.Sorted(maps.Keys(oldVariables)), []string{"python_version", "python_version", "python_full_version", "sys_platform", "nothing"})...)
	value := g.of("3.9", "3.13", "3.10.0", "2.7", "3", "3.13.*", "3.8, 3.9, 3.13", "linux", "win32", "posix", "Linux", "x86_64", "CPython", "cpython", "", "3.13rc1", "5.10.0-8-amd64", "darwin")
	operator := g.of("==", "!=", "<", "<=", ">", ">=", "in", "not in", "~=", "===", "not  in")
	if g.IntN(4) == 0 {
		return g.quoted(value) + g.of(" ", "") + operator + " " + variable
	}
	return variable + g.of(" ", "") + operator + g.of(" ", "") + g.quoted(value)
}

func (g generator) quoted(text string) string {
	quote := g.of(`"`, `'`)
	return quote + text + quote
}

func (g generator) marker(depth int) string {
	if depth == 0 {
		return g.comparison()
	}
	parts := make([]string, 1+g.IntN(3))
	for i := range parts {
		if parts[i] = g.marker(depth - 1); g.IntN(3) == 0 {
			parts[i] = "(" + g.maybe(2, " ") + parts[i] + g.maybe(2, " ") + ")"
		}
	}
	text := parts[0]
	for _, part := range parts[1:] {
		text += g.of(" and ", " or ") + part
	}
	return text
}

func (g generator) requirement() string {
	text := g.maybe(9, " ") + g.name() + g.maybe(4, " ")
	if g.IntN(4) == 0 {
		text += "[" + g.of("", "test", "test,docs", "a_b , A-B", " x ", "x,", ",x", "x y") + "]" + g.maybe(3, " ")
	}
	switch g.IntN(9) {
	case 0:
		text += g.of("@", " @ ", "@ ") + g.of("https://x.example/a.whl", "file:///a;b", "a b", "", "https://x.example/a.whl;y", "git+ssh://x@y/z#egg=q")
		if g.IntN(2) == 0 {
			text += g.of(" ; ", " ;", "; ") + g.marker(1)
		}
		return g.spoiled(text)
	case 1:
	case 2:
		text += "(" + g.of(g.specifiers(), g.specifiers(), "", " ") + ")"
	default:
		text += g.specifiers()
	}
	if g.IntN(2) == 0 {
		text += g.of(";", "; ", " ; ") + g.marker(1+g.IntN(2))
	}
	return g.spoiled(text)
}

func (g generator) environment() map[string]string {
	env := LinuxEnvironment(g.of("3.13.5", "3.9.2", "3.11.0", "3.14.0rc1"), g.of("x86_64", "aarch64"))
	env["platform_release"] = g.of("", "5.10", "6.1.0-18-amd64")
	env["extra"] = g.of("", "test", "a-b", "docs")
	return env
}

// question draws one.
func (g generator) question() question {
	switch g.IntN(12) {
	case 0, 1:
		return question{"version", g.version()}
	case 2, 3:
		return question{"order", g.version(), g.version()}
	case 4:
		return question{"specifiers", g.specifiers()}
	case 5, 6, 7:
		return question{"contains", g.specifiers(), g.version()}
	case 8:
		return question{"name", g.name()}
	case 9:
		return question{"marker", g.marker(g.IntN(3)), g.environment()}
	}
	return question{"requirement", g.requirement()}
}

// Whatever the library packaging makes of a text, this package makes of it, too.
func TestAsPackaging(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	var questions []question
	for _, text := range realRequirements(t) {
		questions = append(questions, question{"requirement", text})
	}
	for len(questions) < 40_000 {
		questions = append(questions, g.question())
	}
	differences := 0
	for i, want := range ask(t, questions) {
		q := questions[i]
		got, err := json.Marshal(ours(t, q))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" && !argued(b) {
			if differences++; differences <= 20 {
				t.Errorf("%q (-packaging +this):\n%s", q, diff)
			}
		}
	}
	if differences > 0 {
		t.Errorf("%d differences", differences)
	}
}

// argued reports whether this package answers otherwise on purpose.
func argued(answer any) bool {
	if answer == "undefined" {
		// "~=" and "===" have no meaning for texts that are no versions. The library gives up on the
		// whole marker then; here such a comparison does not hold, and others count.
		return true
	}
	// A name ends with a letter or a digit (PEP 508, "Names"); the library takes "_", too.
	r, ok := answer.(map[string]any)
	if !ok {
		return false
	}
	ends := func(name any) bool { return strings.HasSuffix(name.(string), "-") }
	return ends(r["name"]) || slices.ContainsFunc(r["extras"].([]any), ends)
}

// realRequirements are those of the catalogue's recipes, of the overrides and of the
// packages that are measured: what people write.
func realRequirements(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "recipes", "catalogue", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		if !strings.HasSuffix(file, ".txt") && !strings.HasSuffix(file, ".lock") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimLeft(strings.TrimSpace(line), "- ")
			if text, err := strconv.Unquote(line); err == nil {
				line = text
			}
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " \\")
			all = append(all, line)
		}
	}
	if len(all) < 500 {
		t.Fatalf("only %d lines of requirements are there", len(all))
	}
	return all
}
