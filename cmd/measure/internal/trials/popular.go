package trials

// popularWheels are packages with native code that people install most from PyPI, as
// wheels that it has for this Python. Those that fill a disk are left out.
var popularWheels = []string{
	"aiohttp", "argon2-cffi-bindings", "asyncpg", "asyncmy", "awscrt", "backports-zstd", "bcrypt", "biopython", "bitarray", "black",
	"blake3", "blosc2", "blis", "bottleneck", "brotli", "brotlicffi", "caio", "cassandra-driver", "cbor2", "cffi",
	"cftime", "charset-normalizer", "ciso8601", "clickhouse-connect", "clickhouse-driver", "confluent-kafka", "contourpy", "coverage", "cramjam", "crc32c",
	"cryptography", "cvxpy", "curl-cffi", "cymem", "cython", "cytoolz", "dbus-fast", "debugpy", "dm-tree", "duckdb",
	"ed25519-blake2b", "editdistance", "fastavro", "fastparquet", "fastuuid", "fiona", "fonttools", "freetype-py", "frozenlist", "gevent",
	"geventhttpclient", "gmpy2", "google-crc32c", "greenlet", "grpcio", "grpcio-tools", "h3", "h5py", "hf-xet", "hiredis",
	"httptools", "ijson", "imagecodecs", "immutables", "jiter", "kiwisolver", "lazy-object-proxy", "levenshtein", "libcst", "lightgbm",
	"line-profiler", "llvmlite", "lmdb", "lru-dict", "lxml", "lz4", "markupsafe", "matplotlib", "maxminddb", "memray",
	"ml-dtypes", "mmh3", "msgpack", "msgspec", "multidict", "murmurhash", "mypy", "mysqlclient", "netcdf4", "netifaces-plus",
	"nh3", "numba", "numcodecs", "numexpr", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "optree", "oracledb",
	"orjson", "ormsgpack", "osqp", "pandas", "pendulum", "peewee", "pillow", "pikepdf", "polars", "preshed",
	"propcache", "protobuf", "psutil", "psycopg-binary", "psycopg2-binary", "pyarrow", "pycares", "pyclipper", "pycocotools", "pycryptodome",
	"pycryptodomex", "pydantic-core", "pygit2", "pyinstrument", "pymongo", "pymssql", "pynacl", "pynput", "pyodbc", "pyogrio",
	"pyproj", "pyqt5-sip", "pyqt6-sip", "pyreadstat", "pyrsistent", "pyside6-essentials", "python-bidi", "python-snappy", "pytokens", "pywavelets",
	"pyxdg", "pyyaml", "pyzmq", "qdldl", "rapidfuzz", "rasterio", "ray", "regex", "rpds-py", "rtree",
	"ruamel-yaml-clib", "ruff", "safetensors", "scikit-image", "scikit-learn", "scipy", "selectolax", "sentencepiece", "setproctitle", "shapely",
	"shiboken6", "simplejson", "simsimd", "soxr", "spacy", "sqlalchemy", "srsly", "statsmodels", "tables", "tiktoken",
	"time-machine", "tokenizers", "toml-rs", "tornado", "tree-sitter", "tree-sitter-python", "ujson", "uuid-utils", "uvloop", "watchdog",
	"watchfiles", "websockets", "wrapt", "xattr", "xgboost", "xxhash", "yarl", "zope-interface", "zstandard", "zstd",
}

// mismatched are packages whose wheels for other systems are put where they do not belong.
var mismatched = []string{
	"aiohttp", "bcrypt", "cffi", "charset-normalizer", "coverage", "cryptography", "frozenlist", "greenlet", "grpcio", "httptools",
	"kiwisolver", "lxml", "markupsafe", "msgpack", "multidict", "numpy", "orjson", "pandas", "pillow", "propcache",
	"psutil", "pydantic-core", "pyyaml", "pyzmq", "regex", "rpds-py", "ujson", "uvloop", "wrapt", "yarl",
}

// threaded are packages that have wheels for interpreters without a GIL.
var threaded = []string{
	"aiohttp", "charset-normalizer", "contourpy", "coverage", "frozenlist", "greenlet", "kiwisolver", "markupsafe", "multidict", "numpy",
	"pandas", "pillow", "propcache", "psutil", "pydantic-core", "regex", "rpds-py", "scipy", "websockets", "wrapt", "yarl",
}
