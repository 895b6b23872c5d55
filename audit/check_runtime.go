package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "second-runtime",
		reason: "nothing but the interpreter holds a Python runtime",
		run:    checkRuntime,
	})
}

// checkRuntime refuses files that would bring a second Python into the process: what
// defines the symbols of one, and modules that hold one and hide it. No exception lets
// a module of that kind pass; programs that embed Python statically may have one.
func checkRuntime(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	exe, _ := x.Tree.Lookup(x.home.exe)
	for _, o := range x.parsed() {
		out.examined++
		if exe.SHA256 != "" && o.entry.SHA256 == exe.SHA256 || x.home.ownsLibpython(o.entry) {
			continue
		}
		defined := o.runtime
		if o.IsExecutable() && slices.ContainsFunc(o.Needed, IsLibpython) {
			// The linker copies another library's data into an executable that names it.
			defined = slices.DeleteFunc(slices.Clone(defined), func(name string) bool { return name == typeOfTypes })
		}
		switch {
		case len(defined) > 0:
			severity := Refuse
			if o.IsExecutable() {
				severity = x.travels() // a program of its own
			}
			out.add(Finding{
				Severity: severity, File: o.entry.Path, Field: "DT_SYMTAB", Value: strings.Join(defined, " "), absolute: o.isExtension(),
				Cause:  "The file defines a Python runtime of its own: beside the interpreter's a process has two, whose objects do not know each other.",
				Remedy: "Build it without a static libpython: an extension module links none.",
			})
		case o.isExtension() && !o.asks:
			hidden, err := holds(o.entry, runtimeText)
			if err != nil {
				return out, err
			}
			if hidden {
				out.add(Finding{
					Severity: Refuse, File: o.entry.Path, Field: "content", Value: runtimeText, absolute: true,
					Cause:  "The module asks nobody for anything of Python, and holds texts of a Python runtime: it brings one of its own, hidden.",
					Remedy: "Build it without a static libpython: an extension module links none.",
				})
			}
		}
	}
	return out, nil
}

// runtimeText is the name of a variable that every Python runtime looks at when it starts,
// and extension modules do not. A module that asks for nothing of Python need not hold
// one: some only call a library that does (torch), or return a table (PEP 793).
const runtimeText = "PYTHONHASHSEED"

// holds reports whether a file has a text in it.
func holds(e tree.Entry, text string) (_ bool, err error) {
	r, err := e.Content.Open()
	if err != nil {
		return false, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 1<<16)
	for kept := 0; ; {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], []byte(text)) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading %s: %w", e.Path, err)
		}
		kept = copy(buf, buf[max(0, kept+n-len(text)):kept+n])
	}
}
