package explain

import (
	"slices"
	"strings"
	"testing"

	"ampoule/audit"
)

func TestText(t *testing.T) {
	t.Parallel()
	told := make([]bool, len(kinds))
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
		"ImportError: libfoo.so.1: cannot open shared object file: Permission denied":                                                        "may not read it",
		"ImportError: dynamic module does not define module export function (PyInit_spam)":                                                   "PyInit_spam",
		"RuntimeError: module compiled against ABI version 0x1000009 but this version of numpy is 0x2000000":                                 "another numpy",
		"Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding":                                    "PYTHONHOME",
		"ERROR: numpy-1.26.4-cp311-cp311-macosx_11_0_arm64.whl is not a supported wheel on this platform.":                                   "tags",
		"ImportError: cannot import name '_imaging' from 'PIL' (/srv/site-packages/PIL/__init__.py)":                                         "PIL._imaging",
		"ModuleNotFoundError: No module named 'numpy.core._multiarray_umath'":                                                                "numpy.core._multiarray_umath",
		"Segmentation fault": "two Python runtimes",
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1000)": "certificates",

		// glibc's loader: libraries.
		"uwsgi: error while loading shared libraries: libpython3.7m.so.1.0: cannot open shared object file: No such file or directory":                    "uwsgi is a program that embeds Python",
		"/srv/app/bin/gunicorn: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file: No such file or directory":    "gunicorn is a program that embeds Python",
		"/opt/py/bin/python3.13t: error while loading shared libraries: libpython3.13t.so.1.0: cannot open shared object file: No such file or directory": "interpreter's own executable",
		"ImportError: libpython3.7m.so.1.0: cannot open shared object file: Permission denied":                                                            "may not read it",
		"ImportError: libcuda.so.1: cannot open shared object file: No such file or directory":                                                            "driver of a graphics processor",
		"OSError: libnvidia-ml.so.1: cannot open shared object file: No such file or directory":                                                           "driver of a graphics processor",
		"ImportError: libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory":                                                   "compiled for musl",
		"ImportError: /srv/v/x.so: failed to map segment from shared object":                                                                              "Or the process has a limit",
		"ImportError: /tmp/x.so: failed to map segment from shared object: Operation not permitted":                                                       "noexec",
		"/usr/bin/x: error while loading shared libraries: libm.so.6: failed to map segment from shared object: Cannot allocate memory":                   "limit on its address space",
		// glibc's loader: symbols and versions.
		"python3: symbol lookup error: /x.so: undefined symbol: foo":                     "asks for foo, ",
		"python3: symbol lookup error: /x.so: undefined symbol: foo, version LIBFOO_1.2": "asks for foo, ",
		"ImportError: /x.so: undefined symbol: PySideSignalInstance_new":                 "none of the loaded libraries",
		"ImportError: /x.so: undefined symbol: PyArray_API":                              "none of the loaded libraries",
		"ImportError: /x.so: undefined symbol: PyInit_spam":                              "none of the loaded libraries",
		"ImportError: /x.so: undefined symbol: PyFPE_jbuf":                               "does not export",
		"ImportError: /x.so: undefined symbol: PyType_GetName":                           "as of 3.11",
		"ImportError: /x.so: undefined symbol: PyString_Type":                            "compiled for Python 2",
		"ImportError: /x.so: undefined symbol: PyUnicodeUCS4_FromString":                 "width of Unicode",
		"undefined symbol: PyList_New\t(./x.so)":                                         "every Python 3 exports",
		"/usr/bin/python3: relocation error: /lib/x86_64-linux-gnu/libssl.so.1.1: symbol EVP_PKEY_new_CMAC_key, version OPENSSL_1_1_1 not defined in file libcrypto.so.1.1 with link time reference": "knows the version and not the symbol",
		"ImportError: /srv/torch/lib/libtorch_cuda.so: symbol cublasSetWorkspace_v2 version libcublas.so.11 not defined in file libcublas.so.11 with link time reference":                            "cublasSetWorkspace_v2 in the version libcublas.so.11",
		"curl: /usr/local/lib/libcurl.so.4: version `CURL_OPENSSL_4' not found (required by curl)":                                                                                                   "CURL_OPENSSL_4 of /usr/local/lib/libcurl.so.4",
		"ImportError: /lib/x86_64-linux-gnu/libgomp.so.1: version `GOMP_5.0' not found (required by /x.so)":                                                                                          "another release",
		"ImportError: /lib/libxml2.so.2: version `LIBXML2_2.9.8' not found (required by /x.so)":                                                                                                      "another release",
		"ImportError: /lib/libcrypto.so.3: version `OPENSSL_3.0.0' not found (required by /x.so)":                                                                                                    "another release",
		"ImportError: /lib/libz.so.1: version `ZLIB_1.2.9' not found (required by /x.so)":                                                                                                            "another release",
		"ImportError: /lib/libcublasLt.so.12: version `libcublasLt.so.12' not found (required by /x.so)":                                                                                             "another release",
		"python3: /lib/libc.so.6: version `GLIBC_PRIVATE' not found (required by /srv/lib/libm.so.6)":                                                                                                "two releases of glibc are mixed",
		"version `GLIBC_2.28' not found": "A file was compiled on a newer system",
		// musl's loader.
		"ImportError: Error loading shared library libpq.so.5: No such file or directory (needed by /srv/site-packages/_psycopg.so)": "libpq.so.5 is needed",
		"Error loading shared library libpython3.11.so.1.0: No such file or directory (needed by /usr/bin/uwsgi)":                    "uwsgi is a program that embeds Python",
		"ImportError: Error loading shared library libpython3.11.so.1.0: No such file or directory (needed by /srv/x.so)":            "poisoned wheel",
		"ImportError: Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /srv/x.so)":            "/srv/x.so was compiled for glibc",
		"ImportError: Error loading shared library /srv/x.so: Operation not permitted":                                               "noexec",
		"ImportError: Error relocating /srv/x.so: __memcpy_chk: symbol not found":                                                    "/srv/x.so was compiled for glibc",
		"Error relocating /srv/x.so: fcntl64: symbol not found":                                                                      "/srv/x.so was compiled for glibc",
		"Error: Error loading shared library ld-linux-x86-64.so.2: No such file or directory\n  (needed by /app/x.so)":               "/app/x.so was compiled for glibc",
		"ImportError: Error relocating /srv/x.so: _PyGen_Send: symbol not found":                                                     "does not export",
		"Error relocating /srv/x.so: spam_new: symbol not found":                                                                     "asks for spam_new",
		// What does not start.
		"bash: /srv/v/bin/pip: /opt/py37/bin/python3.7: bad interpreter: No such file or directory": "first line names /opt/py37/bin/python3.7",
		"zsh: ./pip: bad interpreter: /opt/py37/bin/python3.7: no such file or directory":           "first line names /opt/py37/bin/python3.7",
		"-bash: ./run.py: /usr/bin/python3^M: bad interpreter: No such file or directory":           "line ends of Windows",
		"/usr/bin/env: ‘python’: No such file or directory":                                         "asks env for python,",
		"/usr/bin/env: 'python3\\r': No such file or directory":                                     "line ends of Windows",
		"env: can't execute 'python3': No such file or directory":                                   "asks env for python3,",
		"./init.sh: bad interpreter: /usr/bin/env bash^M":                                           "line ends of Windows",
		"/bin/sh: 1: /opt/web/bin/python3: not found":                                               "/opt/web/bin/python3 is not there; or",
		"sh: /opt/web/bin/python3: not found":                                                       "PT_INTERP",
		"bash: /opt/web/bin/python3: No such file or directory":                                     "PT_INTERP",
		"zsh: no such file or directory: ./python3":                                                 "./python3 is not there; or",
		"-bash: ./python3: cannot execute: required file not found":                                 "./python3 is there",
		"exec /opt/web/bin/python3: no such file or directory":                                      "/opt/web/bin/python3 is there",
		"exec /opt/web/bin/python3: exec format error":                                              "another kind of machine",
		"qemu-x86_64: Could not open '/lib64/ld-linux-x86-64.so.2': No such file or directory":      "An emulator",
		"rosetta error: failed to open elf at /lib64/ld-linux-x86-64.so.2":                          "An emulator",
		// numpy, and what was compiled against it.
		"ImportError: numpy.core.multiarray failed to import": "did not get it",
		"ImportError: numpy._core.umath failed to import":     "did not get it",
		"AttributeError: _ARRAY_API not found":                "another numpy",
		"\nA module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.2.6 as it may crash. To support both 1.x and 2.x\n":                                               "another numpy",
		"ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject":                                              "another numpy",
		"RuntimeWarning: greenlet.greenlet size changed, may indicate binary incompatibility. Expected 144 from C header, got 152 from PyObject":                                  "defines greenlet.greenlet",
		"RuntimeError: module was compiled against NumPy C-API version 0x10 (NumPy 1.23) but the running NumPy has C-API version 0xf. Check the section":                          "another numpy",
		"ImportError: \n\nIMPORTANT: PLEASE READ THIS FOR ADVICE ON HOW TO SOLVE THIS ISSUE!\n\nImporting the numpy C-extensions failed. This error can happen for\nmany reasons": "Original error was",
		// Modules.
		"ImportError: Python version mismatch: module was compiled for Python 3.8, but the interpreter version is incompatible: 3.7.13 (default, Mar 29 2022, 02:18:16)": "compiled for Python 3.8",
		"ImportError: Python version mismatch: module was compiled for version 3.8, while the interpreter is running version 3.7.":                                       "compiled for Python 3.8",
		"RuntimeWarning: compiletime version 3.6 of module 'spam._x' does not match runtime version 3.7":                                                                 "compiled for Python 3.6",
		"RuntimeWarning: compile time Python version 3.8 of module 'spam._x' was newer than runtime version 3.7":                                                         "compiled for Python 3.8",
		"ImportError: bad magic number in 'spam': b'\\x03\\xf3\\r\\n'":                                                                                                   "The module spam is a file of bytecode",
		"RuntimeError: Bad magic number in .pyc file":                                                                                                                    "file of bytecode",
		"zipimport.ZipImportError: can't decompress data; zlib not available":                                                                                            "zlib1g-dev",
		"RuntimeError: Compression requires the (missing) lzma module":                                                                                                   "without _lzma",
		// The machine's data.
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain (_ssl.c:1000)":         "a proxy",
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1129)":                              "clock",
		"ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for 'x'. (_ssl.c:1000)": "name that the server was called by",
		"ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:852)":                                                                        "has no certificates",
		"zoneinfo._common.ZoneInfoNotFoundError: 'No time zone found with key Europe/Berlin'":                                                                          "has Europe/Berlin",
		"_curses.error: setupterm: could not find terminal":                                                                                                            "description of the terminal",
		"_curses.error: setupterm: could not find terminfo database":                                                                                                   "description of the terminal",
		"tput: cannot find terminfo database": "description of the terminal",
		"\x1b[31mImportError\x1b[0m: libpython3.13t.so.1.0: cannot open shared object file: No such file or directory": "libpython3.13t.so.1.0",
	} {
		e, ok := Text(message)
		if !ok {
			t.Errorf("%s: nothing is known", message)
			continue
		}
		told[slices.IndexFunc(kinds, func(k kind) bool { return k.pattern.MatchString(plain(message)) })] = true
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
	for i, k := range kinds {
		if !told[i] {
			t.Errorf("no message is of the kind %s", k.pattern)
		}
	}
}

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
		if !ok || e.Message != c.message || e.Find[0].Run != "ampoule audit "+c.audit {
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
		if !ok || !strings.HasPrefix(e.Find[1].Run, want) || want == "" && e.Find[1].Run != "" {
			t.Errorf("%s: %+v", message, e.Find)
		}
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hello", "TypeError: unsupported operand", "No module named 'flask'",
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
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := Text(text)
		if ok && (e.Means == "" || strings.ContainsAny(e.Means+e.Message, "\x00\x1b")) {
			t.Errorf("%q: %+v", text, e)
		}
	})
}
