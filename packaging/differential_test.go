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
	case "tags":
		if tags, err := ParseTags(text); err == nil {
			return sortedTags(tags)
		}
	case "wheel":
		if n, err := ParseWheelName(text); err == nil {
			return map[string]any{"name": NormalName(n.Distribution), "version": normalVersion(n.Version), "build": buildOf(n.Build), "tags": sortedTags(n.Tags())}
		}
	case "sdist":
		if name, version, err := ParseSdistName(text); err == nil {
			return map[string]any{"name": NormalName(name), "version": version.String()}
		}
	case "supported":
		tags, err := ParseTags(text)
		if err != nil {
			t.Fatal(err)
		}
		return CPython{Minor: q[2].(int), Flags: q[3].(string), Musl: q[4].(bool), Machine: "x86_64"}.Supports(tags[0])
	case "accepts":
		return Platform{Libc: Libc(text), Major: q[2].(int), Minor: q[3].(int), Machine: q[4].(string)}.Accepts()
	case "metadata":
		fields, err := ParseMetadata([]byte(text))
		if err == nil {
			return trimmed(fields)
		}
	default:
		t.Fatalf("a question of kind %q", q[0])
	}
	return nil
}

func sortedTags(tags []Tag) []string {
	all := []string{}
	for _, tag := range tags {
		all = append(all, tag.String())
	}
	slices.Sort(all)
	return all
}

// normalVersion is a version in its normal form, or as it stands where it is none.
func normalVersion(text string) string {
	v, err := ParseVersion(text)
	if err != nil {
		return text
	}
	return v.String()
}

// buildOf takes a build number apart as the library does: digits, and the rest.
func buildOf(text string) []string {
	if text == "" {
		return []string{}
	}
	rest := strings.TrimLeft(text, "0123456789")
	return []string{string(newNumber(text[:len(text)-len(rest)])), rest}
}

// metadataFields are those that are compared; oracle.py has them, too.
var metadataFields = []string{
	"Name", "Version", "Summary", "License", "Requires-Python", "Requires-Dist", "Provides-Extra", "Classifier", "Requires-External", "X-Other",
}

func trimmed(fields Metadata) map[string][]string {
	all := map[string][]string{}
	for _, field := range metadataFields {
		all[field] = []string{}
		for _, value := range fields.Values(field) {
			all[field] = append(all[field], strings.Trim(value, " \t"))
		}
	}
	return all
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

func (g generator) tag() string {
	minor := g.of("8", "9", "12", "13", "13", "14")
	python := g.of("cp3", "cp3", "cp3", "CP3", "py3", "py2.", "pp3", "ip3") + g.of(minor, minor, minor, "", "0", "1", "2", "09")
	abi := g.of("none", "abi3", "abi3t", "cp3"+minor, "cp3"+minor, "cp3"+minor+g.of("t", "d", "td"), "pypy310_pp73")
	platform := g.of("any", "linux_x86_64", "manylinux_2_"+g.of("5", "17", "28", "41")+"_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64",
		"manylinux2014_x86_64", "manylinux2014_aarch64", "musllinux_1_2_x86_64", "musllinux_1_1_aarch64", "win_amd64", "macosx_11_0_arm64", "LINUX_x86_64")
	return strings.ReplaceAll(python, "2.", "27") + "-" + abi + "-" + platform
}

// tags draws a compressed set of tags.
func (g generator) tags() string {
	sets := strings.Split(g.tag(), "-")
	for range g.IntN(3) {
		for i, part := range strings.Split(g.tag(), "-") {
			if g.IntN(2) == 0 {
				sets[i] += "." + part
			}
		}
	}
	return g.spoiled(strings.Join(sets, g.of("-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "--", "_")))
}

func (g generator) wheel() string {
	if g.IntN(2) == 0 {
		return g.of("foo", "Foo_Bar", "zope.interface", "1a") + "-" + g.release() + g.of("", "rc1", ".post2", "+local.1") + g.of("", "", "-1", "-007", "-2a_b") + "-" + g.tag() + ".whl"
	}
	name := g.of("foo", "Foo", "foo_bar", "foo.bar", "foo__bar", "zope.interface", "1a", "_", "", "foo bar", "f\u00f6\u00f6", "a+b")
	version := g.of("1.0", "1.0", "2024.1.post1", "1!2.0rc1", "1.0+local.1", "1.0_1", "2004d", "not_a_version", g.version())
	build := g.of("", "", "", "", "-1", "-007", "-2a_b", "-x1", "-", "-1(x)")
	return g.spoiled(name + "-" + version + build + "-" + g.tags() + g.of(".whl", ".whl", ".whl", ".whl", ".whl", ".whl", ".whl", ".WHL", ".zip", ""))
}

func (g generator) sdist() string {
	name := g.of("foo", "Foo_Bar", "foo-bar", "foo.bar", "zope.interface", "", "-", "foo bar")
	return g.spoiled(name + g.of("-", "-", "-", "") + g.version() + g.of(".tar.gz", ".tar.gz", ".zip", ".tgz", ".tar.bz2"))
}

// metadata draws what a METADATA has.
func (g generator) metadata() string {
	var b strings.Builder
	line := g.of("\n", "\n", "\r\n", "\r")
	for range 1 + g.IntN(8) {
		field := g.of(metadataFields...)
		field = g.of(field, field, field, strings.ToLower(field), strings.ToUpper(field))
		value := g.of("x", "x >= 1; extra == 'a'", "", "a: b", "GPL \f v3", "\u00fcber", "  spaces  ", "tab\t", "Framework :: X")
		b.WriteString(field + ":" + g.of(" ", " ", "", "\t") + value + line)
		for range g.IntN(3) {
			b.WriteString(g.of("", "", "        more"+line, "       |"+line, "\tmore: of it"+line, "   "+line))
		}
	}
	if g.IntN(12) == 0 {
		b.WriteString(g.of("no field", ": x", "Na me: x", " \tx") + line + "Summary: behind" + line)
	}
	if g.IntN(2) == 0 {
		b.WriteString(line + g.of("Name: body", "A description.", "") + line)
	}
	return b.String()
}

// question draws one.
func (g generator) question() question {
	switch g.IntN(20) {
	case 12:
		return question{"tags", g.tags()}
	case 13, 14:
		return question{"supported", strings.ToLower(g.tag()), 8 + g.IntN(7), g.of("", "", "t", "d", "td"), g.IntN(4) == 0}
	case 15, 16:
		return question{"wheel", g.wheel()}
	case 17:
		return question{"sdist", g.sdist()}
	case 18:
		return question{"metadata", g.metadata()}
	case 19:
		if g.IntN(2) == 0 {
			return question{"accepts", "musl", 1, g.IntN(6), g.of("x86_64", "aarch64")}
		}
		return question{"accepts", "glibc", 2, g.IntN(45), g.of("x86_64", "aarch64", "riscv64", "i686")}
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
	questions = append(questions, realFiles(t)...)
	for len(questions) < 40_000 {
		questions = append(questions, g.question())
	}
	differences, agreed := 0, map[any]int{}
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
		if b != nil && cmp.Equal(b, a) {
			agreed[q[0]]++
		}
		if diff := cmp.Diff(b, a); diff != "" && !argued(q, b, a) {
			if differences++; differences <= 20 {
				t.Errorf("%q (-packaging +this):\n%s", q, diff)
			}
		}
	}
	if differences > 0 {
		t.Errorf("%d differences", differences)
	}
	t.Logf("both say the same of %v", agreed)
	for _, kind := range []string{"version", "order", "specifiers", "contains", "requirement", "marker", "name", "tags", "supported", "wheel", "sdist", "metadata", "accepts"} {
		if agreed[kind] < 200 {
			t.Errorf("only %d answers of kind %s", agreed[kind], kind)
		}
	}
}

// argued reports whether this package answers otherwise on purpose.
func argued(q question, answer, ours any) bool {
	text := q[1].(string)
	switch q[0] {
	case "wheel":
		return arguedWheel(text, ours)
	case "metadata":
		// A line that is no field ends the fields for the library, and is a part of the description.
		// Here it is an error, since what follows it would be lost; whoever takes the rest says so.
		return ours == nil
	case "accepts":
		// Both have no tags; the library's list is empty.
		return answer != nil && len(answer.([]any)) == 0 && ours == nil
	}
	if answer == "undefined" {
		// "~=" and "===" have no meaning for texts that are no versions. The library gives up on the
		// whole marker then; here such a comparison does not hold, and others count.
		return true
	}
	// A name ends with a letter or a digit (PEP 508, "Names"); the library takes "_", too.
	r, ok := answer.(map[string]any)
	if q[0] != "requirement" || !ok {
		return false
	}
	ends := func(name any) bool { return strings.HasSuffix(name.(string), "-") }
	return ends(r["name"]) || slices.ContainsFunc(r["extras"].([]any), ends)
}

// arguedWheel reports whether a wheel's name is judged otherwise on purpose.
func arguedWheel(file string, ours any) bool {
	if ours == nil {
		// Names are ASCII, and so are all parts of a file's name (PEP 427, "Escaping and Unicode").
		return strings.ContainsFunc(file, func(c rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.!+-", c)
		})
	}
	// Older tools wrote "__" and versions that PEP 440 does not have: such wheels are
	// installed, and have to be judged.
	name := ours.(map[string]any)
	return !IsVersion(name["version"].(string)) || strings.Contains(file[:strings.IndexByte(file, '-')], "__")
}

// realFiles are the names of the files in the catalogue's locks.
func realFiles(t *testing.T) []question {
	t.Helper()
	locks, err := filepath.Glob(filepath.Join("..", "recipes", "catalogue", "*", "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	var all []question
	for _, lock := range locks {
		data, err := os.ReadFile(lock)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if _, file, ok := strings.Cut(strings.TrimSpace(line), "file: "); ok {
				all = append(all, question{"wheel", file}, question{"sdist", file})
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("only %d files are there", len(all))
	}
	return all
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
