package stub

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/audit/elf"
	"ampoule/tree"
)

// A program wants two symbols of a machine's library, one of them with a version, and calls
// neither.
const program = `
extern int plain(void), versioned(void);
int (*const wanted[])(void) = {plain, versioned};
int main(void) { return wanted[0] && wanted[1] ? 7 : 1; }
`

const provided = "int plain(void) { return 1; }\nint versioned(void) { return 2; }\n"

const versions = "HOST_1 { global: versioned; };\n"

func TestLibrary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gcc := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc %q: %v\n%s", args, err, out)
		}
	}
	const soname = "libhost.so.1"
	library, binary := filepath.Join(dir, soname), filepath.Join(dir, "program")
	gcc("-shared", "-fPIC", "-o", library, write("host.c", provided), "-Wl,-soname,"+soname, "-Wl,--version-script="+write("host.map", versions))
	gcc("-o", binary, write("program.c", program), library)
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	files, err := tree.New([]tree.Entry{tree.FileEntry("bin/program", 0o755, data)})
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := audit.HostSymbols(files, []string{soname, "libnobody.so.1"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]audit.HostSymbol{soname: {{Name: "plain"}, {Name: "versioned", Version: "HOST_1"}}}
	if diff := cmp.Diff(want, wanted); diff != "" {
		t.Fatalf("wanted (-want +got):\n%s", diff)
	}
	start := func() string {
		cmd := exec.CommandContext(t.Context(), binary)
		cmd.Env = []string{"LD_LIBRARY_PATH=" + dir, "LD_BIND_NOW=1"}
		out, err := cmd.CombinedOutput()
		return string(out) + err.Error()
	}
	for name, symbols := range map[string][]audit.HostSymbol{"all": {{Name: "plain"}, {Name: "versioned", Version: "HOST_1"}}, "more": {{Name: "other", Version: "HOST_2"}, {Name: "plain"}, {Name: "versioned", Version: "HOST_1"}}} {
		data := Library(soname, symbols)
		if err := os.WriteFile(library, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := start(); got != "exit status 7" {
			t.Errorf("with a library of %s: %s", name, got)
		}
		read, err := elf.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		var got []audit.HostSymbol
		for _, s := range read.Symbols {
			got = append(got, audit.HostSymbol{Name: s.Name, Version: s.Version})
		}
		if diff := cmp.Diff(symbols, got); diff != "" || read.Soname != soname {
			t.Errorf("%s: soname %q, symbols (-want +got):\n%s", name, read.Soname, diff)
		}
	}
	// Near misses: the loader wants each of them.
	for name, symbols := range map[string][]audit.HostSymbol{"none": nil, "one": {{Name: "versioned", Version: "HOST_1"}}, "another version": {{Name: "plain"}, {Name: "versioned", Version: "HOST_2"}}} {
		if err := os.WriteFile(library, Library(soname, symbols), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := start(); got == "exit status 7" {
			t.Errorf("with a library of %s it starts", name)
		}
	}
}
