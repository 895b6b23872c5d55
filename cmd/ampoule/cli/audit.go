package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ampoule/audit"
	"ampoule/audit/lint"
	"ampoule/audit/survey"
	"ampoule/cmd/ampoule/display"
	"ampoule/config"
	"ampoule/faults"
)

// The forms of results that only an audit has.
const (
	JUnit Output = "junit"
	SARIF Output = "sarif"
)

// needed says what is to be given, of what is undecided first.
func needed(report *survey.Report) string {
	for _, u := range report.Units {
		for _, f := range u.Findings {
			if f.Severity == audit.Undecided {
				return "it depends on " + display.Clean(f.Needs, false)
			}
		}
	}
	return ""
}

// softMemory is above which an audit gives memory back at once, in bytes.
const softMemory = 160 << 20

// AuditOptions are what an audit can be told.
type AuditOptions struct {
	// Against is the interpreter, environment or prefix that files are judged against.
	Against string
	// Root is the directory that stands for the root of the file system, for what belongs
	// to another system.
	Root string
	// Warnings says that the text form tells warnings, too.
	Warnings bool
	// Lint says what is told of wheels beside whether they work: "tell" tells it, "error"
	// refuses faults, too; empty is nothing. LintIgnore are the rules that are left out.
	Lint       string
	LintIgnore []string
}

func newAudit(s *Session) *cobra.Command {
	var o AuditOptions
	cmd := &cobra.Command{
		Use:   "audit TARGET",
		Short: "Looks for wheels and modules that do not fit their interpreter",
		Long: `Audit looks at everything below TARGET that pip or uv made or keeps, and says which
files cannot work with their interpreter, by what, and what to do. TARGET is a
wheel, a directory of wheels, a cache of pip's or uv's, a virtual environment, an
interpreter's prefix, a site-packages directory, a single module, a program of pex,
shiv or zipapp, an archive for AWS Lambda, or any directory above those; or an image:
a file of "docker save", an OCI layout, NAME@sha256:… of a registry (an artifact, too),
or a name that Docker has. What is found and not looked at is told.

What is installed is judged against the interpreter that imports it; wheels against
the one that --against names: its executable, its prefix, an environment of it, or an
image that has one. Without one, only what needs no interpreter is judged, and native
code is undecided.

--lint tells of each wheel, too, on how old systems it runs and what keeps it from
older ones (as auditwheel does), which Pythons its modules of the stable ABI work with
(as abi3audit), and what no wheel should have (as check-wheel-contents). That changes no
verdict, unless --lint=error asks for it.

Nothing is run, nothing is changed, and neither Docker nor a store is needed but for
images that are in them. It ends with code 4 when something is refused; with 3 when
TARGET has nothing to judge, or something in it cannot be read; with 9 when something
depends on what was not given, and the report says what and how to give it; and with 0
when nothing is any of these.`,
		Example: `  ampoule audit .venv
  ampoule audit ~/.cache/pip --against /opt/app/bin/python3.13
  ampoule audit dist/web-1.0-cp313-cp313-linux_x86_64.whl
  ampoule audit dist --lint=error --lint-ignore toplevel-file
  ampoule audit python:3.13-slim
  ampoule audit ~/.cache/pip --against web@sha256:…
  ampoule audit /srv/app/lib --root /mnt/image --output sarif > audit.sarif`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Whoever is pointed at a file of any size has other uses for the machine's memory.
			if s.LimitMemory != nil {
				s.LimitMemory(softMemory)
			}
			// Nothing of a service is needed: it looks where it is asked to.
			if cmd.Flags().Changed("server") && s.Server != config.NoService {
				c, err := s.service()
				if err != nil {
					return err
				}
				if err := hereAlone(cmd, c, "against", "root", "lint-ignore"); err != nil {
					return err
				}
				return RemoteAudit(cmd.Context(), s, c, args[0], o)
			}
			return Audit(cmd.Context(), s, args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.Against, "against", "", "the interpreter: its executable, its prefix, an environment of it, or an image")
	cmd.Flags().StringVar(&o.Root, "root", "/", "the directory that is the root of the system which TARGET belongs to")
	cmd.Flags().BoolVar(&o.Warnings, "warnings", false, "tell the worst warnings, too")
	cmd.Flags().StringVar(&o.Lint, "lint", "", "tell what wheels could do better: platform tags, stable ABI, layout; --lint=error refuses faults")
	cmd.Flags().Lookup("lint").NoOptDefVal = lintTell
	cmd.Flags().StringSliceVar(&o.LintIgnore, "lint-ignore", nil, "rules that --lint leaves out, by name")
	return cmd
}

// The values of --lint.
const (
	lintTell  = "tell"
	lintError = "error"
)

// lint is what the options ask for of linting.
func (o AuditOptions) lint() (survey.Lint, error) {
	l := survey.Lint{On: o.Lint != "", Refuse: o.Lint == lintError, Ignore: o.LintIgnore}
	if l.On && !l.Refuse && o.Lint != lintTell {
		return l, &UsageError{Verb: "ampoule audit", Err: fmt.Errorf("--lint=%s: it is %s or %s", o.Lint, lintTell, lintError)}
	}
	for _, rule := range l.Ignore {
		if !lint.HasRule(rule) {
			return l, &UsageError{Verb: "ampoule audit", Err: fmt.Errorf("--lint-ignore %s: there is no such rule", rule)}
		}
	}
	return l, nil
}

// Audit judges what is at a path, or in an image, and writes the report in the session's
// form.
func Audit(ctx context.Context, s *Session, target string, o AuditOptions) (err error) {
	t := survey.Target{Name: target}
	if t.Lint, err = o.lint(); err != nil {
		return err
	}
	if o.Root == "/" {
		t.CPU = cpuLevel()
	}
	image, path, err := s.place(ctx, target, o.Root, &t.Files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	t.Path = path
	if o.Against != "" {
		against, path, err := s.place(ctx, o.Against, o.Root, &t.AgainstFiles)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, against.Close()) }()
		if err := against.only(o.Against); err != nil {
			return err
		}
		t.Against = path
		if path == "/" {
			if t.Against, err = survey.FirstInterpreter(t.AgainstFiles); err != nil {
				return fmt.Errorf("auditing against %s: %w", o.Against, err)
			}
		}
	}
	report, err := image.look(ctx, t)
	if err != nil {
		return err
	}
	// What is not this machine's is not below its working directory.
	if t.Files == survey.Machine("/") {
		report.Base = workingDirectory()
	}
	return s.tellReport(report, o)
}

// tellReport writes a report in the session's form. The error is what it ends with.
func (s *Session) tellReport(report *survey.Report, o AuditOptions) (err error) {
	s.answered = true
	switch s.Output {
	case JSON:
		err = report.WriteJSON(s.Out)
	case JUnit:
		err = report.WriteJUnit(s.Out)
	case SARIF:
		err = report.WriteSARIF(s.Out, thisVersion().Version)
	default:
		columns := display.Columns(s.Out)
		wrap := func(text, indent string) string { return display.Wrap(text, indent, columns) }
		err = report.WriteText(s.Out, survey.TextOptions{Warnings: o.Warnings, Wrap: wrap})
	}
	return cmp.Or(err, outcome(report))
}

// outcome is the error that a report ends with; nil if it passed.
func outcome(report *survey.Report) error {
	target := display.Clean(report.Target, false)
	switch report.Outcome {
	case survey.Passed:
		return nil
	case survey.Refused:
		return faults.New(faults.Refused, "", "%s: the audit refuses %d of what is in it", target, report.Count(audit.Refuse))
	case survey.Incomplete:
		first := report.Unread[0]
		return faults.New(faults.Input, "", "%s", display.Clean(fmt.Sprintf("%s could not be read: %s", first.Path, first.Why), false))
	case survey.Faulty:
		return faults.New(faults.Refused, "--lint-ignore RULE leaves a rule out; --lint alone refuses nothing",
			"%s: lint finds faults in %d of the wheels in it", target, report.LintRefused())
	case survey.Undecided:
		return faults.New(faults.Undecided, needed(report), "%s: %d of what is in it cannot be decided", target, report.Count(audit.Undecided))
	}
	return nil
}

// workingDirectory is without links, as paths of reports are; empty where it is not known.
func workingDirectory() string {
	dir, err := os.Getwd()
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return ""
	}
	return dir
}

// place finds the file system that a target is in, and where in it: an image's root, or a
// path below root.
func (s *Session) place(ctx context.Context, target, root string, files *survey.Files) (*imageFiles, string, error) {
	image, err := openImage(ctx, s, target, root)
	if err != nil {
		return nil, "", err
	}
	if image != nil {
		*files = image.Files
		return image, "/", nil
	}
	if volume := filepath.VolumeName(target); root == "/" && volume != "" {
		root = volume + string(filepath.Separator) // Windows has a root for each
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, "", fmt.Errorf("auditing %s: %w", target, err)
	}
	*files = survey.Machine(root)
	path, err := inRoot(root, target)
	if err != nil {
		return nil, "", fmt.Errorf("auditing %s: %w", target, err)
	}
	return &imageFiles{}, path, nil
}

// inRoot is the absolute path of a file in the system below a root: absolute paths are
// that system's, others are this one's working directory's.
func inRoot(root, path string) (string, error) {
	if filepath.IsAbs(path) && filepath.VolumeName(path) == "" {
		return filepath.ToSlash(path), nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return "", &UsageError{Verb: "ampoule audit", Err: fmt.Errorf("%s is not below --root %s", path, root)}
	}
	return "/" + filepath.ToSlash(rel), nil
}
