package explain

import "strconv"

// numpyKinds are what numpy, and what was compiled against it, says of itself; and what
// others say of a processor that is too old for them.
var numpyKinds = []kind{
	{"cpu-baseline", cause, `NumPy was built with baseline optimizations:?[^\n]*|(?P<tf>The TensorFlow library was compiled to use (?P<tfwant>\S+) instructions, but these aren't available)|Missing required CPU features(?s:.{0,200}?detected:\s*(?P<polars>[\w, .]+))?|This version of jaxlib was built using (?P<jax>\S+) instructions|(?:was compiled with|requires|built for) (?P<other>AVX\w*|SSE4\S*) (?:instructions|support)[^\n]{0,60}(?:not (?:supported|available)|does not)|your machine doesn't support`, told(Explanation{
		Means:    "The library looked at the processor before it began, and this one lacks instructions that it was compiled for ({tfwant,polars,jax,other|its baseline, such as X86_V2 or AVX}): an old processor, or a virtual machine whose processor type (qemu64, kvm64) hides them.",
		Find:     []Step{run("lscpu | grep -i -E 'model name|hypervisor|flags' | cut -c -400; /lib64/ld-linux-x86-64.so.2 --help | grep supported", "what the processor shows, and its level: in a virtual machine choose the processor type host"), look("polars has builds for old processors (polars-lts-cpu, or polars[rtcompat]); others have older releases, or have to be compiled for this one (NPY, -Dcpu-baseline=none for numpy).")},
		Prevents: "runtime.vm.cpu in the recipe names the lowest level, wheels are compiled for that, and the gate refuses files that say they need more; the recipe's tests import them.",
	})},
	{"numpy-abi", cause, `(?P<type>\w+(?:\.\w+)+) size changed, may indicate binary incompatibility(?:\. Expected (?P<header>\d+) from C header, got (?P<object>\d+))?|module (?:was )?compiled against (?:ABI|API|NumPy C-API) version(?: 0x(?P<want>[0-9a-f]+) but this version of numpy is 0x(?P<have>[0-9a-f]+))?|compiled using NumPy 1\.x|_ARRAY_API not found|RuntimeError: Numpy is not available|does not appear to be the correct type object|numpy\.ndarray has the wrong size|(?P<mlp>\w+(?:\.\w+)+) has the wrong size, try recompiling`, numpyABI},
	{"numpy-older", cause, `Check failed: PyBfloat16_Type\.tp_base != nullptr`, told(Explanation{
		Means:    "TensorFlow (or another that defines bfloat16 for numpy) did not get numpy's C interface: it was compiled for a newer numpy than the one that is taken, of which there may be two.",
		Find:     []Step{run("python3 -m pip install --upgrade numpy", "numpy is the older side; a release before TensorFlow's limit, where pip names one"), run("python3 -c 'import numpy; print(numpy.__version__, numpy.__file__)'; python3 -m pip list | grep -i -E 'numpy|tensorflow'", "which one is taken: an older copy (a distribution's dist-packages, ~/.local) may come first")},
		Prevents: lockedNumpy,
	})},
	{"numba-numpy", cause, `initialization of _internal failed without raising an exception|Numba needs NumPy (?P<want>[\d.]+) or (?P<side>less|greater)`, told(Explanation{
		Means:    "numba takes the releases of numpy that it was made for ({want,side|up to a limit}), and the one here is of after that: 0.56 takes numpy up to 1.23, 0.57 up to 1.24, 0.58 up to 1.26, and 0.60 takes 2.0. Where its check does not tell, its native part does not initialize.",
		Find:     []Step{run("python3 -m pip install --upgrade numba", "the newest one, which takes the newest numpy but one; or the numpy of numba's time, python3 -m pip install 'numpy<1.24'"), run("python3 -m pip list | grep -i -E '^(numpy|numba|llvmlite) '", "what is installed")},
		Prevents: lockedSet,
	})},
	{"numpy-interface", cause, `(?P<module>numpy\.(?:_?core)\.(?:multiarray|umath)) failed to import`, told(Explanation{
		Means: "An extension module asked numpy for its C interface ({module}) and did not get it: the module was compiled for NumPy 1 and NumPy 2 is installed, or for a newer NumPy than the installed one; or numpy itself does not import.",
		Find: []Step{
			run("python3 -c 'import numpy; print(numpy.__version__, numpy.__file__)'", "whether numpy itself imports, which one, and from where"),
			run("python3 -m pip install 'numpy<2'", "where the module was compiled for NumPy 1 and numpy itself imports; a newer release of the module takes NumPy 2"),
			look("The traceback's last line in site-packages is of the distribution that was compiled for another one."),
		},
		Prevents: lockedNumpy,
	})},
	{"numpy-extension", consequence, `(?i)Importing the numpy C-extensions failed|Error importing numpy: you should not try to import numpy from\s+its source directory`, told(Explanation{
		Means: "numpy's own extension modules do not load. numpy says that of any reason: the true one stands further down, behind \"Original error was\", and was not in this text or is nothing that is known here.",
		Find: []Step{
			run("python3 -c 'import numpy' 2>&1 | grep -A 2 'Original error'", "the true error: give that to ampoule explain"),
			run("find DIR -path '*numpy*' -name '*.so'", "whether the names are for this version of Python and this machine: a directory that was copied from another one, or filled for another Python, is the usual cause"), audited,
		},
		Prevents: sealed,
		Checks:   []string{"tags", "closure", "symbols"},
	})},
	{"cpu-hint", notice, `This TensorFlow binary is optimized (?:to use|with)|Your CPU supports instructions that this TensorFlow binary was not compiled to use|oneDNN custom operations are on`, told(Explanation{
		Means:    "TensorFlow says which instructions of this processor it uses, or could. It is no fault, and nothing is to be done.",
		Find:     []Step{run("TF_CPP_MIN_LOG_LEVEL=2 PROGRAM", "without these lines")},
		Prevents: "Nothing has to.",
	})},
	{"hdf5-version", cause, `HDF5 library version mismatched error|h5py is running against HDF5 (?P<run>[\d.]+) when it was built against (?P<built>[\d.]+)|The HDF5 header files used to compile this application`, told(Explanation{
		Means:    "Two releases of HDF5 are in one process: h5py, netCDF4 or tables was compiled for {built|one} and {run|another} was loaded before it, from another wheel, from conda, or by LD_LIBRARY_PATH.",
		Find:     []Step{run("python3 -c 'import h5py; print(h5py.version.info)'; pip list | grep -i -E 'h5py|netcdf|tables|tensorflow'; echo \"$LD_LIBRARY_PATH\"", "what it was built with and runs with, and who else brings an HDF5"), run("pip install --force-reinstall --no-binary h5py h5py", "compiles it against the HDF5 that is here")},
		Prevents: ownLibraries,
	})},
	{"geos-version", notice, `Shapely GEOS version \((?P<shapely>[^)\n]+)\) is incompatible with the (?:GEOS version )?PyGEOS[^\n(]*\((?P<pygeos>[^)\n]+)\)|DATABASE\.LAYOUT\.VERSION\.MINOR = (?P<have>\d+) whereas a number >= (?P<want>\d+) is expected|Cannot find proj\.db|Valid PROJ data directory not found|[Nn]o database context specified|PROJ: internal_proj_\w+|Unable to open EPSG support file|Python bindings of GDAL (?P<bindings>[\d.]+) require at least libgdal (?P<libgdal>[\d.]+)`, told(Explanation{
		Means:    "PROJ, GDAL or GEOS of one release reads data, or meets a copy, of another: PROJ_LIB, PROJ_DATA or GDAL_DATA names another installation's directory (PostGIS', conda's, QGIS'), or several wheels bring libraries of different releases along.",
		Find:     []Step{run("env | grep -E '^(PROJ|GDAL)_'; python3 -c 'import pyproj; print(pyproj.proj_version_str, pyproj.datadir.get_data_dir())'; gdal-config --version", "variables to unset, and the data that is taken; the distribution GDAL has to be of the library's release: pip install GDAL==$(gdal-config --version)")},
		Prevents: ownLibraries,
	})},
}

// numpyABI is about a module that was compiled for other types than those that are there.
func numpyABI(v values) Explanation {
	owner, rule := "numpy", ": numpy's ABI changes with its major versions, and modules run with the one they were compiled against or later ones of its range"
	mend := run("python3 -m pip install 'numpy<2'", "where the module is of before NumPy 2; otherwise a newer release of the module, or the module compiled anew (--no-binary)")
	if kind := v.of("type", "mlp"); kind != "" && !begins(kind, "numpy.") {
		owner, rule = "release of what defines "+kind, ""
		mend = look("Install both of one time: a newer release of the module, or the older one of what defines the type.")
	}
	if v.newerNumpy() {
		return Explanation{
			Means: "The module was compiled against a newer numpy than the one that is installed: modules run with the numpy that they were compiled against and with later ones of its range, and not with earlier ones.",
			Find: []Step{
				run("python3 -m pip install --upgrade numpy", "numpy is the older side; where something else pins it, an older release of the module, or the module compiled anew against this numpy"),
				run("python3 -m pip check; python3 -m pip list | grep -i numpy; python3 -c 'import numpy; print(numpy.__version__, numpy.__file__)'", "what pins numpy, and which one is taken: an older copy (a distribution's dist-packages, ~/.local) may come first"),
				look("The traceback's last line in site-packages, before the message, is of the distribution that was compiled so."),
			},
			Prevents: lockedNumpy,
		}
	}
	return Explanation{
		Means: "The module was compiled against another " + owner + " than the one that is installed" + rule + ".",
		Find: []Step{
			run("python3 -m pip list | grep -i -E 'numpy|scipy|pandas|scikit|opencv|greenlet|gevent'", "what is installed, beside what that distribution's release says it wants"),
			mend,
			look("The traceback's last line in site-packages, before the message, is of the distribution that was compiled so."),
		},
		Prevents: lockedNumpy,
	}
}

// newerNumpy reports whether the message says that the module was compiled against a newer
// numpy than the one that is installed. Versions of its API and ABI grow. The size of an
// array grew with numpy 1.20 and that of a ufunc with 1.22; that of a dtype shrank with 2.0.
func (v values) newerNumpy() bool {
	if want, err := strconv.ParseUint(v.of("want"), 16, 64); err == nil {
		have, err := strconv.ParseUint(v.of("have"), 16, 64)
		return err == nil && want > have
	}
	header, err := strconv.Atoi(v.of("header"))
	object, err2 := strconv.Atoi(v.of("object"))
	if err != nil || err2 != nil {
		return false
	}
	switch v.of("type") {
	case "numpy.ndarray", "numpy.ufunc":
		return header > object
	case "numpy.dtype":
		return header < object
	}
	return false
}
