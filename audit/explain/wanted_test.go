package explain

import (
	"strings"
	"testing"
)

// What is not understood is asked for the line that would help.
func TestWanted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":      "2>&1",
		"  \n ": "2>&1",
		"hello": "the last line of the traceback",
		"Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    f()":                "cut off",
		"Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    f()\nKeyError: 'a'": "first one",
		"ImportError while importing test module":                                                          "path of a .so",
		"something about /srv/x.so failed":                                                                 "ldd FILE",
		"Nov 28 08:00:01 host systemd[1]: web.service: Succeeded.":                                         "journalctl",
		"the container stopped": "docker logs",
		"pip did something":     "error:",
		"[2024-01-09 13:24:39 +0000] [1637] [INFO] Booting worker with pid: 1":                                         "server's log",
		strings.Repeat("x ", maxWanted) + "\nTraceback (most recent call last):\n  File \"x.py\", line 1, in <module>": "cut off",
	} {
		if got := Wanted(text); !strings.Contains(got, want) {
			t.Errorf("%.80q: %s", text, got)
		}
	}
}
