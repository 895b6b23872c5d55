package explain

import (
	"slices"
	"strings"
	"testing"
)

// A traceback's paths say where to look, and its other lines are no part of the message.
func TestTraceback(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, message, audit string }{
		"plain": {
			`Traceback (most recent call last):
  File "/srv/app/run.py", line 1, in <module>
    import spam
  File "/srv/app/.venv/lib/python3.13/site-packages/spam/__init__.py", line 3, in <module>
    from spam import _spam
ImportError: libpython3.13.so.1.0: cannot open shared object file: No such file or directory
`,
			"ImportError: libpython3.13.so.1.0: cannot open shared object file: No such file or directory", "/srv/app/.venv/lib/python3.13/site-packages",
		},
		"a path with spaces": {
			`  File "/srv/my app/lib/python3.13/site-packages/spam.py", line 3, in <module>
ImportError: /srv/my app/lib/python3.13/site-packages/_spam.so: invalid ELF header
`,
			"ImportError: /srv/my app/lib/python3.13/site-packages/_spam.so: invalid ELF header", "'/srv/my app/lib/python3.13/site-packages'",
		},
		"the line's own path before others": {
			`ImportError: /srv/a/lib/python3.11/site-packages/spam.so: undefined symbol: spam_new

During handling of the above exception, another exception occurred:

  File "/usr/lib/python3/dist-packages/apport.py", line 3, in <module>
`,
			"ImportError: /srv/a/lib/python3.11/site-packages/spam.so: undefined symbol: spam_new", "/srv/a/lib/python3.11/site-packages",
		},
		"numpy's reason": {
			`  File "/v/lib/python3.12/site-packages/numpy/__init__.py", line 114, in <module>
ImportError: 

IMPORTANT: PLEASE READ THIS FOR ADVICE ON HOW TO SOLVE THIS ISSUE!

Importing the numpy C-extensions failed. This error can happen for
many reasons, often due to issues with your setup or how NumPy was
installed.

Original error was: libcblas.so.3: cannot open shared object file: No such file or directory
`,
			"Original error was: libcblas.so.3: cannot open shared object file: No such file or directory", "/v/lib/python3.12/site-packages",
		},
		"a log with Windows' line ends": {
			"2026-02-01 INFO starting\r\n/srv/app/bin/gunicorn: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: No such file or directory\r\n2026-02-01 INFO exited with status 127\r\n",
			"/srv/app/bin/gunicorn: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: No such file or directory", "PREFIX-OR-VENV",
		},
	} {
		e, ok := Text(c.text)
		if !ok || e.Message != c.message || !slices.ContainsFunc(e.Find, func(s Step) bool { return s.Run == "ampoule audit "+c.audit }) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// The file that asks is the one that the loader names last, and no program or exception.
func TestWhoAsks(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"python3: symbol lookup error: /srv/x.so: undefined symbol: foo":                                    "readelf -d /srv/x.so | ",
		"ImportError: /srv/x.so: undefined symbol: PyGen_New":                                               "readelf -d /srv/x.so | ",
		"ImportError: undefined symbol: foo":                                                                "",
		"Error relocating /srv/x.so: foo: symbol not found":                                                 "readelf -d /srv/x.so | ",
		"uwsgi: error while loading shared libraries: libpython3.7m.so.1.0: cannot open shared object file": "ldd $(command -v uwsgi)",
		"Error loading shared library libpq.so.5: No such file or directory (needed by /srv/x.so)":          "ldd /srv/x.so | ",
	} {
		e, ok := Text(message)
		asks := func(s Step) bool { return strings.HasPrefix(s.Run, want) && (want != "" || s.Run == "") }
		if !ok || !slices.ContainsFunc(e.Find, asks) {
			t.Errorf("%s: %+v", message, e.Find)
		}
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hello", "TypeError: unsupported operand",
		"192.0.2.1 - - [28/Nov/2026:08:00:01 +0000] \"GET /app HTTP/1.1\" 403 153", "INFO:     127.0.0.1:4711 - \"GET / HTTP/1.1\" 404 Not Found",
		"[2026-11-28 08:00:01 +0000] [7] [INFO] Starting gunicorn 23.0.0\n[2026-11-28 08:00:01 +0000] [7] [INFO] Listening at: http://0.0.0.0:8000 (7)\n[2026-11-28 08:00:01 +0000] [8] [INFO] Booting worker with pid: 8",
		"*** Starting uWSGI 2.0.21-debian (64bit) on [Sat Nov 28 08:00:01 2026] ***\ncompiled with version: 12.2.0 on 15 May 2023\ndetected number of CPU cores: 2\nyour memory page size is 4096 bytes\nspawned uWSGI worker 1 (pid: 12, cores: 1)",
		"Collecting six\n  Using cached six-1.16.0-py2.py3-none-any.whl (11 kB)\nInstalling collected packages: six\nSuccessfully installed six-1.16.0",
		"Resolved 12 packages in 3ms\nInstalled 12 packages in 9ms\n + six==1.16.0", "Requirement already satisfied: six in ./v/lib/python3.11/site-packages (1.16.0)",
		"Nov 28 08:00:01 host systemd[1]: Started web.service - The web.\nNov 28 08:00:02 host systemd[1]: web.service: Deactivated successfully.",
		"Step 3/7 : RUN pip install -r requirements.txt\n ---> Using cache\n ---> 0123456789ab\nSuccessfully built 0123456789ab",
		"KeyError: 'name'", "ValueError: invalid literal for int() with base 10: 'x'", "AttributeError: 'NoneType' object has no attribute 'get'", "django.db.utils.IntegrityError: UNIQUE constraint failed: app_user.name",
		"AssertionError", "ZeroDivisionError: division by zero", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
		"version '1.2' not found", "sh: 1: spam: not found", "bash: cd: /x: No such file or directory", "cat: /x/y: No such file or directory",
		"fsck.ext4: Bad magic number in super-block while trying to open /dev/sda1",
	} {
		if e, ok := Text(text); ok {
			t.Errorf("%q is explained: %+v", text, e)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("ImportError: libpython3.7m.so.1.0: cannot open shared object file")
	f.Add("version `GLIBC_2.38' not found (required by /x)")
	f.Add("web-1  | {\"log\":\"Nov 28 08:00:01 host x[1]: \\u001b[31mSegmentation fault\\n\"}\r\n")
	_, rows := readRows(f)
	for _, r := range rows {
		f.Add(r.message)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := Text(text)
		if !ok && Wanted(text) == "" {
			t.Errorf("%q: nothing is asked for", text)
		}
		for _, step := range e.Find {
			if strings.ContainsAny(step.Run, "\n\x00\x1b") {
				t.Errorf("%q: %q", text, step.Run)
			}
		}
		if ok && (e.Means == "" || strings.ContainsAny(e.Means+e.Message, "\x00\x1b")) {
			t.Errorf("%q: %+v", text, e)
		}
	})
}
