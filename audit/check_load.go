package audit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

func init() {
	register(check{
		name:   "load",
		reason: "every extension module loads in every target, beside one Python runtime and no stray file, and distributions can be imported",
		needs:  aBuild,
		run:    checkLoad,
	})
}

// checkLoad judges the reports of loading what [Loadable] and [TopLevels] list. A module
// without a report has not been loaded.
func checkLoad(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	list, own := modules(x.Tree, x.home, x.extensions()), topLevels(x.Tree, x.home.site)
	startup, modes, err := x.startupModes()
	if err != nil {
		return out, err
	}
	for _, t := range x.Targets {
		tried := make([]loadIndex, len(modes))
		for i, mode := range modes {
			tried[i] = x.loadsOf(&out, t, mode)
		}
		for _, m := range list {
			var faults [2]*Finding
			for i, loads := range tried {
				out.examined++
				if f, ok := loads.moduleFault(m); ok {
					faults[i] = &f
				}
			}
			if f := x.startupDecides(startup, faults, len(modes)); f != nil {
				out.add(*f)
			}
		}
		for _, m := range own {
			var faults [2]*Finding
			for i, loads := range tried {
				out.examined++
				if f, ok := x.ownFault(loads, m); ok {
					faults[i] = &f
				}
			}
			if f := x.startupDecides(startup, faults, len(modes)); f != nil {
				out.add(*f)
			}
		}
	}
	return out, nil
}

// loadsOf finds the reports of one target, with startup code or without, and judges what
// was mapped.
func (x *exam) loadsOf(out *outcome, t Target, startup bool) loadIndex {
	loads := loadIndex{target: t, reports: map[loadKey]LoadReport{}, own: map[loadKey]LoadReport{}}
	for _, r := range x.Loads {
		if r.Target != t.Name || r.Startup != startup {
			continue
		}
		key := loadKey{r.Kind, r.Module, r.File, len(r.Behind) > 0}
		if r.Own {
			loads.own[key] = r
			continue
		}
		loads.reports[key] = r
		if f, ok := loads.mapFault(r); ok {
			out.add(f)
		}
	}
	return loads
}

type loadKey struct {
	kind, module, file string
	behind             bool
}

// loadIndex is the reports of one target.
type loadIndex struct {
	target Target
	// own are those of top-level modules.
	reports, own map[loadKey]LoadReport
}

// moduleFault judges one extension module. One that fails to import is a warning where the
// file itself loads, and it passes behind what requires its distribution and is named by
// the failure, or the distribution's own import passes: it fails for a reason of Python's (a
// circular import, an optional dependency). What ends its process has no such reason.
func (x loadIndex) moduleFault(m Module) (Finding, bool) {
	f := Finding{
		Severity: Refuse, File: m.File, Field: KindImport, Value: printable(m.Name), Targets: []string{x.target.Name},
		Cause:  "There is no report that the module was loaded.",
		Remedy: "Run the gate again; this is a fault of whatever loaded the modules.",
	}
	dlopen, tried := x.reports[loadKey{KindDlopen, "", m.File, false}]
	if m.Name == "" {
		f.Field = KindDlopen
		if tried {
			f.Cause, f.Remedy = "The file cannot be loaded: "+printable(dlopen.Error), loadRemedy
		}
		return f, !tried || !dlopen.OK
	}
	imported, ok := x.reports[loadKey{KindImport, m.Name, m.File, false}]
	if !ok || imported.OK {
		return f, !ok
	}
	f.Cause, f.Remedy = "The import fails: "+printable(imported.Error), loadRemedy
	loads := tried && dlopen.OK && !imported.Ended
	switch behind := x.reports[loadKey{KindImport, m.Name, m.File, true}]; {
	case loads && behind.OK:
		f.Severity = Warn
		f.Cause += " (behind " + printable(strings.Join(behind.Behind, ", ")) + " it passes)"
		f.Remedy = "Nothing, if the module is meant to be imported by what requires its distribution."
	case loads && x.distWorks(m):
		f.Severity = Warn
		f.Cause += " (the file itself loads, and its distribution can be imported)"
		f.Remedy = "Nothing, if the module is meant to be imported after others or needs an optional dependency."
	}
	return f, true
}

const loadRemedy = "See the other checks about this file; where they are silent, the distribution is broken or lacks a requirement."

// distWorks reports whether the distribution's own import passes: that of the
// module's own top-level package, or, of a top-level module, that of every other one.
func (x loadIndex) distWorks(m Module) bool {
	wanted := m.Packages
	if top, _, dotted := strings.Cut(m.Name, "."); dotted {
		if !slices.Contains(m.Packages, top) {
			return false
		}
		wanted = []string{top}
	}
	for _, p := range wanted {
		if !x.reports[loadKey{KindImport, p, "", false}].OK {
			return false
		}
	}
	return len(wanted) > 0
}

// mapFault judges what a process had mapped after loading.
func (x loadIndex) mapFault(r LoadReport) (Finding, bool) {
	f := Finding{Severity: Refuse, File: r.File, Field: "/proc/self/maps", Targets: []string{x.target.Name}}
	var stray []string
	for _, name := range r.Maps {
		if !slices.Contains(x.target.Host, path.Base(name)) {
			stray = append(stray, name)
		}
	}
	switch {
	case len(stray) > 0:
		f.Value = printable(strings.Join(stray, " "))
		f.Cause = "Loading " + printable(r.Module+r.File) + " maps files that are neither the tree's nor the target's."
		f.Remedy = "Find out what loads them, and carry or remove it."
	case r.Runtimes > 1 || r.OK && r.Runtimes != 1:
		f.Value = fmt.Sprint(r.Runtimes)
		f.Cause = fmt.Sprintf("Loading %s leaves %d Python runtimes in one process.", printable(r.Module+r.File), r.Runtimes)
		f.Remedy = "Build the module without libpython, shared or static."
	default:
		return f, false
	}
	return f, true
}
