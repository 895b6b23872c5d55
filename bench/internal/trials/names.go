package trials

// pkg is a distribution that people install often.
type pkg struct {
	name string
	// imports are the modules whose import proves it, native ones where it has some.
	imports []string
}

// packages are those that people install most among the ones with native code,
// roughly in the order of what building them costs, so that early results come soon.
var packages = []pkg{
	{"MarkupSafe", []string{"markupsafe._speedups"}},
	{"mmh3", []string{"mmh3"}},
	{"wrapt", []string{"wrapt._wrappers"}},
	{"psutil", []string{"psutil"}},
	{"msgpack", []string{"msgpack._cmsgpack"}},
	{"charset-normalizer", []string{"charset_normalizer"}},
	{"coverage", []string{"coverage.tracer"}},
	{"multidict", []string{"multidict._multidict"}},
	{"frozenlist", []string{"frozenlist._frozenlist"}},
	{"propcache", []string{"propcache._helpers_c"}},
	{"yarl", []string{"yarl._quoting_c"}},
	{"httptools", []string{"httptools.parser.parser"}},
	{"lz4", []string{"lz4.frame", "lz4.block"}},
	{"psycopg2", []string{"psycopg2"}},
	{"cffi", []string{"_cffi_backend"}},
	{"PyYAML", []string{"yaml._yaml"}},
	{"zstandard", []string{"zstandard.backend_c"}},
	{"regex", []string{"regex"}},
	{"greenlet", []string{"greenlet._greenlet"}},
	{"argon2-cffi-bindings", []string{"_argon2_cffi_bindings._ffi"}},
	{"PyNaCl", []string{"nacl.bindings"}},
	{"SQLAlchemy", []string{"sqlalchemy"}},
	{"fonttools", []string{"fontTools.ttLib"}},
	{"protobuf", []string{"google.protobuf.message"}},
	{"aiohttp", []string{"aiohttp._http_parser"}},
	{"Pillow", []string{"PIL._imaging"}},
	{"uvloop", []string{"uvloop.loop"}},
	{"bcrypt", []string{"bcrypt._bcrypt"}},
	{"rpds-py", []string{"rpds"}},
	{"orjson", []string{"orjson"}},
	{"pydantic-core", []string{"pydantic_core"}},
	{"cryptography", []string{"cryptography.hazmat.bindings._rust"}},
	{"gevent", []string{"gevent._greenlet_primitives"}},
	{"lxml", []string{"lxml.etree", "lxml.objectify"}},
	{"Cython", []string{"Cython.Compiler.Scanning"}},
	{"numpy", []string{"numpy", "numpy.linalg"}},
	{"matplotlib", []string{"matplotlib.ft2font", "matplotlib.backends.backend_agg"}},
	{"pandas", []string{"pandas"}},
	{"scipy", []string{"scipy.linalg", "scipy.special", "scipy.sparse.linalg"}},
	{"scikit-learn", []string{"sklearn.linear_model", "sklearn.ensemble"}},
}

// extras are the requirements that take in distributions which nobody installs alone.
var extras = map[string]string{
	"psycopg-c": "psycopg[c]",
}
