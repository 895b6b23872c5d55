package explain

import (
	"strings"
	"testing"
)

// However often words stand in a text, a pattern is looked for in some windows of bounded
// size: the first ones and the last ones.
func TestWindows(t *testing.T) {
	t.Parallel()
	l := literals{"spam", "no spam"}
	for name, text := range map[string]string{
		"empty":             "",
		"none":              strings.Repeat("eggs ", 10000),
		"one":               "a\nb\nc\nSPAM\nd",
		"on every line":     strings.Repeat("no spam here\n", 100000),
		"in one line":       strings.Repeat("no spam ", 100000),
		"in long lines":     strings.Repeat(strings.Repeat("x", 9000)+"spam\n", 100),
		"at both ends":      "spam" + strings.Repeat("x\n", 100000) + "spam",
		"nothing but lines": "spam" + strings.Repeat("\n", 100000),
	} {
		s := newSource(text)
		windows := l.windows(s)
		if len(windows) > 2*maxWindows || (len(windows) == 0) != !strings.Contains(s.lower, "spam") {
			t.Errorf("%s: %d windows", name, len(windows))
		}
		for i, w := range windows {
			if w.from > w.to || w.to-w.from > bytesBefore+bytesAfter+len("no spam") || !strings.Contains(s.lower[w.from:w.to], "spam") {
				t.Errorf("%s: %v", name, w)
			}
			if i > 0 && windows[i-1].from > w.from {
				t.Errorf("%s: %v before %v", name, windows[i-1], w)
			}
		}
		if n := len(windows); n > 0 && !strings.Contains(s.lower[windows[n-1].to:], "spam") == false {
			t.Errorf("%s: the last one is not looked at", name)
		}
	}
}

// A window is the line that the words stand in, and some lines around.
func TestWindowOfLines(t *testing.T) {
	t.Parallel()
	text := "1\n2\n3\n4 spam\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n"
	w := literals{"spam"}.windows(newSource(text))
	if len(w) != 1 || text[w[0].from:w[0].to] != "2\n3\n4 spam\n5\n6\n7\n8\n9\n10\n11\n12\n" {
		t.Errorf("%v %q", w, text[w[0].from:w[0].to])
	}
}

// Of what a text says, the cause is told before what fails for want of it, and both before a warning.
func TestRanks(t *testing.T) {
	t.Parallel()
	const (
		warning = "WARNING: Ignoring invalid distribution ~umpy (/srv/v/lib/python3.11/site-packages)\n"
		follows = "unable to load app 0 (mountpoint='') (callable not found or import error)\n*** no app loaded. GAME OVER ***\n"
		ended   = "Segmentation fault (core dumped)\n"
		other   = "ModuleNotFoundError: No module named 'spam'\n"
		why     = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory\n"
	)
	filler := strings.Repeat("2026-11-28 08:00:01,123 INFO nothing happens\n", 2000)
	for text, want := range map[string]string{
		warning:                                   "invalid-distribution",
		warning + ended:                           "segmentation-fault",
		ended + warning + follows:                 "application-not-loaded",
		warning + follows + other:                 "module-not-found",
		warning + other + why + follows + ended:   "missing-library",
		filler + warning + filler + why + filler:  "missing-library",
		why + filler + follows + filler + warning: "missing-library",
	} {
		if e, ok := Text(text); !ok || e.Kind != want {
			t.Errorf("%d bytes: %s and not %s: %s", len(text), e.Kind, want, e.Message)
		}
	}
}

// A word that stands often far from the message does not hide it.
func TestWordsElsewhere(t *testing.T) {
	t.Parallel()
	noise := strings.Repeat("debug: open shared object file cache, undefined symbol table of 3 entries\n", 5000)
	e, ok := Text(noise + "ImportError: /srv/x.so: undefined symbol: EVP_idea_cbc\n")
	if !ok || e.Kind != "undefined-symbol" {
		t.Errorf("%t %s", ok, e.Kind)
	}
}
