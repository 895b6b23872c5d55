package explain

import (
	"regexp"
	"strings"
	"sync"
)

// want is what kind of line would help, by what stands in a text that is not understood.
type want struct {
	pattern *regexp.Regexp
	says    string
}

var wants = sync.OnceValue(func() []want {
	return []want{
		{regexp.MustCompile(`Traceback \(most recent call last\)(?s:.*)\n\S*(?:Error|Exception|Warning|Exit)\b`), "the traceback's exception is the application's own, or is not known: if another traceback stands above it (\"During handling of the above exception\", \"The above exception was the direct cause\"), the last line of the first one tells most"},
		{regexp.MustCompile(`Traceback \(most recent call last\)`), "the traceback is cut off: its last line, which begins with the exception's name and a colon, tells most"},
		{regexp.MustCompile(`(?i)(?:Import|ModuleNotFound)Error`), "the whole line of the ImportError, with the path of a .so file or the module's name, and the line before it"},
		{regexp.MustCompile(`(?:^|[\s'"(])(\S+\.so[\w.]*)`), "the loader's line with that path and a reason behind it; or the output of: ldd FILE"},
		{regexp.MustCompile(`systemd\[\d+\]|\.service\b`), "the program's own last lines: journalctl -u UNIT -n 50 --no-pager"},
		{regexp.MustCompile(`(?i)\b(?:docker|container|kubelet|pod)\b`), "the program's own last lines: docker logs CONTAINER, or kubectl logs POD --previous"},
		{regexp.MustCompile(`(?i)\b(?:pip|uv|setup\.py|wheel|building)\b`), "the first line that has \"error:\", some lines above the end: python3 -m pip install -v NAME 2>&1 | grep -n -i error | head"},
		{regexp.MustCompile(`(?i)\b(?:gunicorn|uwsgi|mod_wsgi|uvicorn|worker)\b`), "the traceback in the server's log of its start, by its last line"},
	}
})

// anyLine is what helps where nothing says which program failed.
const anyLine = "give the last line of the traceback (the exception's name and what follows), the loader's line with a path (FILE.so: …), the first line with \"error:\" of pip or a compiler, the last lines of the service's log, or the output of: ldd FILE"

// maxWanted bounds the end of a text that is looked at to say what is missing, in bytes.
const maxWanted = 16 << 10

// Wanted says what kind of line would help with a text that [Text] knows nothing about.
func Wanted(text string) string {
	text = text[max(0, len(text)-maxWanted):]
	if strings.TrimSpace(text) == "" {
		return "there is no text: errors go to stderr, COMMAND 2>&1 | ampoule explain - takes them along"
	}
	text = plain(text)
	for _, w := range wants() {
		if w.pattern.MatchString(text) {
			return "what would help: " + w.says
		}
	}
	return anyLine
}
