package explain

import (
	"strings"
	"testing"
)

// A message is found, and shown without them, behind the prefixes of loggers.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	const message = "ImportError: libpq.so.5: cannot open shared object file: No such file or directory"
	for name, text := range map[string]string{
		"docker compose":           "web-1  | " + message,
		"docker compose, coloured": "\x1b[36mweb-1  |\x1b[0m " + message,
		"docker compose of before": "my_project_web_1        | 2026-11-28 08:00:01,123 " + message,
		"foreman":                  "08:00:01 web.1  | " + message,
		"journald":                 "Nov 28 08:00:01 host gunicorn[12]: " + message,
		"journald, padded day":     "Nov  8 08:00:01 host.company gunicorn-3.11[12]: " + message,
		"journald, ISO":            "2026-11-28T08:00:01+0000 host gunicorn[12]: " + message,
		"journald of rsyslog":      "2026-11-28T08:00:01.123456+01:00 host python3[12]: [web] " + message,
		"GitHub":                   "2026-11-28T08:00:01.1234567Z " + message,
		"GitHub's annotation":      "2026-11-28T08:00:01.1234567Z ##[error]" + message,
		"GitLab":                   "\x1b[0K\x1b[31;1m" + message + "\x1b[0;m",
		"Jenkins":                  "[2026-11-28T08:00:01.123Z] " + message,
		"BuildKit":                 "#12 3.456 " + message,
		"Kubernetes":               "2026-11-28T08:00:01.123456789Z stderr F " + message,
		"klog":                     "E1128 08:00:01.123456       1 main.go:12] " + message,
		"Heroku":                   "2026-11-28T08:00:01.123456+00:00 app[web.1]: " + message,
		"gunicorn":                 "[2026-11-28 08:00:01 +0000] [12] [ERROR] " + message,
		"uWSGI":                    "Sat Nov 28 08:00:01 2026 - " + message,
		"Apache":                   "[Sat Nov 28 08:00:01.123456 2026] [wsgi:error] [pid 12:tid 34] [client 192.0.2.1:4711] " + message,
		"pip's frame":              "      │ " + message,
		"docker's JSON":            `{"log":"` + message + `\n","stream":"stderr","time":"2026-11-28T08:00:01.123456789Z"}`,
		"an application's JSON":    `{"level": "error", "n": 1, "a": [null, {"b": true}], "message": "` + message + `", "time": "2026-11-28T08:00:01Z"}`,
		"JSON in JSON":             `{"log":"{\"severity\":\"ERROR\",\"exc_info\":\"Traceback (most recent call last):\\n  File \\\"x.py\\\", line 1\\n` + message + `\"}\n","stream":"stderr"}`,
		"Ansible":                  `fatal: [web]: FAILED! => {"changed": false, "module_stderr": "Traceback (most recent call last):\n  File \"x.py\", line 1\n` + message + `\n", "rc": 1}`,
		"a traceback in one line":  `ERROR b'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n` + message + `\n'`,
		"Windows' line ends":       "starting\r\n" + message + "\r\nended\r\n",
	} {
		e, ok := Text("first line\n" + text + "\nlast line")
		if !ok || e.Kind != "missing-library" || e.Message != message {
			t.Errorf("%s: %t %q %s", name, ok, e.Message, e.Kind)
		}
	}
}

// What looks like a prefix and is the message stays.
func TestNoPrefix(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"python3: symbol lookup error: /srv/x.so: undefined symbol: foo",
		"/usr/bin/env: 'python': No such file or directory",
		"-- unavailable modifier requested: 0 --",
		"[unixODBC][Driver Manager]Can't open lib 'X' : file not found",
		`{"not JSON: libpq.so.5`,
		"name = {\"a\": 1",
	} {
		if got := plain(line); got != line+"\n" {
			t.Errorf("%q became %q", line, got)
		}
	}
}

// Lines that a log has around a message are kept, in their order.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	got := plain("a | one\nb | two\n{\"msg\":\"three four\",\"x\":\"y\"}\nfive")
	if want := "one\ntwo\n\nthree four\nfive\n"; got != want {
		t.Errorf("%q", got)
	}
	if got := plain(strings.Repeat("{\"a\":", 10000)); len(got) != 50001 {
		t.Errorf("%d bytes", len(got))
	}
}
