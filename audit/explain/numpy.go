package explain

import "regexp"

const lockedNumpy = "Ampoule's lock pins build requirements, numpy among them, and a wheel's key covers them: another numpy compiles it anew."

// numpyKinds are what numpy, and what was compiled against it, says of itself.
var numpyKinds = []kind{
	{regexp.MustCompile(`(?P<type>\w+(?:\.\w+)+) size changed, may indicate binary incompatibility|module (?:was )?compiled against (?:ABI|API|NumPy C-API) version|compiled using NumPy 1\.x|_ARRAY_API not found`), func(v values) Explanation {
		owner, rule := "numpy", ": numpy's ABI changes with its major versions, and modules run with the one they were compiled against or later ones of its range"
		if kind := v.of("type"); kind != "" && !begins(kind, "numpy.") {
			owner, rule = "release of what defines "+kind, ""
		}
		return Explanation{
			Means: "The module was compiled against another " + owner + " than the one that is installed" + rule + ".",
			Find: []Step{
				look("The traceback's last line in site-packages, before the message, is of the distribution that was compiled so."),
				run("pip list | grep -i numpy", "what is installed, beside what that distribution's release says it wants"),
			},
			Prevents: lockedNumpy,
		}
	}},
	{regexp.MustCompile(`(?P<module>numpy\.(?:_?core)\.(?:multiarray|umath)) failed to import`), func(v values) Explanation {
		return Explanation{
			Means: "An extension module asked numpy for its C interface (" + v.of("module") + ") and did not get it: the module was compiled for NumPy 1 and NumPy 2 is installed, or for a newer NumPy than the installed one; or numpy itself does not import.",
			Find: []Step{
				run("python3 -c 'import numpy; print(numpy.__version__, numpy.__file__)'", "whether numpy itself imports, which one, and from where"),
				look("The traceback's last line in site-packages is of the distribution that was compiled for another one."),
			},
			Prevents: lockedNumpy,
		}
	}},
	{regexp.MustCompile(`(?i)Importing the numpy C-extensions failed`), always(Explanation{
		Means: "numpy's own extension modules do not load. numpy says that of any reason: the true one stands further down, behind \"Original error was\", and was not in this text or is nothing that is known here.",
		Find: []Step{
			run("python3 -c 'import numpy' 2>&1 | grep -A 2 'Original error'", "the true error: give that to ampoule explain"),
			run("find DIR -path '*numpy*' -name '*.so'", "whether the names are for this version of Python and this machine"),
		},
		Prevents: sealed,
		Checks:   []string{"tags", "closure", "symbols"},
	})},
}
