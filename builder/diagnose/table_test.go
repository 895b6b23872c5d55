package diagnose

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	t.Parallel()
	table, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		kind, name string
		// want is the likeliest package of each suite, or of all of them.
		want string
	}{
		{"header", "libpq-fe.h", "libpq-dev"},
		{"header", "postgresql/libpq-fe.h", "libpq-dev"},
		{"header", "ffi.h", "libffi-dev"},
		{"header", "libxml/parser.h", "libxml2-dev"},
		{"header", "libxml/xmlversion.h", "libxml2-dev"},
		{"header", "libxslt/xslt.h", "libxslt1-dev"},
		{"header", "openssl/ssl.h", "libssl-dev"},
		{"header", "openssl/opensslv.h", "libssl-dev"},
		{"header", "sql.h", "unixodbc-dev"},
		{"header", "ldap.h", "libldap2-dev libldap-dev libldap-dev"},
		{"header", "lber.h", "libldap2-dev libldap-dev libldap-dev"},
		{"header", "sasl/sasl.h", "libsasl2-dev"},
		{"header", "hdf5.h", "libhdf5-dev"},
		{"header", "netcdf.h", "libnetcdf-dev"},
		{"header", "geos_c.h", "libgeos-dev"},
		{"header", "proj.h", "libproj-dev"},
		{"header", "gdal.h", "libgdal-dev"},
		{"header", "portaudio.h", "portaudio19-dev"},
		{"header", "mysql.h", "default-libmysqlclient-dev"},
		{"header", "mysql/mysql.h", "default-libmysqlclient-dev"},
		{"header", "zmq.h", "libzmq3-dev"},
		{"header", "snappy-c.h", "libsnappy-dev"},
		{"header", "snappy.h", "libsnappy-dev"},
		{"header", "zlib.h", "zlib1g-dev"},
		{"header", "bzlib.h", "libbz2-dev"},
		{"header", "lzma.h", "liblzma-dev"},
		{"header", "lz4.h", "liblz4-dev"},
		{"header", "zstd.h", "libzstd-dev"},
		{"header", "jpeglib.h", "libjpeg-dev"},
		{"header", "png.h", "libpng-dev"},
		{"header", "tiffio.h", "libtiff-dev"},
		{"header", "webp/encode.h", "libwebp-dev"},
		{"header", "ft2build.h", "libfreetype-dev"},
		{"header", "yaml.h", "libyaml-dev"},
		{"header", "gmp.h", "libgmp-dev"},
		{"header", "mpfr.h", "libmpfr-dev"},
		{"header", "curl/curl.h", "libcurl4-openssl-dev"},
		{"header", "uuid/uuid.h", "uuid-dev"},
		{"header", "gssapi/gssapi.h", "libkrb5-dev"},
		{"header", "krb5.h", "libkrb5-dev"},
		{"header", "sqlite3.h", "libsqlite3-dev"},
		{"header", "expat.h", "libexpat1-dev"},
		{"header", "glib.h", "libglib2.0-dev"},
		{"header", "dbus/dbus.h", "libdbus-1-dev"},
		{"header", "cairo.h", "libcairo2-dev"},
		{"header", "X11/Xlib.h", "libx11-dev"},
		{"header", "GL/gl.h", "libgl-dev"},
		{"header", "Eigen/Dense", "libeigen3-dev"},
		{"header", "boost/shared_ptr.hpp", "libboost-dev"},
		{"header", "boost/python/module.hpp", "libboost-dev"},
		{"header", "unicode/utypes.h", "libicu-dev"},
		{"header", "re2/re2.h", "libre2-dev"},
		{"header", "librdkafka/rdkafka.h", "librdkafka-dev"},
		{"header", "leveldb/db.h", "libleveldb-dev"},
		{"header", "libvirt/libvirt.h", "libvirt-dev"},
		{"header", "systemd/sd-journal.h", "libsystemd-dev"},
		{"header", "magic.h", "libmagic-dev"},
		{"header", "pcap.h", "libpcap-dev"},
		{"header", "fftw3.h", "libfftw3-dev"},
		{"header", "gsl/gsl_math.h", "libgsl-dev"},
		{"header", "sndfile.h", "libsndfile1-dev"},
		{"header", "alsa/asoundlib.h", "libasound2-dev"},
		{"header", "libavformat/avformat.h", "libavformat-dev"},
		{"header", "sodium.h", "libsodium-dev"},
		{"header", "argon2.h", "libargon2-dev"},
		{"header", "readline/readline.h", "libreadline-dev"},
		{"header", "ncurses.h", "libncurses-dev"},
		{"header", "ev.h", "libev-dev"},
		{"header", "uv.h", "libuv1-dev"},
		{"header", "ares.h", "libc-ares-dev"},
		{"header", "Python.h", ""},
		{"header", "numpy/arrayobject.h", ""},
		{"header", "no/such/thing.h", ""},
		{"library", "blas", "libopenblas-dev"},
		{"library", "lapack", "libopenblas-dev"},
		{"library", "pq", "libpq-dev"},
		{"library", "ssl", "libssl-dev"},
		{"library", "crypto", "libssl-dev"},
		{"library", "z", "zlib1g-dev"},
		{"library", "mysqlclient", "default-libmysqlclient-dev"},
		{"library", "odbc", "unixodbc-dev"},
		{"library", "hdf5", "libhdf5-dev"},
		{"library", "stdc++fs", ""},
		{"pkg-config", "cairo", "libcairo2-dev"},
		{"pkg-config", "OpenBLAS", "libopenblas-dev"},
		{"pkg-config", "glib-2.0", "libglib2.0-dev"},
		{"pkg-config", "libffi", "libffi-dev"},
		{"pkg-config", "openssl", "libssl-dev"},
		{"pkg-config", "hdf5", "libhdf5-dev"},
		{"pkg-config", "freetype2", "libfreetype-dev"},
		{"pkg-config", "mysqlclient", "default-libmysqlclient-dev"},
		{"pkg-config", "libpq", "libpq-dev"},
		{"pkg-config", "python3", ""},
		{"cmake", "ZLIB", "zlib1g-dev"},
		{"cmake", "OpenSSL", "libssl-dev"},
		{"cmake", "Eigen3", "libeigen3-dev"},
		{"cmake", "BLAS", "libopenblas-dev"},
		{"cmake", "GEOS", "libgeos-dev"},
		{"cmake", "LibXml2", "libxml2-dev"},
		{"cmake", "Protobuf", "libprotobuf-dev"},
		{"cmake", "Boost", "libboost-all-dev"},
		{"cmake", "MPI", "libopenmpi-dev"},
		{"program", "pg_config", "libpq-dev"},
		{"program", "mysql_config", "default-libmysqlclient-dev"},
		{"program", "gfortran", "gfortran"},
		{"program", "cmake", "cmake"},
		{"program", "swig", "swig"},
		{"program", "libtoolize", "libtool"},
		{"program", "autoreconf", "autoconf"},
		{"program", "krb5-config", "libkrb5-dev"},
		{"program", "gdal-config", "libgdal-dev"},
		{"program", "geos-config", "libgeos-dev"},
		{"program", "nc-config", "libnetcdf-dev"},
		{"program", "curl-config", "libcurl4-openssl-dev"},
		{"program", "xml2-config", "libxml2-dev"},
		{"program", "protoc", "protobuf-compiler"},
		{"program", "nasm", "nasm"},
		{"program", "pkg-config", "pkgconf"},
		{"program", "cargo", "cargo-web"},
	} {
		want := strings.Fields(test.want)
		if len(want) < 2 {
			want = slices.Repeat([]string{test.want}, 3)
		}
		var got []string
		for suite := range table.suites {
			got = append(got, first(debian{table, suite}, test.kind, test.name))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.kind, test.name, diff)
		}
	}
	if want := []string{"bullseye", "bookworm", "trixie"}; !slices.Equal(table.suites, want) {
		t.Errorf("suites %q, want %q", table.suites, want)
	}
}

// first returns the likeliest package.
func first(d debian, kind, name string) string {
	holding := map[string]func(string) []string{
		"header": d.holdingHeader, "library": d.holdingLibrary, "pkg-config": d.holdingPkgConfig, "cmake": d.holdingCMake,
		"program": func(name string) []string { return d.of("x", name) },
	}
	if packages := holding[kind](name); len(packages) > 0 {
		return packages[0]
	}
	return ""
}

// The suggestion of a package that the interpreter replaces would build against the
// wrong Python.
func TestTableHasNoPython(t *testing.T) {
	t.Parallel()
	table, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range table.answers {
		for name := range strings.FieldsFuncSeq(answer, func(r rune) bool { return r == ',' || r == '|' }) {
			if strings.HasPrefix(name, "libpython") || strings.HasPrefix(name, "python") || strings.Contains(name, "-cross") {
				t.Errorf("the table suggests %s", name)
			}
		}
	}
}

func TestTableIsSmall(t *testing.T) {
	t.Parallel()
	if len(packed) > 700<<10 {
		t.Errorf("the table has %d bytes, at most %d are good", len(packed), 700<<10)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a b\nhx.h\n=x-dev\n", "a b\n=x|y|z\nhx.h\n", "a b c\n=x|y\nhx.h\n"} {
		if _, err := parse(text); err == nil {
			t.Errorf("parsed %q", text)
		}
	}
}
