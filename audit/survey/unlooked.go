package survey

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"ampoule/audit"
)

// Unlooked is what an audit found and did not look at: the first of its kind, and how many
// there are.
type Unlooked struct {
	Path  string `json:"path"`
	Why   string `json:"why"`
	Count int    `json:"count"`
}

// leave notes something that is not looked at.
func (s *search) leave(path, why string) {
	if s.left == nil {
		s.left = map[string]*Unlooked{}
	}
	if one := s.left[why]; one != nil {
		one.Count++
		one.Path = min(one.Path, path)
		return
	}
	s.left[why] = &Unlooked{path, why, 1}
}

// The reasons for which something is not looked at.
const (
	whyKernels  = "the kernel makes up what is in it"
	whySpecial  = "it is neither a file nor a directory"
	whyArchive  = "what is in an archive is not looked into; name it as the target"
	whyLoose    = "a module outside every directory of distributions, and of no interpreter or of several that were found; name it as the target, with --against"
	whyTooMany  = "of modules outside every directory of distributions only so many are judged"
	whyBare     = "an environment in which no directory of distributions is, or links to one lead nowhere: nothing is installed in it"
	whyEditable = "how an editable installation is imported is not known; name its directory as the target, with --against"
)

// unlooked lists what was left.
func (s *search) unlooked() []Unlooked {
	list := []Unlooked{}
	for _, why := range slices.Sorted(maps.Keys(s.left)) {
		list = append(list, *s.left[why])
	}
	return list
}

// absent notes what is at a path where there is neither a file nor a directory.
func (s *search) absent(p string) {
	if m, ok := machineOf(s.files); ok {
		if _, err := m.entry(p); errors.As(err, &specialError{}) {
			s.leave(show(p), whySpecial)
		}
	}
}

// text is how one is told.
func (u Unlooked) text() string {
	more := ""
	if u.Count > 1 {
		more = fmt.Sprintf(" and %d more", u.Count-1)
	}
	return fmt.Sprintf("%s%s (%s)", audit.Printable(u.Path), more, audit.Printable(u.Why))
}

// writeUnlooked tells what was not looked at.
func (r *Report) writeUnlooked(w io.Writer) {
	for i, u := range r.Unlooked {
		if i == shown {
			fmt.Fprintf(w, "… and %d more kinds that were not looked at\n", len(r.Unlooked)-shown)
			break
		}
		fmt.Fprintf(w, "not looked at: %s\n", u.text())
	}
}

// Part is a report about one of several things that a target has.
type Part struct {
	Name   string
	Report *Report
}

// Join makes one report of those about several images of a target. Paths begin with the image's
// name and a colon.
func Join(target string, parts []Part) *Report {
	all := &Report{Schema: Schema, Target: target, Units: []Unit{}, Unread: []Unread{}, Unlooked: []Unlooked{}}
	for _, p := range parts {
		in := func(path string) string { return p.Name + ":" + path }
		all.lint = p.Report.lint
		for _, u := range p.Report.Units {
			for i, f := range u.Findings {
				if u.Kind != KindWheel && f.File != "" {
					u.Findings[i].File = in(f.File)
				}
			}
			u.Path = in(u.Path)
			all.Units = append(all.Units, u)
		}
		for _, u := range p.Report.Unread {
			all.Unread = append(all.Unread, Unread{in(u.Path), u.Why})
		}
		for _, u := range p.Report.Unlooked {
			all.Unlooked = append(all.Unlooked, Unlooked{in(u.Path), u.Why, u.Count})
		}
	}
	slices.SortStableFunc(all.Units, func(a, b Unit) int { return cmp.Compare(a.Path, b.Path) })
	all.decide()
	return all
}
