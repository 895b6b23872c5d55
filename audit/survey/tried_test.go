package survey

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// maxTime is how long a file that was made to break readers may keep an audit busy.
const maxTime = 60 * time.Second

// installedDist are the files of a distribution that is installed soundly.
func installedDist() map[string]string {
	files := map[string]string{}
	for name, text := range map[string]string{
		"ok/__init__.py":              "",
		"ok-1.0.dist-info/METADATA":   "Metadata-Version: 2.1\nName: ok\nVersion: 1.0\n",
		"ok-1.0.dist-info/WHEEL":      "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"ok-1.0.dist-info/RECORD":     "ok/__init__.py,,\nok-1.0.dist-info/METADATA,,\nok-1.0.dist-info/WHEEL,,\nok-1.0.dist-info/RECORD,,\n",
		"ok-1.0.dist-info/INSTALLER":  "pip\n",
		"ok-1.0.dist-info/top_level":  "ok\n",
		"ok-1.0.dist-info/direct.txt": "",
	} {
		files[site+"/"+name] = text
	}
	return files
}

// TestHostileDirectories audits directories that were made to keep an audit busy, to have
// it read what is outside, or to write to a terminal: each ends soon, tells nothing of what
// is outside, and nothing but text.
func TestHostileDirectories(t *testing.T) {
	t.Parallel()
	const secret = "root:x:0:0:secret"
	for name, change := range map[string]func(root string, files map[string]string) error{
		"METADATA of 20 MiB": func(_ string, f map[string]string) error {
			f[site+"/ok-1.0.dist-info/METADATA"] = "Name: ok\nVersion: 1.0\n" + strings.Repeat("X: y\n", 4<<20)
			return nil
		},
		"a million Requires-Dist": func(_ string, f map[string]string) error {
			f[site+"/ok-1.0.dist-info/METADATA"] += strings.Repeat("Requires-Dist: x\n", 400_000)
			return nil
		},
		"a name with control codes": func(_ string, f map[string]string) error {
			f[site+"/ok-1.0.dist-info/METADATA"] = "Name: ok\x1b]0;evil\x07\x1b[2J\nVersion: 1\r\n.0\x00\n"
			return nil
		},
		"a directory with control codes": func(_ string, f map[string]string) error {
			f[site+"/evil\x1b[2J\n-1.0.dist-info/METADATA"] = "Name: x\nVersion: 1.0\n"
			return nil
		},
		"a name that turns direction": func(_ string, f map[string]string) error {
			f[site+"/\u202egnp.so"] = "\x7fELF"
			return nil
		},
		"a name that is no text": func(_ string, f map[string]string) error {
			f[site+"/\xff\xfe.so"] = "\x7fELF"
			return nil
		},
		"a RECORD that names what is outside": func(root string, f map[string]string) error {
			f["etc/shadow"] = secret
			f[site+"/ok-1.0.dist-info/RECORD"] += "../../../../../../etc/shadow,sha256=x,1\n/etc/shadow,,\n../../../../../../../../etc/passwd,,\n"
			return nil
		},
		"a RECORD with control codes": func(_ string, f map[string]string) error {
			f[site+"/ok-1.0.dist-info/RECORD"] += "\"a\x1b[2J\nb\",sha256=x,1\n"
			return nil
		},
		"entry points of a million lines": func(_ string, f map[string]string) error {
			f[site+"/ok-1.0.dist-info/entry_points.txt"] = "[console_scripts]\n" + strings.Repeat("../evil = a:b\n", 200_000)
			return nil
		},
		"a .pth that leads everywhere": func(_ string, f map[string]string) error {
			f[site+"/x.pth"] = "/\n/proc\n/dev\n/sys\n../../..\n.\nimport os\n/etc/shadow\n" + strings.Repeat("../", 1000) + "\n"
			return nil
		},
		"a thousand .pth files": func(_ string, f map[string]string) error {
			for i := range 1000 {
				f[fmt.Sprintf("%s/%d.pth", site, i)] = strings.Repeat(fmt.Sprintf("../site-packages/ok/../%d\n", i), 100)
			}
			return nil
		},
		"links in a circle": func(root string, _ map[string]string) error {
			return errors.Join(os.Symlink("b", filepath.Join(root, site, "a")), os.Symlink("a", filepath.Join(root, site, "b")),
				os.Symlink(".", filepath.Join(root, site, "self")), os.Symlink("../../../..", filepath.Join(root, site, "up")))
		},
		"a link out of the root": func(root string, _ map[string]string) error {
			return os.Symlink("/etc", filepath.Join(root, site, "etc"))
		},
		"a hundred directories deep": func(_ string, f map[string]string) error {
			f[site+"/"+strings.Repeat("d/", 100)+"x.so"] = "\x7fELF"
			return nil
		},
		"pipes": func(root string, _ map[string]string) error {
			var errs []error
			for _, name := range []string{"x.so", "x.pth", "y-1.0-py3-none-any.whl", "pipe.dist-info"} {
				errs = append(errs, syscall.Mkfifo(filepath.Join(root, site, name), 0o644))
			}
			return errors.Join(errs...)
		},
		"a pipe for its METADATA": func(root string, f map[string]string) error {
			delete(f, site+"/ok-1.0.dist-info/METADATA")
			return errors.Join(os.MkdirAll(filepath.Join(root, site, "ok-1.0.dist-info"), 0o755),
				syscall.Mkfifo(filepath.Join(root, site, "ok-1.0.dist-info/METADATA"), 0o644))
		},
		"a pipe for an interpreter": func(root string, _ map[string]string) error {
			return errors.Join(os.MkdirAll(filepath.Join(root, venv, "bin"), 0o755), syscall.Mkfifo(filepath.Join(root, venv, "bin/python3.13"), 0o755))
		},
		"a pyvenv.cfg that leads elsewhere": func(_ string, f map[string]string) error {
			f[venv+"/pyvenv.cfg"] = "home = ../../../../etc\x1b[2J\nhome = /proc/self\n"
			return nil
		},
		"a pyvenv.cfg without end": func(_ string, f map[string]string) error {
			f[venv+"/pyvenv.cfg"] = strings.Repeat("home = /\n", 1<<20)
			return nil
		},
		"ld.so.conf that includes itself": func(root string, f map[string]string) error {
			f["etc/ld.so.conf"] = "include /etc/ld.so.conf\ninclude ld.so.conf.d/*\ninclude /etc/*\n" + strings.Repeat("/a\n", 100_000)
			f["etc/ld.so.conf.d/a"] = "include /etc/ld.so.conf\n"
			return syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644)
		},
		"a directory nobody may read": func(root string, _ map[string]string) error {
			return os.Mkdir(filepath.Join(root, site, "closed"), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(installedDist())
			root := string(machine(t, map[string]string{site + "/none": ""}))
			if err := change(root, files); err != nil {
				t.Fatal(err)
			}
			for file, text := range files {
				at := filepath.Join(root, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			r, err := Look(t.Context(), Target{Files: Machine(root), Path: "/"})
			if took := time.Since(begin); err != nil || took > maxTime {
				t.Fatalf("%v after %s", err, took)
			}
			var text, all bytes.Buffer
			if err := errors.Join(r.WriteText(&text, TextOptions{Warnings: true}), r.WriteJSON(&all)); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(text.String(), "\x00\x1b\x07\x7f\r\u202e") {
				t.Errorf("the text form moves a terminal's cursor: %.500q", text.String())
			}
			if n := strings.Count(text.String(), "\n"); n > 200 {
				t.Errorf("the text form has %d lines", n)
			}
			if strings.Contains(all.String(), "secret") || strings.Contains(all.String(), root) {
				t.Errorf("it tells of what is outside: %.500q", all.String())
			}
		})
	}
}
