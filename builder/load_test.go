package builder

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
)

// The script runs under this machine's Python, over modules in Python: which attempts
// it makes does not depend on what a module is written in.
func TestLoadScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	script := write("load.py", string(loadScript))
	write("good.py", "")
	write("user.py", "")
	write("ends.py", "import os\nos._exit(3)\n")
	write("shy.py", "import sys\nif 'user' not in sys.modules: raise ImportError('after user')\n")
	wanted, err := json.Marshal([]audit.Module{
		{File: "good.so", Name: "good", Packages: []string{"user"}},
		{File: "shy.so", Name: "shy", Packages: []string{"user"}, Behind: []string{"none", "user"}},
		{File: "none.so", Name: "none", Packages: []string{"user"}, Behind: []string{"user"}},
		{File: "ends.so", Name: "ends"},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", "import sys; sys.path[0] = sys.argv[1]; sys.argv[:2] = []; exec(open(sys.argv[0]).read())", dir, script, dir)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(wanted), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []audit.LoadReport
	for line := range bytes.Lines(out) {
		var a loadAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if a.Kind == audit.KindDlopen {
			a.Error = "" // the C library's words
		}
		got = append(got, audit.LoadReport{Kind: a.Kind, Module: a.Module, File: a.File, Behind: a.Behind, OK: a.OK, Error: a.Error})
	}
	want := []audit.LoadReport{
		{Kind: "import", Module: "good", File: "good.so", OK: true},
		{Kind: "import", Module: "shy", File: "shy.so", Error: "ImportError: after user"},
		{Kind: "import", Module: "shy", File: "shy.so", Behind: []string{"none", "user"}, OK: true},
		{Kind: "import", Module: "none", File: "none.so", Error: "ModuleNotFoundError: No module named 'none'"},
		{Kind: "import", Module: "none", File: "none.so", Behind: []string{"user"}, Error: "ModuleNotFoundError: No module named 'none'"},
		{Kind: "import", Module: "user", OK: true},
		{Kind: "dlopen", File: "none.so"},
		{Kind: "import", Module: "ends", File: "ends.so", Error: "the process ended by exit code 3"},
		{Kind: "dlopen", File: "ends.so"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
