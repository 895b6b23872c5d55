package explain

import (
	"fmt"
	"strings"
	"testing"
)

// Steps that do not belong to a message, or do not work where it was written, are not given;
// and those that help are.
func TestHints(t *testing.T) {
	t.Parallel()
	const kafka = "ImportError: Error relocating /v/lib/python3.7/site-packages/confluent_kafka/cimpl.cpython-37m-x86_64-linux-gnu.so: rd_kafka_message_errstr: symbol not found"
	for message, c := range map[string]struct{ has, hasNot []string }{
		"RuntimeError: OpenSSL 3.0's legacy provider failed to load.":                                    {[]string{"CRYPTOGRAPHY_OPENSSL_NO_LEGACY=1", "OPENSSL_MODULES"}, []string{"urllib3"}},
		"ImportError: urllib3 v2.0 only supports OpenSSL 1.1.1+, currently the 'ssl' module is compiled": {[]string{"urllib3<2"}, []string{"LEGACY"}},
		kafka: {[]string{"ls /lib /usr/lib /usr/local/lib | grep rdkafka"}, []string{"ldconfig", "LD_DEBUG"}},
		"Error loading shared library libpq.so.5: No such file or directory (needed by /srv/x.so)":                                {[]string{"apk add so:libpq.so.5"}, []string{"apt-get", "ldconfig"}},
		"Error loading shared library libspam.so.5: No such file or directory (needed by /srv/x.so)":                              {[]string{"apk add so:libspam.so.5", "find / -name 'libspam.so*'"}, []string{"apt-", "ldconfig"}},
		"ImportError: Error relocating /srv/x.so: _ZNSt7__cxx1112basic_stringE: symbol not found":                                 {[]string{"strings $(find /lib /usr/lib -name 'libstdc*' | head -n 1) |"}, []string{"ldconfig"}},
		"OSError: cannot load library 'gobject-2.0-0': gobject-2.0-0: cannot open shared object file":                             {[]string{"'*/libgobject-2.0.so.0'", "so:libgobject-2.0.so.0", "grep -i gobject-2.0.so.0", "libglib2.0-0", "libpango-1.0-0"}, []string{"'*/gobject", "so:gobject"}},
		"OSError: no library called \"cairo-2\" was found":                                                                        {[]string{"'*/libcairo.so.2'"}, []string{"cairo-2"}},
		"OSError: cannot load library 'libsndfile.so': libsndfile.so: cannot open shared object file":                             {[]string{"'*/libsndfile.so.*'", "apk search 'so:libsndfile.so.*'"}, []string{"apk add"}},
		"[unixODBC][Driver Manager]Can't open lib '/opt/microsoft/msodbcsql17/lib64/libmsodbcsql-17.7.so.2.1' : file not found":   {[]string{"ldd /opt/microsoft/msodbcsql17/lib64/libmsodbcsql-17.7.so.2.1 |"}, []string{"odbcinst -q -d -n"}},
		"prog: error while loading shared libraries: libz.so.1: file too short":                                                   {[]string{"df -h /tmp"}, []string{"Lambda"}},
		"ImportError: /srv/v/site-packages/x.so: invalid ELF header":                                                              {[]string{"file /srv/v/site-packages/x.so"}, []string{"df -h", "--platform"}},
		"Error relocating /v/lib/python3.12/site-packages/pysam/x.so: statx: symbol not found":                                    {[]string{"/etc/alpine-release"}, []string{"python:3-slim"}},
		"ImportError: /v/lib/python3.12/site-packages/pysam/x.so: undefined symbol: spam_posmap":                                  {[]string{"--upgrade --force-reinstall --no-cache-dir pysam"}, nil},
		"/usr/bin/ld: cannot find -lpython3.6m":                                                                                   {[]string{"Development.Module"}, []string{"apt-file"}},
		"NameError: name '_mysql' is not defined":                                                                                 {[]string{"import MySQLdb._mysql", "--no-cache-dir"}, nil},
		"x-1-cp37-cp37m-manylinux_2_24_x86_64.whl is not a supported wheel on this platform.":                                     {[]string{"install --upgrade pip"}, nil},
		"Because x==1 has no wheels with a matching platform tag (e.g., `win_amd64`) and you require x==1":                        {[]string{"sys_platform", "required-environments", "uv add"}, []string{"-m pip"}},
		"/bin/sh: mysql_config: command not found":                                                                                {[]string{"default-libmysqlclient-dev build-essential pkg-config"}, nil},
		"ImportError: lxml.etree does not export expected C function adoptExternalDocument":                                       {[]string{"install --upgrade lxml", "'lxml|numpy"}, nil},
		"ImportError: /v/lib/python3.10/site-packages/uvloop/loop.cpython-310-x86_64-linux-gnu.so: undefined symbol: _PyGen_Send": {[]string{"install --upgrade uvloop"}, nil},
		"ImportError: /v/lib/python3.9/site-packages/uvloop/loop.cpython-39-x86_64-linux-gnu.so: undefined symbol: _PyGen_Send":   {nil, []string{"install --upgrade uvloop"}},
		"ImportError: dynamic module does not define init function (initcygrpc)":                                                  {[]string{"python2 -m pip", "grpcio"}, nil},
		"web.service: Failed at step EXEC spawning /srv/v/bin/python: Permission denied":                                          {[]string{"readlink -f /srv/v/bin/python", "sudo -u USER"}, nil},
		"web.service: Failed at step EXEC spawning /srv/v/bin/python: No such file or directory":                                  {[]string{"ls -lLZ /srv/v/bin/python"}, []string{"sudo -u"}},
	} {
		e, ok := Text(message)
		text := fmt.Sprint(e.Find)
		for _, want := range c.has {
			if !ok || !strings.Contains(text, want) {
				t.Errorf("%s\ndoes not say %s:\n%s", message, want, text)
			}
		}
		for _, no := range c.hasNot {
			if strings.Contains(text, no) {
				t.Errorf("%s\nsays %s:\n%s", message, no, text)
			}
		}
	}
}

// Where the audit tells of a fault, the explanation says so, with the place that the message names.
func TestAdvisesAudit(t *testing.T) {
	t.Parallel()
	for message, c := range map[string]struct{ check, audit string }{
		"ImportError: /v/lib/python3.11/site-packages/x.so: ELF load command address/offset not page-aligned":                                           {"loader", "/v/lib/python3.11/site-packages"},
		"ImportError: /v/lib/python3.11/site-packages/x.so: only ET_DYN and ET_EXEC can be loaded":                                                      {"loader", "/v/lib/python3.11/site-packages"},
		"ImportError: /v/lib/python3.11/site-packages/x.so: cannot dynamically load position-independent executable":                                    {"loader", "/v/lib/python3.11/site-packages"},
		"ImportError: /v/lib/python3.11/site-packages/x.so: cannot allocate memory in static TLS block":                                                 {"loader", "/v/lib/python3.11/site-packages"},
		"ImportError: /v/lib/python3.11/site-packages/x.so: ELF file OS ABI invalid":                                                                    {"loader", "/v/lib/python3.11/site-packages"},
		"ImportError: /v/lib/python3.11/site-packages/x.so: invalid ELF header":                                                                         {"modules", "/v/lib/python3.11/site-packages"},
		"ImportError: bad magic number in 'spam': b'\\x03\\xf3\\r\\n'":                                                                                  {"modules", "PREFIX-OR-VENV"},
		"EOFError: marshal data too short":                                                                                                              {"modules", "PREFIX-OR-VENV"},
		"ImportError: dynamic module does not define module export function (PyInit_spam)":                                                              {"modules", "PREFIX-OR-VENV"},
		"ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /v/site-packages/x.so)":                              {"platform", "/v/site-packages"},
		"bash: /srv/v/bin/pip: /opt/py37/bin/python3.7: bad interpreter: No such file or directory":                                                     {"environment", "/srv/v"},
		"zsh: ./pip: bad interpreter: /opt/py37/bin/python3.7: no such file or directory":                                                               {"environment", "PREFIX-OR-VENV"},
		"error: Querying Python at `/srv/v/bin/python3` failed with exit status exit status: 1":                                                         {"environment", "/srv/v"},
		"ModuleNotFoundError: No module named 'encodings'":                                                                                              {"environment", "PREFIX-OR-VENV"},
		"/opt/py/bin/python3.13: error while loading shared libraries: libpython3.13.so.1.0: cannot open shared object file: No such file or directory": {"environment", "/opt/py"},
	} {
		e, ok := Text(message)
		if !ok || !strings.Contains(fmt.Sprint(e.Checks), c.check) || !strings.Contains(fmt.Sprint(e.Find), "ampoule audit "+c.audit) {
			t.Errorf("%s\n%s %v %+v", message, e.Kind, e.Checks, e.Find)
		}
	}
}
