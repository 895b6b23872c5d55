package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"ampoule/audit"
	"ampoule/tree"
)

// readAll reads a member that RECORD does not hash.
func readAll(m audit.WheelMember, limit int64) ([]byte, error) {
	if m.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("%d bytes are more than %d", m.UncompressedSize64, limit)
	}
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

// shebang is the first line of scripts: the interpreter beside the script runs it,
// wherever both are. It is what ampoule_relocate.py writes, which explains it.
const shebang = `#!/usr/bin/env -S sh -c 'exec "$(dirname -- "$(realpath -- "$0")")/%s" %s"$0" "$@"'` + "\n"

// maxFirstLine is how much of a script is looked at for its first line, in bytes.
const maxFirstLine = 4096

// plain matches interpreters' names and their options that may stand in a first line.
var plain = regexp.MustCompile(`^[A-Za-z0-9._+=,:/@%-]+$`)

// relocated gives a script in bin its relocatable first line, if it has one that names the
// interpreter: "#!python", of whatever spelling, in the scripts of a wheel, and the
// interpreter's place in any.
func (u *unpacking) relocated(e tree.Entry, member string, isScript bool) (tree.Entry, error) {
	first, err := firstLine(e)
	if err != nil {
		return e, u.refuse(member, err.Error(), "")
	}
	var line string
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	switch {
	case isScript && strings.HasPrefix(first, "#!python"):
		line = fmt.Sprintf(shebang, u.in.Executable, "")
	case strings.HasPrefix(first, "#!/"+u.in.Prefix+"/bin/") && plain.MatchString(strings.Join(words, "")):
		options := ""
		for _, option := range words[1:] {
			options += option + " "
		}
		line = fmt.Sprintf(shebang, path.Base(words[0]), options)
	default:
		return e, nil
	}
	data, err := u.read(member, maxScript)
	if err != nil {
		return e, err
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	return e.Replace(append([]byte(line), rest...)), nil
}

// firstLine returns a file's first line, if it begins with "#!".
func firstLine(e tree.Entry) (string, error) {
	r, err := e.Content.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	text := bufio.NewReaderSize(r, maxFirstLine)
	start, err := text.Peek(maxFirstLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if !bytes.HasPrefix(start, []byte("#!")) {
		return "", nil
	}
	first, _, _ := bytes.Cut(start, []byte("\n"))
	return string(first), nil
}

// script is a script that an entry point stands for.
type script struct{ module, attribute string }

// text is what pip's distlib writes, as of CPython 3.13's. The module and the attribute are
// identifiers with dots: nothing else can stand in it.
func (s script) text(in Interpreter) []byte {
	imported, _, _ := strings.Cut(s.attribute, ".")
	return fmt.Appendf(nil, shebang+`# -*- coding: utf-8 -*-
import re
import sys
from %s import %s
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])
    sys.exit(%s())
`, in.Executable, "", s.module, imported, s.attribute)
}
