package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// index writes an index of files.
func index(t *testing.T, lines ...string) string {
	t.Helper()
	data, err := packed([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Contents-amd64.gz")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestChoose(t *testing.T) {
	t.Parallel()
	answers, err := choose([]string{index(t,
		"bin/tar          utils/tar",
		"usr/bin/pg_config    libdevel/libpq-dev",
		"usr/bin/unasked  utils/unasked",
		"usr/include/x86_64-linux-gnu/ffi.h    libdevel/libffi-dev",
		"usr/include/libxml2/libxml/parser.h   libdevel/libxml2-dev",
		"usr/include/postgresql/libpq-fe.h     libdevel/libpq-dev",
		"usr/include/sql.h           devel/unixodbc-dev",
		"usr/include/iodbc/sql.h     libdevel/libiodbc2-dev",
		"usr/include/python3.11/Python.h       libdevel/libpython3.11-dev",
		"usr/include/rust/x.h                  rust/librust-x-dev",
		"usr/include/a/config.h                libdevel/liba1-dev",
		"usr/include/b/config.h                libdevel/libb1-dev",
		"usr/include/c/config.h                libdevel/libc1-dev",
		"usr/include/d/config.h                libdevel/libd1-dev",
		"usr/include/tk.h                      libdevel/tk8.6-dev,libdevel/other-dev",
		"usr/include/sh.h                      libdevel/sh8.6-dev",
		"usr/share/doc/sh-dev/copyright file   libdevel/sh-dev",
		"usr/lib/x86_64-linux-gnu/pkgconfig/cairo.pc   libdevel/libcairo2-dev",
		"usr/lib/x86_64-linux-gnu/libpq.so     libdevel/libpq-dev",
		"usr/lib/x86_64-linux-gnu/libpq.so.5   libs/libpq5",
		"usr/lib/x86_64-linux-gnu/cmake/Eigen3/Eigen3Config.cmake   libdevel/libeigen3-dev",
		"usr/share/x/x-config.cmake            contrib/libdevel/libx-dev",
	)})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"xtar": {"tar"}, "xpg_config": {"libpq-dev"},
		"hffi.h": {"libffi-dev"}, "hparser.h": nil, "dlibxml2/libxml": {"libxml2-dev"}, "dlibxml": {"libxml2-dev"},
		"hlibpq-fe.h": {"libpq-dev"}, "dpostgresql": {"libpq-dev"},
		"hsql.h": {"unixodbc-dev"}, "diodbc": {"libiodbc2-dev"},
		"hPython.h": nil, "dpython3.11": nil, "hx.h": nil, "drust": nil,
		"hconfig.h": nil, "da": {"liba1-dev"}, "dd": {"libd1-dev"},
		"hsh.h":  {"sh-dev"},
		"pcairo": {"libcairo2-dev"}, "lpq": {"libpq-dev"}, "ceigen3": {"libeigen3-dev"}, "cx": {"libx-dev"},
	}
	for name, packages := range want {
		if diff := cmp.Diff(packages, answers[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestChosenNamesPackagesOfTheSuite(t *testing.T) {
	t.Parallel()
	answers, err := choose([]string{index(t, "usr/share/doc/libblas-dev/copyright libdevel/libblas-dev")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{
		"lblas": {"libblas-dev"}, "lcblas": {"libblas-dev"}, "pblas": {"libblas-dev"}, "pcblas": {"libblas-dev"},
		"cblas": {"libblas-dev"}, "hcblas.h": {"libblas-dev"},
	}, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	err := parse(strings.NewReader("usr/bin/x utils/x\nnonsense\n"), func(string, []owner) {})
	if err == nil {
		t.Error("a line without packages passes")
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	answers := []map[string][]string{
		{"hldap.h": {"libldap2-dev"}, "lz": {"zlib1g-dev"}, "lx": {"a", "b"}},
		{"hldap.h": {"libldap-dev"}, "lz": {"zlib1g-dev"}, "hlber.h": {"libldap-dev"}},
	}
	first, err := encode([]string{"old", "new"}, answers)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	want := "old new\n=a,b|\nlx\n=libldap2-dev|libldap-dev\nhldap.h\n=zlib1g-dev\nlz\n=|libldap-dev\nhlber.h\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if again, err := encode([]string{"old", "new"}, answers); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same answers give other bytes (%v)", err)
	}
}
