package main

import "strings"

// programs are those that builds ask for; the indexes say which packages have them.
var programs = setOf(`
	ar as asciidoc autoconf autoheader autopoint autoreconf bc bindgen bison bunzip2 bzip2 cargo ccache
	clang clang++ cmake cups-config curl curl-config dbus-binding-tool dot doxygen f77 ffmpeg file flex
	fltk-config g-ir-compiler g-ir-scanner gawk gdal-config gdbus-codegen geos-config gettext gfortran gio
	git glib-compile-resources glib-genmarshal glib-mkenums gperf gpg-error-config gpgme-config gsl-config
	gzip h5cc help2man hg intltoolize itstool jq ld ldd libgcrypt-config libmikmod-config libpng-config
	libtool libtoolize llvm-config lsb_release luajit lzma m4 make makeinfo mariadb_config meson mpicc
	mpicxx mpif90 msgfmt mysql_config nasm nc-config ncurses5-config net-snmp-config nf-config ninja nm node
	npm numactl objcopy objdump openssl pandoc patch patchelf pcap-config pcre-config pcre2-config pg_config
	pkg-config pkgconf pkgdata proj protoc protoc-c qmake6 ragel ranlib re2c readelf rsync ruby rustc sassc scons
	sdl-config sdl2-config sed snmpwalk strip svn swig tar tclsh tesseract texi2dvi unzip valac valgrind
	wayland-scanner wget wx-config xgettext xml2-config xmllint xslt-config xsltproc xxd xz yasm zip zstd`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(words) {
		set[word] = true
	}
	return set
}

// chosen answers for what Debian's alternatives provide, which no index names, for
// CMake's own Find modules, and where the plain reading of the indexes prefers what
// few want. Packages that a suite lacks are left out of its answers.
var chosen = spread(map[string]string{
	// The links of alternatives.
	"lblas lcblas pblas pcblas cblas":            "libopenblas-dev libblas-dev",
	"llapack plapack clapack llapacke plapacke":  "libopenblas-dev liblapack-dev",
	"lopenblas popenblas copenblas":              "libopenblas-dev",
	"hcblas.h":                                   "libopenblas-dev libblas-dev",
	"hmpi.h lmpi pmpi pompi cmpi xmpicc xmpicxx": "libopenmpi-dev libmpich-dev",
	"xmpif90": "libopenmpi-dev libmpich-dev",
	"hhdf5.h lhdf5 lhdf5_hl phdf5 phdf5_hl chdf5":                    "libhdf5-dev",
	"xcc xc++ xgcc xg++ xx86_64-linux-gnu-gcc xx86_64-linux-gnu-g++": "build-essential",
	"xf77":                        "gfortran",
	"xawk":                        "gawk mawk",
	"xyacc":                       "bison byacc",
	"xlzma":                       "xz-utils",
	"xwhich":                      "debianutils",
	"xpkg-config cpkgconfig":      "pkgconf pkg-config",
	"xninja":                      "ninja-build",
	"xgdbus-codegen":              "libglib2.0-dev-bin libglib2.0-dev",
	"xqmake":                      "qtbase5-dev qt6-base-dev",
	"xwx-config":                  "libwxgtk3.2-dev libwxgtk3.0-gtk3-dev",
	"xllvm-config":                "llvm-dev llvm",
	"xsdl-config":                 "libsdl1.2-dev libsdl1.2-compat-dev",
	"xgo":                         "golang-go",
	"xjava xjavac":                "default-jdk-headless",
	"xlua":                        "lua5.4 lua5.3",
	"xautomake xaclocal":          "automake",
	"xconvert xmagick":            "imagemagick",
	"xperl":                       "perl",
	"xlibpng-config clibpng cpng": "libpng-dev",
	"hmysql.h dmysql lmysqlclient pmysqlclient": "default-libmysqlclient-dev libmariadb-dev",
	"xmysql_config cmysql lmysqlclient_r":       "default-libmysqlclient-dev libmariadb-dev-compat",
	"hmysqld_error.h herrmsg.h":                 "default-libmysqlclient-dev libmariadb-dev",
	"dcurl hcurl.h lcurl plibcurl ccurl":        "libcurl4-openssl-dev libcurl4-gnutls-dev",
	"xcurl-config":                              "libcurl4-openssl-dev libcurl4-gnutls-dev",
	"xkrb5-config":                              "libkrb5-dev",
	"hjpeglib.h ljpeg plibjpeg cjpeg":           "libjpeg-dev libjpeg62-turbo-dev",
	"dopencv2 copencv popencv4":                 "libopencv-dev",
	"dSDL2":                                     "libsdl2-dev",
	"hglib.h dglib pglib-2.0 pgobject-2.0 dgio": "libglib2.0-dev",
	"pgio-2.0 pgmodule-2.0 pgthread-2.0":        "libglib2.0-dev",
	"ddbus":                                     "libdbus-1-dev",
	"dboost":                                    "libboost-dev",
	"cboost":                                    "libboost-all-dev",
	"lboost_python3":                            "libboost-python-dev",
	"dGL hGL/gl.h lGL pgl copengl":              "libgl-dev libgl1-mesa-dev",
	"hGL/glu.h lGLU pglu":                       "libglu1-mesa-dev",
	"cglut hGL/glut.h":                          "freeglut3-dev libglut-dev",
	"cglew hGL/glew.h":                          "libglew-dev",
	"cx11 dX11":                                 "libx11-dev",
	"hsasl.h":                                   "libsasl2-dev",
	"htk.h":                                     "tk-dev",
	"htcl.h":                                    "tcl-dev",
	"hcurses.h hncurses.h lncurses ltinfo ccurses": "libncurses-dev",
	"hreadline.h lreadline creadline":              "libreadline-dev",
	// The compiler of Rust: Debian 11 and 12 have a much newer one under other names,
	// and cargo brings its rustc along.
	"xcargo xrustc":                "cargo-web cargo",
	"cprotobuf":                    "libprotobuf-dev",
	"xclang xclang++ hclang-c":     "clang",
	"lclang cclang dclang-c":       "libclang-dev",
	"czlib":                        "zlib1g-dev",
	"copenssl":                     "libssl-dev",
	"ctiff":                        "libtiff-dev",
	"clibxml2":                     "libxml2-dev",
	"clibxslt":                     "libxslt1-dev",
	"cbzip2":                       "libbz2-dev",
	"cliblzma clzma":               "liblzma-dev",
	"clz4":                         "liblz4-dev",
	"czstd":                        "libzstd-dev",
	"csnappy":                      "libsnappy-dev",
	"cnetcdf":                      "libnetcdf-dev",
	"cgdal":                        "libgdal-dev",
	"cgeos":                        "libgeos-dev",
	"cproj cproj4":                 "libproj-dev",
	"cfreetype":                    "libfreetype-dev",
	"csqlite3 csqlite":             "libsqlite3-dev",
	"cpostgresql":                  "libpq-dev",
	"cexpat":                       "libexpat1-dev",
	"cgif":                         "libgif-dev",
	"cicu":                         "libicu-dev",
	"cgsl":                         "libgsl-dev",
	"cgtest":                       "libgtest-dev",
	"clibarchive":                  "libarchive-dev",
	"calsa":                        "libasound2-dev",
	"copenal":                      "libopenal-dev",
	"cffmpeg":                      "libavformat-dev",
	"codbc":                        "unixodbc-dev",
	"cfftw cfftw3":                 "libfftw3-dev",
	"csndfile clibsndfile":         "libsndfile1-dev",
	"cportaudio":                   "portaudio19-dev",
	"cgmp":                         "libgmp-dev",
	"cmpfr":                        "libmpfr-dev",
	"clibusb clibusb1 clibusb-1.0": "libusb-1.0-0-dev",
	"cgit":                         "git",
	"cswig":                        "swig",
	"cbison":                       "bison",
	"cflex":                        "flex",
	"cperl":                        "perl",
	"cdoxygen":                     "doxygen",
	"cnuma clibnuma":               "libnuma-dev",
	"cuuid clibuuid":               "uuid-dev",
	"cgettext":                     "gettext",
	"cwebp":                        "libwebp-dev",
	"copenjpeg copenjpeg2":         "libopenjp2-7-dev",
	"clcms2":                       "liblcms2-dev",
	"craqm":                        "libraqm-dev",
	"cimagequant":                  "libimagequant-dev",
	"cxcb":                         "libxcb1-dev",
	"cjpeg2000":                    "libopenjp2-7-dev",
})

// spread makes an entry for each of the names that stand together.
func spread(table map[string]string) map[string][]string {
	entries := map[string][]string{}
	for names, packages := range table {
		for name := range strings.FieldsSeq(names) {
			entries[name] = strings.Fields(packages)
		}
	}
	return entries
}
