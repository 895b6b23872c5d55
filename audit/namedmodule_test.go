package audit

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInits compares the names of the functions with what Python's own codec makes of names.
func TestInits(t *testing.T) {
	t.Parallel()
	names := []string{"spam", "_x1", "größe", "Größe", "ΩMEGA", "日本", "a_üb"}
	const program = `import sys
for name in sys.argv[1:]:
    try:
        print("PyInit_" + name.encode("ascii").decode())
    except UnicodeEncodeError:
        print("PyInitU_" + name.encode("punycode").replace(b"-", b"_").decode())`
	out, err := exec.Command("python3", append([]string{"-I", "-X", "utf8", "-c", program}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Fields(string(out))
	if len(wanted) != len(names) {
		t.Fatalf("%q", wanted)
	}
	for i, name := range names {
		if got := (namedModule{name: "a." + name}).inits(13); len(got) != 1 || got[0] != wanted[i] {
			t.Errorf("%s: %q, want %s", name, got, wanted[i])
		}
	}
}

func TestNamedAsModule(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"spam.so": true, "spam.abi3.so": true, "spam.cpython-313-x86_64-linux-gnu.so": true, "spam.cpython-37m-x86_64-linux-gnu.so": true,
		"spam.cpython-313t-aarch64-linux-musl.so": true, "spam.abi3t-x86_64-linux-gnu.so": true,
		"spam.so.1": false, "spam.cpython-313-darwin.so": false, "spam.pyd": false, ".so": false, "spam": false, "spam.cp313-win_amd64.pyd": false,
	} {
		if got := NamedAsModule(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
