package audit_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ampoule/audit"
	"ampoule/tree"
)

// A wheel is judged before anybody installs it. Its tags and its RECORD are right; what is
// wrong with it stands in the ELF file.
func ExampleOpenWheel() {
	data := poisonedWheel()
	wheel, err := audit.OpenWheel(bytes.NewReader(data), int64(len(data)), "fast-1.0-cp313-cp313-linux_x86_64.whl")
	if err != nil {
		log.Fatal(err)
	}
	defer wheel.Close()
	fmt.Println("faults of the file:", len(wheel.Findings))

	// Its files, where an installer would put them. No machine is known, and no interpreter.
	files, err := wheel.Installed("site-packages")
	if err != nil {
		log.Fatal(err)
	}
	inspection, err := audit.NewInspector(nil).Inspect(context.Background(), audit.Place{Tree: files, Site: "site-packages", Alone: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range inspection.Findings {
		fmt.Printf("%s %s: %s\n  %s %s\n", f.Severity, f.Check, f.File, f.Field, f.Value)
	}
	for _, u := range inspection.Unjudged[:1] {
		fmt.Printf("not judged: %s: %s\n", u.Check, u.Why)
	}
	// Output:
	// faults of the file: 0
	// refuse libpython-needed: site-packages/fast.cpython-313-x86_64-linux-gnu.so
	//   DT_NEEDED libpython3.13.so.1.0
	// not judged: closure: the machine is not known
}

// A directory is judged against the interpreter in it. Package survey finds both wherever
// they are, in environments and images, too.
func ExampleInspector_Inspect() {
	dir := poisonedPrefix()
	defer os.RemoveAll(dir)
	files, err := tree.FromDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	inspection, err := audit.NewInspector(nil).Inspect(context.Background(), audit.Place{
		Tree: files, Interpreter: "bin/python3.13", Site: "lib/python3.13/site-packages",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Python %s, %s\n", inspection.Interpreter.Version, inspection.Interpreter.Link)
	for _, f := range inspection.Findings {
		if f.Severity == audit.Refuse {
			fmt.Printf("%s: %s %s\n  %s\n", f.File, f.Field, f.Value, f.Cause)
		}
	}
	// Output:
	// Python 3.13, static
	// lib/python3.13/site-packages/fast.cpython-313-x86_64-linux-gnu.so: DT_NEEDED libpython3.13.so.1.0
	//   The extension module needs libpython3.13.so.1.0: it fails to load, or loads a second Python, wherever its own interpreter was built otherwise.
}

// Whoever has a verdict, such as verdict.json of an artifact, reads it as data: whether
// the tree passed, what passed by exception alone, and which check said what.
func ExampleVerdict() {
	stored := []byte(`{
  "schema": "ampoule.verdict/v1", "passed": false, "tree": "sha256:00", "time": "2026-11-20T12:00:00Z",
  "checks": [{"name": "libpython-needed", "reason": "…", "examined": 240, "refused": 1, "warned": 0, "excepted": 1}],
  "findings": [
    {"check": "libpython-needed", "severity": "refuse", "file": "lib/python3.13/site-packages/fast.so",
     "field": "DT_NEEDED", "value": "libpython3.13.so.1.0", "cause": "…", "remedy": "…"},
    {"check": "libpython-needed", "severity": "refuse", "file": "bin/embedder",
     "field": "DT_NEEDED", "value": "libpython3.13.so.1.0", "cause": "…", "remedy": "…", "excepted": "it embeds Python"}
  ]
}`)
	var v audit.Verdict
	if err := json.Unmarshal(stored, &v); err != nil {
		log.Fatal(err)
	}
	if v.Schema != audit.VerdictSchema {
		log.Fatalf("%s is another form than %s", v.Schema, audit.VerdictSchema)
	}
	fmt.Println("passed:", v.Passed)
	for _, f := range v.Findings {
		switch {
		case f.Excepted != "":
			fmt.Printf("excepted, since %s: %s\n", f.Excepted, f.File)
		case f.Severity == audit.Refuse:
			fmt.Printf("refused by %s: %s: %s %s\n", f.Check, f.File, f.Field, f.Value)
		}
	}
	// Output:
	// passed: false
	// refused by libpython-needed: lib/python3.13/site-packages/fast.so: DT_NEEDED libpython3.13.so.1.0
	// excepted, since it embeds Python: bin/embedder
}

// The files of the examples, as small as they can be.

const moduleName = "fast.cpython-313-x86_64-linux-gnu.so"

// compile compiles C source without any library but those that flags name.
func compile(dir, name, source string, flags ...string) string {
	out := filepath.Join(dir, name)
	cmd := exec.Command("gcc", append([]string{"-x", "c", "-", "-x", "none", "-nostdlib", "-fPIC", "-Wl,--no-as-needed", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if told, err := cmd.CombinedOutput(); err != nil {
		log.Fatalf("compiling %s: %v\n%s", name, err, told)
	}
	return out
}

// poisonedModule is an extension module that was linked to libpython.
func poisonedModule() []byte {
	dir := temporary()
	defer os.RemoveAll(dir)
	lib := compile(dir, "libpython3.13.so.1.0", "int PyList_New(void) { return 0; }", "-shared", "-Wl,-soname,libpython3.13.so.1.0")
	module := compile(dir, moduleName, "int PyList_New(void); int PyInit_fast(void) { return PyList_New(); }", "-shared", lib)
	data, err := os.ReadFile(module)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

func temporary() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// wheelMembers are the files of a wheel with that module.
func wheelMembers() map[string][]byte {
	const info = "fast-1.0.dist-info/"
	members := map[string][]byte{
		moduleName:        poisonedModule(),
		info + "METADATA": []byte("Metadata-Version: 2.1\nName: fast\nVersion: 1.0\n"),
		info + "WHEEL":    []byte("Wheel-Version: 1.0\nTag: cp313-cp313-linux_x86_64\n"),
	}
	var record strings.Builder
	for name, data := range members {
		sum := sha256.Sum256(data)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
	}
	members[info+"RECORD"] = []byte(record.String() + info + "RECORD,,\n")
	return members
}

func poisonedWheel() []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range wheelMembers() {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}

// poisonedPrefix is an interpreter's prefix with that wheel installed.
func poisonedPrefix() string {
	prefix := temporary()
	for _, dir := range []string{"bin", "lib/python3.13/site-packages/fast-1.0.dist-info"} {
		if err := os.MkdirAll(filepath.Join(prefix, dir), 0o755); err != nil {
			log.Fatal(err)
		}
	}
	for name, data := range wheelMembers() {
		if err := os.WriteFile(filepath.Join(prefix, "lib/python3.13/site-packages", name), data, 0o644); err != nil {
			log.Fatal(err)
		}
	}
	compile(prefix, "bin/python3.13", "int _PyRuntime; int PyList_New(void) { return 0; } void _start(void) {}", "-rdynamic")
	return prefix
}
