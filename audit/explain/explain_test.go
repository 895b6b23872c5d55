package explain

import (
	"strings"
	"testing"

	"ampoule/audit"
)

func TestText(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"OSError: libpython3.7m.so.1.0: cannot open shared object file: No such file or directory":                                           "poisoned wheel",
		"python3: error while loading shared libraries: libpython3.13.so.1.0: cannot open shared object file: No such file or directory":     "interpreter's own executable",
		"ImportError: /srv/v/lib/python3.11/site-packages/x.so: undefined symbol: _PyGen_Send":                                               "does not export",
		"ImportError: /x.so: undefined symbol: PyExc_SystemError":                                                                            "RTLD_LOCAL",
		"ImportError: /x.so: undefined symbol: _ZNSt7__cxx1112basic_stringE":                                                                 "C++ name",
		"ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /srv/site-packages/x.so)":                 "glibc cannot be carried",
		"ImportError: /lib/libstdc++.so.6: version 'GLIBCXX_3.4.32' not found (required by /x.so)":                                           "may be carried",
		"ImportError: /x.so: wrong ELF class: ELFCLASS32":                                                                                    "another kind of machine",
		"bash: ./python3: cannot execute binary file: Exec format error":                                                                     "another kind of machine",
		"ImportError: /x.so: invalid ELF header":                                                                                             "no sound ELF file",
		"ImportError: libcaffe.so: cannot enable executable stack as shared object requires: Invalid argument":                               "executable stack",
		"ImportError: /libgomp.so.1: cannot allocate memory in static TLS block":                                                             "static block",
		"Illegal instruction (core dumped)":                                                                                                  "processor does not have",
		"ModuleNotFoundError: No module named '_ssl'":                                                                                        "libssl-dev",
		"ModuleNotFoundError: No module named '_ctypes'":                                                                                     "libffi-dev",
		"WARNING: pip is configured with locations that require TLS/SSL\nCan't connect to HTTPS URL because the SSL module is not available": "without _ssl",
		"ImportError: libmariadb.so.3: cannot open shared object file: No such file or directory":                                            "does not carry it",
		"ImportError: libfoo.so.1: cannot open shared object file: Permission denied":                                                        "noexec",
		"ImportError: dynamic module does not define module export function (PyInit_spam)":                                                   "PyInit_spam",
		"RuntimeError: module compiled against ABI version 0x1000009 but this version of numpy is 0x2000000":                                 "another numpy",
		"Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding":                                    "PYTHONHOME",
		"ERROR: numpy-1.26.4-cp311-cp311-macosx_11_0_arm64.whl is not a supported wheel on this platform.":                                   "tags",
		"ImportError: cannot import name '_imaging' from 'PIL' (/srv/site-packages/PIL/__init__.py)":                                         "PIL._imaging",
		"ModuleNotFoundError: No module named 'numpy.core._multiarray_umath'":                                                                "numpy.core._multiarray_umath",
		"Segmentation fault": "two Python runtimes",
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1000)": "certificates",
		"\x1b[31mImportError\x1b[0m: libpython3.13t.so.1.0: cannot open shared object file: No such file or directory":                                   "libpython3.13t.so.1.0",
	} {
		e, ok := Text(message)
		if !ok {
			t.Errorf("%s: nothing is known", message)
			continue
		}
		if !strings.Contains(e.Means, want) || e.Prevents == "" || len(e.Find) == 0 || e.Message == "" {
			t.Errorf("%s:\n%+v\nlacks %q", message, e, want)
		}
		for _, name := range e.Checks {
			known := false
			for _, c := range audit.Checks() {
				known = known || c.Name == name
			}
			if !known {
				t.Errorf("%s: there is no check %s", message, name)
			}
		}
	}
}

// A traceback's paths say where to look, and its other lines are no part of the message.
func TestTraceback(t *testing.T) {
	t.Parallel()
	e, ok := Text(`Traceback (most recent call last):
  File "/srv/my app/run.py", line 1, in <module>
    import spam
  File "/srv/app/.venv/lib/python3.13/site-packages/spam/__init__.py", line 3, in <module>
    from spam import _spam
ImportError: libpython3.13.so.1.0: cannot open shared object file: No such file or directory
`)
	if !ok || e.Find[0] != "ampoule audit /srv/app/.venv/lib/python3.13/site-packages" || !strings.HasPrefix(e.Message, "ImportError: libpython3.13") {
		t.Errorf("%+v", e)
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "hello", "TypeError: unsupported operand", "No module named 'flask'"} {
		if e, ok := Text(text); ok {
			t.Errorf("%q is explained: %+v", text, e)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("ImportError: libpython3.7m.so.1.0: cannot open shared object file")
	f.Add("version `GLIBC_2.38' not found (required by /x)")
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := Text(text)
		if ok && (e.Means == "" || strings.ContainsAny(e.Means+e.Message, "\x00\x1b")) {
			t.Errorf("%q: %+v", text, e)
		}
	})
}
