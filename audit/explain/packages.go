package explain

import (
	"regexp"
	"strings"
	"sync"
)

// libraryPackages are packages of Debian (those of Debian 12 where the number differs), and
// the beginnings of the sonames that they hold. RHEL and Alpine find theirs by the soname.
var libraryPackages = pairs(`
	libgl1 libGL.so; libegl1 libEGL.so; libopengl0 libOpenGL.so; libglu1-mesa libGLU.so; libgles2 libGLES; libgbm1 libgbm.so
	libglib2.0-0 libglib-2 libgthread-2 libgobject-2 libgio-2 libgmodule-2; libgirepository-1.0-1 libgirepository-1
	libsm6 libSM.so; libice6 libICE.so; libxext6 libXext.so; libxrender1 libXrender.so; libx11-6 libX11.so; libx11-xcb1 libX11-xcb.so
	libxi6 libXi.so; libxcursor1 libXcursor.so; libxrandr2 libXrandr.so; libxinerama1 libXinerama.so; libxcomposite1 libXcomposite.so
	libxdamage1 libXdamage.so; libxfixes3 libXfixes.so; libxtst6 libXtst.so; libxss1 libXss.so; libxft2 libXft.so; libxt6 libXt.so
	libxcb1 libxcb.so; libxcb-cursor0 libxcb-cursor; libxcb-icccm4 libxcb-icccm; libxcb-image0 libxcb-image; libxcb-keysyms1 libxcb-keysyms
	libxcb-render-util0 libxcb-render-util; libxcb-xinerama0 libxcb-xinerama; libxcb-shape0 libxcb-shape; libxcb-xkb1 libxcb-xkb
	libxkbcommon-x11-0 libxkbcommon-x11; libxkbcommon0 libxkbcommon.so; libfontconfig1 libfontconfig; libfreetype6 libfreetype
	libharfbuzz0b libharfbuzz.so; libcairo2 libcairo.so cairo; libpango-1.0-0 libpango-1; libpangoft2-1.0-0 libpangoft2 pango; libpangocairo-1.0-0 libpangocairo
	libgdk-pixbuf-2.0-0 libgdk_pixbuf; libgtk-3-0 libgtk-3; libatk1.0-0 libatk-1; libatk-bridge2.0-0 libatk-bridge; libcups2 libcups.so
	libnss3 libnss3 libnssutil3 libsmime3; libnspr4 libnspr4; libdrm2 libdrm.so; libasound2 libasound; libdbus-1-3 libdbus-1; libatspi2.0-0 libatspi
	libgomp1 libgomp; libstdc++6 libstdc++; libgcc-s1 libgcc_s; libatomic1 libatomic; libgfortran5 libgfortran.so.5; libquadmath0 libquadmath
	libpq5 libpq.so pq; libmariadb3 libmariadb.so; libodbc2 libodbc.so; libsqlite3-0 libsqlite3; libaio1 libaio; librdkafka1 librdkafka
	libldap-2.5-0 libldap; libsasl2-2 libsasl2; libgssapi-krb5-2 libgssapi_krb5; libkrb5-3 libkrb5.so; libltdl7 libltdl
	libgdal32 libgdal; libgeos-c1v5 libgeos_c; libproj25 libproj; libspatialindex6 libspatialindex; libhdf5-103-1 libhdf5.so; libnetcdf19 libnetcdf.so
	libopenblas0 libopenblas.so openblas; libblas3 libblas.so; liblapack3 liblapack.so; libatlas3-base libcblas libf77blas libatlas.so liblapack_atlas; libmpi3 libmpich
	libopenmpi3 libmpi.so; libnuma1 libnuma; libhwloc15 libhwloc; libgmp10 libgmp.so; libmpfr6 libmpfr
	libmagic1 libmagic magic; libzbar0 libzbar zbar; libsndfile1 libsndfile sndfile; libportaudio2 libportaudio portaudio PortAudio
	libopenjp2-7 libopenjp2; libtiff6 libtiff.so.6; libjpeg62-turbo libjpeg.so.62; libturbojpeg0 libturbojpeg; libwebp7 libwebp.so.7; libwebpdemux2 libwebpdemux; libwebpmux3 libwebpmux
	libpng16-16 libpng16; liblcms2-2 liblcms2; libvips42 libvips; libmagickwand-6.q16-6 libMagickWand; libxml2 libxml2; libxslt1.1 libxslt libexslt
	libxmlsec1 libxmlsec1.so; libxmlsec1-openssl libxmlsec1-openssl; libtk8.6 libtk8.6; libtcl8.6 libtcl8.6; libcurl4 libcurl.so; libcurl3-gnutls libcurl-gnutls
	libtinfo6 libtinfo.so.6; libncursesw6 libncursesw.so.6; libncurses6 libncurses.so.6; libreadline8 libreadline.so.8; libcrypt1 libcrypt.so.1
	libexpat1 libexpat; zlib1g libz.so; libbz2-1.0 libbz2; liblzma5 liblzma; liblz4-1 liblz4; libzstd1 libzstd; libsnappy1v5 libsnappy
	libpcre3 libpcre.so.3; libpcre2-8-0 libpcre2-8; libyaml-0-2 libyaml; libuuid1 libuuid; libusb-1.0-0 libusb-1; libsystemd0 libsystemd; libudev1 libudev
	libssl3 libssl.so.3 libcrypto.so.3; libffi8 libffi.so.8; libicu72 libicu; libjemalloc2 libjemalloc; libtcmalloc-minimal4 libtcmalloc_minimal
	libenchant-2-2 libenchant; libleveldb1d libleveldb; libsodium23 libsodium sodium; libsnmp40 libnetsnmp
	default-jre-headless libjvm; libespeak1 libespeak.so; libespeak-ng1 libespeak-ng; libzmq5 libzmq; libfbclient2 libfbclient; libedit2 libedit; r-base-core libR.so; wkhtmltopdf libwkhtmltox; libgeos3.11.1 libgeos-3; libmemcached11 libmemcached; libevent-2.1-7 libevent-2.1`)

// provider is who brings libraries along that no package of Debian has, or not in every
// release.
type provider struct {
	lib  *regexp.Regexp
	from string
	// step has STEM for the library's name without a number.
	step Step
}

// otherLibraries are libraries that no package of Debian has, or not in every release: who
// brings them, by patterns of their sonames, and the command to begin with.
var otherLibraries = sync.OnceValue(func() []provider {
	return []provider{
		{regexp.MustCompile(`^lib(?:cudart|cublas|cublasLt|cudnn\w*|cufft\w*|curand|cusolver\w*|cusparse|cusparseLt|nccl|nvrtc\S*|cupti|nvJitLink|nvToolsExt|cufile|nvshmem\w*)\.so`),
			"NVIDIA's distributions on the index (nvidia-…-cu11, -cu12), or an installed CUDA of that number, have it; the driver does not",
			run("pip list | grep -i -E '^(nvidia|cuda|torch|tensorflow|jax|cupy|onnxruntime)'", "the CUDA that is installed, and the one (cu11, cu12) that each wheel was made for: the number behind .so tells which it wants")},
		{regexp.MustCompile(`^libQt\d|^lib(?:pyside|shiboken)\d`), "the wheels of PySide6 (PySide6_Essentials, shiboken6) and PyQt6 carry it, in the release of the module that needs it; a system's Qt is another one", run("pip list | grep -i -E 'qt|pyside|shiboken'", "whether they are there, and of one release: pip install --force-reinstall --no-cache-dir of all of them together")},
		{regexp.MustCompile(`^libnsl\.so`), "glibc had it, and distributions of today have it in a package of its own", run("dnf install libnsl", "RHEL's and Fedora's; Debian's libc6 has it up to release 12, libnsl2 is another number")},
		{regexp.MustCompile(`^libnvinfer`), "TensorRT has it (the distribution tensorrt, or NVIDIA's packages)", run("pip list | grep -i -E 'tensorrt|tensorflow|torch'", "whether TensorRT is there, and its major version")},
		{regexp.MustCompile(`^lib(?:torch|c10|caffe2|shm)\w*\.so`), "PyTorch has it in torch/lib. A module that was compiled against torch finds it there once torch is imported; with \"cuda\" in its name, it is in the builds with CUDA only",
			run("python3 -c 'import torch; print(torch.__version__, torch.version.cuda, torch.__path__)'", "which build of torch is installed, if any")},
		{regexp.MustCompile(`^libtensorflow`), "TensorFlow has it in its own directory, and its number is TensorFlow's major version", run("python3 -c 'import tensorflow as t; print(t.__version__, t.sysconfig.get_lib())'", "which TensorFlow is installed")},
		{regexp.MustCompile(`^libarrow|^libparquet`), "pyarrow has it, by the number of its release", run("python3 -c 'import pyarrow; print(pyarrow.__version__, pyarrow.get_library_dirs())'", "which pyarrow is installed, beside the number in the name")},
		{regexp.MustCompile(`^libmkl`), "Intel's MKL has it", run("pip list | grep -i mkl", "whether the distribution mkl is there; pip install mkl otherwise")},
		{regexp.MustCompile(`^libiomp5`), "Intel's OpenMP has it", run("pip install intel-openmp", "it brings libiomp5.so")},
		{regexp.MustCompile(`^lib(?:svml|imf|intlc|irng)\.so`), "the runtime of Intel's compilers has it", run("pip install intel-cmplr-lib-rt", "it brings the runtime")},
		{regexp.MustCompile(`^libtbb`), "oneTBB has it", run("pip install tbb", "libtbb.so.12; libtbb.so.2 is of releases before 2021")},
		{regexp.MustCompile(`^libclntsh|^libociei|^libnnz`), "Oracle's Instant Client has it", run("ldconfig -p | grep libclntsh", "whether the loader finds the client: its directory belongs into /etc/ld.so.conf.d; oracledb's thin mode needs none")},
		{regexp.MustCompile(`^libdb2`), "IBM's clidriver has it", run("python3 -c 'import clidriver' ; find / -name 'libdb2.so*' 2>/dev/null", "where the driver is; LD_LIBRARY_PATH has to name it")},
		{regexp.MustCompile(`^lib(?:ssl|crypto)\.so\.(?:1\.0\.[\d]|1\.1|10)`), "a release of OpenSSL has it that distributions of today do not ship",
			run("openssl version; ls -l /lib*/*/libssl.so* /usr/lib*/libssl.so* 2>/dev/null", "the OpenSSL that is here: the file has to be had, or compiled, for that one")},
		{regexp.MustCompile(`^libmysqlclient`), "MySQL's client has it (Ubuntu's libmysqlclient21; RHEL's mysql-libs); Debian has MariaDB's libmariadb.so.3 in its place",
			run("apt-get install libmariadb3 && pip install --no-binary mysqlclient --force-reinstall mysqlclient", "Debian: compiled anew, it takes MariaDB's (with default-libmysqlclient-dev and pkg-config)")},
		{regexp.MustCompile(`^lib(?:jpeg\.so\.8|tiff\.so\.5|webp\.so\.6|ffi\.so\.[67]|tinfo\.so\.5|ncursesw?\.so\.5|readline\.so\.[67]|gfortran\.so\.[34]|icu\w+\.so|boost_\w+\.so|protobuf\S*\.so|re2\.so|hdf5\w*\.so|gdal\.so|proj\.so|poppler\.so|tesseract\.so|lept\.so|pcre\.so\.1|av\w+\.so|openexr|IlmImf|Qt\w*\.so|LLVM)`),
			"each release of a distribution has another number of it: the file was made on an older or newer release than this one", run("ldconfig -p | grep STEM; head -n 1 /etc/os-release", "the number that this release has, if any: install a build of the wheel for it, or one that carries its libraries (manylinux)")},
	}
})

// headerPackages are packages of Debian, and headers and pkg-config names that they have.
var headerPackages = pairs(`
	python3-dev Python.h pyconfig.h python3; libssl-dev openssl/ openssl libssl libcrypto; libffi-dev ffi.h libffi; libpq-dev libpq-fe.h pg_config libpq; zlib1g-dev zlib.h zlib
	default-libmysqlclient-dev mysql.h mysql/ my_config.h mysql_config mysqlclient mariadb libmariadb; libxml2-dev libxml/ libxml2 libxml-2.0 xml2-config; libxslt1-dev libxslt/ libxslt xslt-config
	libldap2-dev lber.h ldap.h; libsasl2-dev sasl.h sasl/; libjpeg-dev jpeglib.h jpeg; libcairo2-dev cairo.h cairo/ cairo; libgirepository1.0-dev girepository-1.0 gobject-introspection-1.0 girepository
	unixodbc-dev sql.h sqlext.h; librdkafka-dev librdkafka/ rdkafka; libcurl4-openssl-dev curl/ curl-config libcurl; libkrb5-dev gssapi/ krb5.h krb5-config gssapi.h; libyaml-dev yaml.h
	libgmp-dev gmp.h; libmpfr-dev mpfr.h; libhdf5-dev hdf5.h hdf5; libgdal-dev gdal.h gdal-config gdal; libgeos-dev geos_c.h geos-config geos; libproj-dev proj.h proj_api.h proj
	libxmlsec1-dev xmlsec/ xmlsec1; libsnappy-dev snappy-c.h snappy.h; libevent-dev event.h; libbz2-dev bzlib.h; liblzma-dev lzma.h; libsqlite3-dev sqlite3.h sqlite3; libreadline-dev readline/ readline
	libncurses-dev curses.h ncurses.h; tk-dev tk.h tcl.h; portaudio19-dev portaudio.h; libsndfile1-dev sndfile.h; libusb-1.0-0-dev libusb.h; libudev-dev libudev.h libudev; libsystemd-dev systemd/ libsystemd
	libdbus-1-dev dbus/ dbus-1; libcups2-dev cups/; libmagickwand-dev wand/ MagickWand; libfreetype-dev ft2build.h freetype2 freetype; libpng-dev png.h libpng; libtiff-dev tiff.h tiffio.h; libwebp-dev webp/
	libopenblas-dev cblas.h openblas blas lapack; libopenmpi-dev mpi.h mpicc; libprotobuf-dev google/protobuf; swig swig swig.exe; cmake cmake; ninja-build ninja; pkg-config pkg-config pkgconfig
	libfreetds-dev sybdb.h sqlfront.h; libzmq3-dev zmq.h libzmq; libsodium-dev sodium.h sodium; libpcap-dev pcap.h; libsnmp-dev net-snmp/; libenchant-2-dev enchant.h; libpcre3-dev pcre.h; libcap-dev sys/capability.h
	libattr1-dev attr/xattr.h; libacl1-dev sys/acl.h acl/; libbluetooth-dev bluetooth/; libgraphviz-dev graphviz/ gvc.h cgraph; libleveldb-dev leveldb/; libvirt-dev libvirt/ libvirt; libboost-dev boost/; libeigen3-dev Eigen/
	libasound2-dev alsa/ alsa; libglib2.0-dev glib.h glib-2.0; libseccomp-dev seccomp.h; linux-libc-dev linux/; libc6-dev stdio.h stdlib.h limits.h string.h crt1.o crti.o; libavformat-dev libavformat/ libavformat libavcodec libavdevice libavutil
	g++ cc1plus g++ c++ iostream vector string; gcc gcc cc x86_64-linux-gnu-gcc clang cc1; gfortran gfortran f77; cargo cargo rustc; git git; make make gmake; apache2-dev apxs; patchelf patchelf; autoconf autoreconf autoconf; libtool libtoolize; default-jdk-headless jni.h javac`)

// distributions are names of modules whose distribution has another one.
var distributions = pairs(`
	opencv-python-headless cv2; cffi _cffi_backend; Pillow PIL; PyYAML yaml _yaml; mysqlclient MySQLdb; scikit-learn sklearn; scikit-image skimage; pycryptodome Crypto; pycryptodomex Cryptodome; beautifulsoup4 bs4; python-dateutil dateutil
	python-dotenv dotenv; PyJWT jwt; pyserial serial; protobuf google.protobuf; grpcio grpc; pyOpenSSL OpenSSL; python-ldap ldap; GitPython git; attrs attr; msgpack-python msgpack; setuptools pkg_resources setuptools _distutils_hack
	psycopg2-binary psycopg2; python-magic magic; pyzmq zmq; pywin32 win32api win32con pywintypes; djangorestframework rest_framework; django-cors-headers corsheaders; python-memcached memcache; dnspython dns; pexpect pexpect
	google-api-python-client googleapiclient; google-cloud-storage google.cloud.storage; google-auth google.auth; python-docx docx; python-pptx pptx; PyMySQL pymysql; pysqlite3-binary pysqlite3; markdown markdown; ruamel.yaml ruamel
	PyGObject gi; pycairo cairo; dbus-python dbus; python-apt apt apt_pkg; pyinotify pyinotify; python-multipart multipart; fonttools fontTools; biopython Bio; pymupdf fitz; faiss-cpu faiss; bx-python bx; pytorch-lightning pytorch_lightning
	antlr4-python3-runtime antlr4; python-jose jose; websocket-client websocket; kafka-python kafka; confluent-kafka confluent_kafka; cx_Oracle cx_Oracle; rpi.gpio RPi; smbus smbus; wxPython wx; PyQt5 PyQt5; argon2-cffi argon2
	flask-cors flask_cors; flask-sqlalchemy flask_sqlalchemy; django-environ environ; importlib-metadata importlib_metadata; typing-extensions typing_extensions; jaraco.text jaraco; more-itertools more_itertools`)

// removedModules are modules that were in the standard library, and the minor version of
// Python 3 that has them no more (PEP 594, PEP 632 and the release notes).
var removedModules = func() map[string]int {
	out := map[string]int{}
	for minor, names := range map[int]string{
		9: "_dummy_thread dummy_threading", 10: "formatter parser symbol macpath", 11: "binhex", 12: "asynchat asyncore distutils imp smtpd",
		13: "aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd sunau telnetlib uu xdrlib",
		0:  "ConfigParser StringIO cStringIO cPickle urllib2 urlparse Queue commands httplib __builtin__ thread Tkinter SocketServer HTMLParser Cookie md5 sets dummy_thread anydbm copy_reg UserDict xmlrpclib exceptions",
	} {
		for _, name := range strings.Fields(names) {
			out[name] = minor
		}
	}
	return out
}()

// pairs reads "PACKAGE NAME…; …": which package each name belongs to.
func pairs(text string) map[string]string {
	out := map[string]string{}
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.Fields(entry)
		for _, name := range words[min(1, len(words)):] {
			out[name] = words[0]
		}
	}
	return out
}

// longest is what belongs to the longest name that a text begins with.
func longest(of map[string]string, text string) string {
	for n := len(text); n > 0; n-- {
		if found, ok := of[text[:n]]; ok {
			return found
		}
	}
	return ""
}

// distributionOf is the name of the distribution that has a module, as far as it is known.
func distributionOf(module string) string {
	top, _, _ := strings.Cut(module, ".")
	for module != "" {
		if found := distributions[module]; found != "" {
			return found
		}
		module = module[:max(0, strings.LastIndexByte(module, '.'))]
	}
	return top
}
