package audit

import (
	"context"
	"path"
	"strings"
)

func init() {
	register(check{
		name:   "rpath",
		reason: "RPATH and RUNPATH begin with $ORIGIN and stay inside the tree",
		run:    checkRpath,
	})
}

func checkRpath(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, o := range x.parsed() {
		if x.found && o.entry.Owner == OwnerInterpreter {
			continue // it found its libraries when it was installed
		}
		for _, search := range []struct {
			field string
			value *string
		}{{"DT_RPATH", o.RPath}, {"DT_RUNPATH", o.RunPath}} {
			if search.value == nil {
				continue
			}
			if *search.value == "" {
				continue // the loader passes over it
			}
			for _, element := range strings.Split(*search.value, ":") {
				out.examined++
				if f, ok := x.elementFault(o, element); ok {
					f.File, f.Field = o.entry.Path, search.field
					out.add(f)
				}
			}
		}
	}
	return out, nil
}

// elementFault judges one element of a search path. An absolute directory in an accepted
// foreign wheel is dead weight and a warning, unless others may write there; of what is found
// every element is: whether the libraries are found is the business of the check closure.
func (x *exam) elementFault(o *object, element string) (Finding, bool) {
	f := Finding{
		Severity: Refuse, Value: printable(element),
		Remedy: words(x.found, "Link with an RPATH of $ORIGIN and what lies below the tree's root, or with none.", "Take a release whose search path begins with $ORIGIN, or set it in the file (patchelf --set-rpath)."),
	}
	if x.found {
		f.Severity = Warn
	}
	switch rest, ok := cutOrigin(element); {
	case ok && strings.Contains(rest, "$"):
		f.Cause = "What the element means depends on the machine."
	case ok && x.staysInside(o.entry.Path, rest):
		return f, false
	case ok:
		f.Cause = "The search path leaves the tree."
		f.Severity = x.travels()
	case element == "":
		f.Cause = "An empty element makes ld.so search the working directory."
	case !path.IsAbs(element):
		f.Cause = "The element is relative to the working directory."
	case writableByOthers(element):
		f.Severity = x.travels()
		f.Cause = "Other users may put libraries into the directory."
	default:
		f.Cause = "The directory is outside " + words(x.found, "the tree", "the distribution") + ": it exists where the file was built, or by chance."
		if x.foreign(o.entry.Owner) {
			f.Severity = Warn
		}
	}
	return f, true
}

// cutOrigin returns what follows $ORIGIN or ${ORIGIN} at the start of an element.
func cutOrigin(element string) (string, bool) {
	for _, token := range []string{"${ORIGIN}", "$ORIGIN"} {
		if rest, ok := strings.CutPrefix(element, token); ok && (rest == "" || rest[0] == '/') {
			return rest, true
		}
	}
	return "", false
}

// staysInside reports whether a path below a file's directory never leaves the
// tree: neither as it is written nor through links.
func (x *exam) staysInside(file, rest string) bool {
	at := path.Dir(file)
	for _, part := range strings.Split(rest, "/") {
		if part == ".." && at == "." {
			return false
		}
		at = path.Join(at, part)
		e, ok := x.Tree.Lookup(at)
		if !ok || e.Link == "" {
			continue
		}
		target, ok := x.Tree.Resolve(at)
		if !ok {
			return false
		}
		at = target.Path
	}
	return true
}

// writableByOthers reports whether a directory is one of those where everyone may write.
func writableByOthers(dir string) bool {
	for _, shared := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run/lock"} {
		if clean := path.Clean(dir); clean == shared || strings.HasPrefix(clean, shared+"/") {
			return true
		}
	}
	return false
}
