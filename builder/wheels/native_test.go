package wheels

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNativeCall(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"gcc -O3 -march=native -fPIC -c src/annoy.cc -o build/annoy.o":                                        true,
		"  /usr/bin/x86_64-linux-gnu-g++-12 -mcpu=native -c a.cpp":                                            true,
		"     Running `/usr/bin/rustc --crate-name blake --edition=2021 src/lib.rs -C target-cpu=native`":     true,
		"     Running `CARGO=/usr/bin/cargo /usr/bin/rustc --crate-name x src/lib.rs -C 'target-cpu=native'`": true,
		"cd /ampoule-build/x/sub && /usr/bin/cc -O3 -march=native -o a.o -c /ampoule-build/x/sub/a.c":         true,
		"[1/3] c++ -Ifoo -march=native -MD -c ../a.cpp":                                                       true,
		"libtool: compile:  gcc -march=native -c a.c  -fPIC":                                                  true,
		"ccache gcc \"-march=native\" -c a.c":                                                                 true,
		"gcc -shared -march=native a.c -o a.so":                                                               true,
		"nvcc -Xcompiler -march=native -c a.cu":                                                               true,
		"gcc -march=native -c src/a.c -o /tmp/build/a.o":                                                      true,
		"gcc -march=native -c src/configtest.c":                                                               true,
		"gcc -march=x86-64 -c src/a.c -march=native":                                                          true,
		"gcc -march=native -c src/a.c -march=x86-64-v2":                                                       false,
		"gcc -mtune=native -c a.c":                                                                            false,
		"gcc -O3 -march=x86-64-v2 -c src/annoy.cc":                                                            false,
		"gcc -march=native -c _configtest.c -o _configtest.o":                                                 false,
		"gcc -march=native -c conftest.c":                                                                     false,
		"cc -fPIC -march=native -c /tmp/tmpq1w2e3.cpp -o tmp/tmpq1w2e3.o":                                     false,
		"/usr/bin/cc -march=native -o CMakeFiles/cmTC_1.dir/src.c.o -c /x/CMakeFiles/CMakeScratch/src.c":      false,
		"Compiler for C supports arguments -march=native: YES":                                                false,
		"checking whether gcc accepts -march=native conf.c":                                                   false,
		"gcc -march=native a.o -o a.so":                                                                       false,
		"gcc -DX=native -c a.c":                                                                               false,
		strings.Repeat("x", 100<<10) + " gcc -march=native -c a.c":                                            true,
		"\xff\xfe\ngcc -march=native -c a.c " + strings.Repeat("-I/usr/include/\xff ", 100) + "x":             true,
	} {
		file := filepath.Join(t.TempDir(), "wheel.log")
		if err := os.WriteFile(file, []byte("running build_ext\n"+line+"\nended\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := nativeCall(file)
		if err != nil || (got != "") != want || len(got) > callBytes {
			t.Errorf("%.80q: %q, %v", line, got, err)
		}
	}
	if _, err := nativeCall(filepath.Join(t.TempDir(), "none.log")); err == nil {
		t.Error("no error without a log")
	}
}
