package trials

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/drive"
)

// TestImports imports for real: an environment of this machine's Python, with extension modules
// of its standard library under other names, whole, cut off, and with another Python's suffix.
func TestImports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		t.Helper()
		run, err := (drive.Program{Path: program}).Run(context.Background(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return run.Out
	}
	env := filepath.Join(dir, "env")
	run("python3", "-m", "venv", "--without-pip", env)
	python := filepath.Join(env, "bin", "python")
	told := strings.Fields(run(python, "-c", "import sysconfig, _lzma; print(sysconfig.get_path('platlib'), _lzma.__file__, sysconfig.get_config_var('EXT_SUFFIX'))"))
	site, module, suffix := told[0], told[1], told[2]
	whole, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"shop/__init__.py": "", "shop/deep/__init__.py": "", "cart/__init__.py": "import shop_that_is_gone\n", "bad/__init__.py": "import os\nos.abort()\n",
		"shop/_lzma" + suffix: string(whole), "shop/deep/_lzma" + suffix: string(whole), "cart/_lzma" + suffix: string(whole), "bad/_lzma" + suffix: string(whole),
		"shop/deep/_lzma.cpython-27-other.so": string(whole), "other/_lzma.cpython-27-other.so": string(whole),
		"shop-1.0.dist-info/RECORD":           "shop/_lzma" + suffix + ",,\n../../../bin/sell,,\n",
		"shop-1.0.dist-info/WHEEL":            "Tag: cp3-abi3-linux_x86_64\n",
		"shop-1.0.dist-info/entry_points.txt": "[console_scripts]\nsell = shop.gone:main\n",
	} {
		path := filepath.Join(site, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script, things := filepath.Join(dir, "environments.py"), filepath.Join(dir, "things.json")
	if err := os.WriteFile(script, []byte(importScript), 0o644); err != nil {
		t.Fatal(err)
	}
	listed := run(python, script, "list", site)
	// What is cut off behind the listing is tried all the same, as in an environment that broke.
	if err := os.WriteFile(things, []byte(listed), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(site, "shop", "deep", "_lzma"+suffix), 4096); err != nil {
		t.Fatal(err)
	}
	o := &observation{}
	if err := json.Unmarshal([]byte(listed), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sell"}, o.Programs); diff != "" || o.Tags["shop 1.0"][0] != "cp3-abi3-linux_x86_64" {
		t.Errorf("programs (-want +got):\n%s; tags %q", diff, o.Tags)
	}
	o.Told = map[string]showing{}
	if err := o.hear(run(python, script, "try", site, things)); err != nil {
		t.Fatal(err)
	}
	words, dists := map[string]string{}, map[string]string{}
	for name, one := range o.Told {
		words[name] = one.Word
	}
	for _, thing := range o.Things {
		dists[thing.Name] = thing.Dist
	}
	want := map[string]string{
		"shop": works, "shop._lzma": works, "shop.gone": fails, "shop.deep._lzma": fails, "cart": fails, "cart._lzma": loads,
		"bad": fails, "bad._lzma": fails, "other._lzma": fails,
	}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("what works (-want +got):\n%s\n%v", diff, o.Told)
	}
	if dists["shop._lzma"] != "shop 1.0" || dists["shop.deep._lzma"] != "" {
		t.Errorf("the modules' distributions are %q", dists)
	}
	if why := o.Told["bad"].Why; !strings.Contains(why, "signal 6") {
		t.Errorf("a process that ended itself: %q", why)
	}
}
