package explain

import (
	"regexp"
	"sync"
)

// owner is whose symbols of some names are, and what shows which of its releases is here.
type owner struct {
	name   *regexp.Regexp
	says   string
	advice Step
}

// symbolOwners tell whose a symbol is by its name, and what is usually wrong with it.
var symbolOwners = sync.OnceValue(func() []owner {
	return []owner{
		{regexp.MustCompile(`^uwsgi_|^uwsgi$`), "It is uWSGI's: the plugin was made for another uWSGI, or is loaded outside of it.", run("uwsgi --version; uwsgi --plugin-list", "the program that loads it, which has to be of the plugin's release")},
		{regexp.MustCompile(`^ap_|^apr_`), "It is Apache's: the module was compiled for another Apache (or MPM), or is loaded outside of it.", run("apachectl -V; apachectl -M", "the Apache that loads it")},
		{regexp.MustCompile(`^(?:SSL|TLS|DTLS|EVP|X509|OPENSSL|BIO|RSA|EC|ECDSA|EC_KEY|DH|DSA|BN|ASN1|PEM|PKCS7|PKCS12|ERR|OBJ|CRYPTO|FIPS|HMAC|RAND|ENGINE|CMAC|OCSP|d2i|i2d|sk|Cryptography|SSLv\d+|TLSv1)_|^(?:MD4|MD5|SHA\d*|AES|DES)_\w|^(?:TLS|SSLv\d+)\w*_method$`),
			"It is OpenSSL's: the libssl or libcrypto that was loaded is of another major version (1.0, 1.1, 3), was built without it, or is none of OpenSSL's (LibreSSL, BoringSSL).",
			run("python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'; openssl version; ldconfig -p | grep -E 'lib(ssl|crypto)'", "which releases of OpenSSL are here")},
		{regexp.MustCompile(`^THC?P`), "It is of PyTorch's own Python module (libtorch_python.so), which no extension is linked to: importing torch loads it, and it has to come before the extension. If it does and the name is missing still, the extension was compiled against another torch.",
			run("python3 -c 'import torch, MODULE'", "whether it loads after torch: then the program has to import torch first")},
		{regexp.MustCompile(`^_ZNK?(?:2at|3c10|5torch|6caffe2)|^_ZN\d*K?S?\d*torch|^_ZTIN?3c10|^_ZTVN?5torch|^aoti_torch|^THC?P|^THP`), "It is PyTorch's C++ interface, which changes with every release and with CUDA's version: the module was compiled against another torch than the one that is installed, or torch was not imported before it.",
			run("python3 -c 'import torch; print(torch.__version__, torch.version.cuda, torch._C._GLIBCXX_USE_CXX11_ABI)'; pip list | grep -i -E 'torch|flash|xformers|vllm|triton'", "the torch that is here: install the build of the module for it, or compile it anew")},
		{regexp.MustCompile(`^_ZNK?10tensorflow|^TF_|^_ZNK?4tsl|^_ZN\w*tensorflow`), "It is TensorFlow's: the module was compiled against another TensorFlow than the one that is installed.", run("pip list | grep -i -E 'tensorflow|tfx|keras'", "which releases are here: each add-on names the TensorFlow it is for")},
		{regexp.MustCompile(`^_ZNK?5arrow|^_ZNK?7parquet`), "It is Arrow's C++ interface, which changes with every release.", run("python3 -c 'import pyarrow; print(pyarrow.__version__)'", "the pyarrow that is here, beside the one that the module was compiled with")},
		{regexp.MustCompile(`^_ZNK?6google8protobuf|^_ZTI?N?6google8protobuf|protobuf`), "It is protobuf's C++ library, whose names change with its releases; two of them in one process do not go together.", run("ldconfig -p | grep protobuf; pip list | grep -i -E 'protobuf|grpc|onnx|tensorflow'", "which releases are here")},
		{regexp.MustCompile(`^_ZNK?4absl|^absl_`), "It is Abseil's, whose names have its release in them (lts_…).", run("ldconfig -p | grep absl", "which release is here")},
		{regexp.MustCompile(`^grpc_|^gpr_|^_ZNK?4grpc`), "It is gRPC's.", run("pip list | grep -i grpc", "grpcio and what was compiled against it have to be of one release")},
		{regexp.MustCompile(`^(?:cublas|cudnn|cufft|curand|cusolver|cusparse|nccl|nvrtc|cupti|cuda|nvml|nvshmem)[A-Z_]|^cu[A-Z][a-z]|^__cuda|^__nvJitLink|^nvJitLink|^__cudnn`), "It is of NVIDIA's CUDA libraries: one of another release came first, often through LD_LIBRARY_PATH or an installed CUDA, and hides the one of the nvidia-… distributions.",
			run("echo \"$LD_LIBRARY_PATH\"; pip list | grep -i -E '^(nvidia|torch)'", "a directory that comes first: unset it; and whether the installed ones are those that the wheel requires")},
		{regexp.MustCompile(`^(?:iJIT_|MKL|mkl_|LAPACKE_|vml|DftiC)`), "It is Intel's MKL (or its JIT profiling): the MKL that is installed is newer or older than the one that the module was linked with.", run("pip list | grep -i mkl; conda list mkl", "which MKL is here; PyTorch before 2.3 needs mkl<2024.1")},
		{regexp.MustCompile(`^(?:cblas_|clapack_|catlas_|openblas_)|^[sdcz](?:ge|sy|he|po|tr|gt|or|un|st|la)[a-z]{2,5}\d?_(?:64_)?$|^[sdcz](?:dot|axpy|scal|copy|nrm2|asum|swap)[uc]?_$|^x?erbla_`), "It is of BLAS or LAPACK: the library that was loaded by that name is another implementation (reference, ATLAS, OpenBLAS, MKL) without it.",
			run("ldconfig -p | grep -E 'blas|lapack'; update-alternatives --list libblas.so.3-$(uname -m)-linux-gnu", "which implementation the system gives")},
		{regexp.MustCompile(`^(?:u|ucnv|ucol|ubrk|uloc|unum|udat|usearch|uset|utext|ulocdata|unorm2?|uregex)_\w+_\d\d$|^_ZNK?\d*3?icu_?\d\d|icu_\d\d`), "It is ICU's, whose names end with its release: the library was compiled against another ICU than the one that is here.", run("ldconfig -p | grep libicu; icu-config --version", "the ICU that is here")},
		{regexp.MustCompile(`^H5|^_ZN2H5|^nc_`), "It is of HDF5 or netCDF: another release, or another build (serial, MPI, threadsafe), of it was loaded first, such as that of another wheel (h5py, netCDF4, tables).", run("pip list | grep -i -E 'h5py|tables|netcdf'; ldconfig -p | grep hdf5", "who brings an HDF5 along")},
		{regexp.MustCompile(`^(?:(?:init|finish)?GEOS|GDAL|OGR|OSR|CPL|VSI|proj_|pj_|PJ_|OCT)`), "It is of GDAL, GEOS or PROJ: the library here is older than the one that the module was compiled with.", run("gdal-config --version; geos-config --version; pip list | grep -i -E 'gdal|shapely|rasterio|fiona|pyproj'", "the libraries' releases beside the modules'")},
		{regexp.MustCompile(`^sqlite3_`), "It is SQLite's: an older one, or one built without that ability (load_extension, column metadata, session), was loaded.", run("python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'; ldconfig -p | grep sqlite", "the SQLite that is here")},
		{regexp.MustCompile(`^PQ[a-z]|^pg_`), "It is PostgreSQL's libpq: an older one was loaded than the module was compiled with.", run("ldconfig -p | grep libpq; pg_config --version", "which libpq is here")},
		{regexp.MustCompile(`^(?:mysql|my)_`), "It is of MySQL's or MariaDB's client: one was found where the module was compiled for the other, or an older one.", run("ldconfig -p | grep -E 'mysql|maria'", "which client is here: compile mysqlclient anew against it (pip install --no-binary mysqlclient)")},
		{regexp.MustCompile(`^(?:ber|ldap)_`), "It is OpenLDAP's: libldap_r is gone since 2.5, and names changed. psycopg2 brings a libldap along with its libpq, too: where both are in one process, the one that is imported first decides.", run("ldconfig -p | grep ldap", "which libldap is here: compile python-ldap anew against it")},
		{regexp.MustCompile(`^rd_kafka_`), "It is librdkafka's: an older one was loaded than confluent-kafka was compiled with.", run("ldconfig -p | grep rdkafka; pip show confluent-kafka", "the two releases, which have to agree")},
		{regexp.MustCompile(`^(?:SQL[A-Z])`), "It is of an ODBC driver manager (unixODBC, iODBC).", run("odbcinst -j; ldconfig -p | grep odbc", "the manager that is here")},
		{regexp.MustCompile(`^(?:xmlSec)`), "It is libxmlsec1's: another release, or one built for another libxml2, was loaded.", run("ldconfig -p | grep -E 'xmlsec|libxml2'; pip list | grep -i -E 'lxml|xmlsec'", "who brings which libxml2")},
		{regexp.MustCompile(`^(?:xml|xslt|xpath|html|exslt)[A-Z]`), "It is of libxml2 or libxslt: another release of it was loaded first.", run("ldconfig -p | grep -E 'libxml2|libxslt'; echo \"$LD_LIBRARY_PATH\"", "which ones are here, and what comes first")},
		{regexp.MustCompile(`^uuid_`), "It is libuuid's (util-linux), and the file was linked without it.", run("ldconfig -p | grep libuuid", "whether it is here: Debian's libuuid1, uuid-dev for builds")},
		{regexp.MustCompile(`_finite$`), "It is one of the functions that glibc before 2.31 had for -ffast-math: an object or a static library of such a time was linked into the file.", run("ldd --version", "the glibc of this machine: the file has to be compiled anew, or without -ffast-math")},
		{regexp.MustCompile(`^XML_`), "It is Expat's: pyexpat was compiled with a newer Expat than the one that is loaded, often one of LD_LIBRARY_PATH.", run("ldconfig -p | grep expat; echo \"$LD_LIBRARY_PATH\"", "which Expat is here, and what comes first")},
		{regexp.MustCompile(`^(?:inflate|deflate|gz|crc32|adler32|zlib|compress)[A-Z\d_]|^crc32_`), "It is zlib's: an older one, such as that of another program's directory in LD_LIBRARY_PATH, was loaded first.", run("ldconfig -p | grep libz.so; echo \"$LD_LIBRARY_PATH\"", "which zlib is here, and what comes first")},
		{regexp.MustCompile(`^(?:BZ2_|lzma_|ZSTD_|LZ4_)`), "It is of a compression library (bzip2, xz, zstd, lz4): an older one was loaded.", run("ldconfig -p | grep -E 'bz2|lzma|zstd|lz4'; echo \"$LD_LIBRARY_PATH\"", "which ones are here, and what comes first")},
		{regexp.MustCompile(`^curl_`), "It is libcurl's: another libcurl, or one with another TLS library, was loaded than pycurl was compiled with.", run("ldconfig -p | grep libcurl; curl --version", "the libcurl that is here")},
		{regexp.MustCompile(`^ffi_`), "It is libffi's: a module or library was linked with libffi 6 or 7 and another is here, often conda's before the system's.", run("ldconfig -p | grep libffi; echo \"$LD_LIBRARY_PATH $CONDA_PREFIX\"", "which libffi are here, and what comes first")},
		{regexp.MustCompile(`^(?:rl_|history_|tputs$|tgetent$|tgoto$|tgetstr$|UP$|BC$|PC$|wadd|acs_map|stdscr|cur_term$|set_curterm)`), "It is of readline or ncurses: libreadline was linked without libtinfo, or a copy of another system comes first.", run("ldconfig -p | grep -E 'readline|tinfo|ncurses'; echo \"$LD_LIBRARY_PATH\"", "which ones are here, and what comes first")},
		{regexp.MustCompile(`^(?:GOMP|omp|__kmpc|kmp)_`), "It is OpenMP's: the module was compiled with -fopenmp and linked without it, or with another compiler's runtime.", run("ldconfig -p | grep -E 'gomp|iomp|libomp'", "which runtimes are here")},
		{regexp.MustCompile(`^__atomic_`), "It is libatomic's: processors of 32 bits need it, and the module was linked without it.", run("LD_PRELOAD=$(ldconfig -p | awk '/libatomic/ {print $NF; exit}') python3 -c 'import MODULE'", "it loads with libatomic: Debian's libatomic1; the module has to be linked with -latomic")},
		{regexp.MustCompile(`^_gfortran_|^_gfortrani_|^__quadmath`), "It is of GCC's Fortran runtime: another libgfortran (3, 4, 5) was loaded than the one that it was compiled with.", run("ldconfig -p | grep gfortran", "which ones are here")},
		{regexp.MustCompile(`^(?:MPI|PMPI|ompi|opal|mca)_`), "It is MPI's: the module was compiled for another MPI (Open MPI, MPICH) or release.", run("mpirun --version; ldconfig -p | grep libmpi", "which MPI is here: compile mpi4py anew against it")},
		{regexp.MustCompile(`^(?:g|gtk|gdk|g_object|gst)_[a-z]`), "It is GLib's or GTK's: an older libglib came first, such as a copy in a wheel or in conda.", run("ldconfig -p | grep libglib; echo \"$LD_LIBRARY_PATH $CONDA_PREFIX\"", "which GLib are here, and what comes first")},
		{regexp.MustCompile(`^(?:jpeg|png|TIFF|FT|WebP|opj|cmsO|heif|gif|avif)_?[A-Za-z]`), "It is of an image or font library: another release of it was loaded than the one that the module was compiled with.", run("ldconfig -p | grep -E 'jpeg|png|tiff|freetype|webp|openjp2'; echo \"$LD_LIBRARY_PATH\"", "which ones are here, and what comes first")},
		{regexp.MustCompile(`^_ZNK?\d+Q[A-Z]|^_ZN9QtPrivate|^q[A-Z]\w+|^qt_|^_ZTV?I?\d+Q[A-Z]|^PySide|Shiboken`), "It is Qt's: two releases of Qt, or of PySide and shiboken, are mixed: a system's Qt, a conda's, or another distribution's (opencv-python, PyQt5).",
			run("pip list | grep -i -E 'qt|pyside|shiboken|opencv'; env | grep -E '^(QT_|LD_)'", "who brings Qt along: PySide6, PySide6_Essentials and shiboken6 have to be of one release")},
		{regexp.MustCompile(`^_ZNK?5boost|^_ZN\w*boost`), "It is Boost's, whose names change with its release and the Python that Boost.Python was made for.", run("ldconfig -p | grep boost", "which Boost is here")},
		{regexp.MustCompile(`^_ZNK?2cv|^cv[A-Z]`), "It is OpenCV's: a system's and a wheel's OpenCV are mixed, or two of opencv-python, -headless and -contrib.", run("pip list | grep -i opencv; ldconfig -p | grep opencv_core", "who brings OpenCV along")},
		{regexp.MustCompile(`^_ZNK?St|^_ZNKS|^_ZNS|^_ZS|^_ZTI?V?N10__cxxabiv1|^__cxa_|^_Zn[aw]|^_Zd[al]|^_ZTV?I?St|^__gxx_personality|^_ZGTt`), "It is of C++'s own library: libstdc++ here is older than the compiler that made the file, the file is C++ and was linked by a C compiler, or libc++ and libstdc++ are mixed.",
			run("strings $(ldconfig -p | awk '/libstdc\\+\\+.so.6/ {print $NF; exit}') | grep -E '^(GLIBCXX|CXXABI)_[0-9]' | sort -V | tail -n 2", "how new the system's libstdc++ is; conda and LD_LIBRARY_PATH may bring an older one")},
		{regexp.MustCompile(`^(?:crypt|crypt_r|shm_open|dlopen|dlsym|pthread_\w+|sem_\w+|clock_gettime|timer_create|aio_\w+|__res_\w+|res_\w+|pow|exp|log|log2|sqrt|sin|cos|floor|ceil|fmod|lgamma)f?$`), "It is of the C library's family (libcrypt, librt, libdl, libpthread, libm): the file was linked without that library (-lcrypt, -lrt, -ldl, -lpthread, -lm).",
			run("ldd --version", "the release of glibc here: since 2.34 these are in libc.so.6, before they were not, and libcrypt never is")},
	}
})

// symbolOwner is what is known about the owner of a symbol, if anything is.
func symbolOwner(symbol string) (says string, advice Step, ok bool) {
	for _, o := range symbolOwners() {
		if o.name.MatchString(symbol) {
			return o.says, o.advice, true
		}
	}
	return "", Step{}, false
}
