package audit

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// entryOf is a line of an ld.so.cache.
type entryOf struct {
	flags      uint32
	name, path string
	hwcap      uint64
}

// cacheFile makes an ld.so.cache of some entries, with the names of directories below
// glibc-hwcaps.
func cacheFile(entries []entryOf, levels ...string) []byte {
	le := binary.LittleEndian
	var table, texts []byte
	start := uint32(cacheHeader + cacheEntry*len(entries))
	text := func(s string) uint32 {
		at := start + uint32(len(texts))
		texts = append(append(texts, s...), 0)
		return at
	}
	for _, e := range entries {
		table = le.AppendUint32(table, e.flags)
		table = le.AppendUint32(table, text(e.name))
		table = le.AppendUint32(table, text(e.path))
		table = le.AppendUint64(le.AppendUint32(table, 0), e.hwcap)
	}
	var names []byte
	for _, level := range levels {
		names = le.AppendUint32(names, text(level))
	}
	extensions := start + uint32(len(texts))
	b := le.AppendUint32([]byte(cacheMagic), uint32(len(entries)))
	b = le.AppendUint32(b, uint32(len(texts)))
	b = le.AppendUint32(append(b, 2, 0, 0, 0), extensions)
	b = append(b, make([]byte, cacheHeader-len(b))...)
	b = append(append(b, table...), texts...)
	for _, v := range []uint32{extensionMagic, 1, hwcapsSection, 0, extensions + 24, uint32(len(names))} {
		b = le.AppendUint32(b, v)
	}
	return append(b, names...)
}

func TestParseCache(t *testing.T) {
	t.Parallel()
	data := cacheFile([]entryOf{
		{cacheX8664, "liba.so.1", "/lib/liba.so.1", 0},
		{cacheX8664, "liba.so.1", "/lib/glibc-hwcaps/x86-64-v2/liba.so.1", hwcapsBit | 1},
		{cacheX8664, "liba.so.1", "/lib/glibc-hwcaps/x86-64-v3/liba.so.1", hwcapsBit},
		{3, "libb.so.1", "/lib32/libb.so.1", 0},
		{cacheX8664, "libc.so.1", "/lib/tls/libc.so.1", 1 << 5},
		{cacheX8664, "libd.so.1", "relative/libd.so.1", 0},
		{cacheX8664, "libe.so.1", "/lib/libe.so.1", hwcapsBit | 9},
		{cacheAArch64, "libf.so.1", "/lib/libf.so.1", 0},
	}, "x86-64-v3", "x86-64-v2")
	got, err := parseCache(append([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00"), data...))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]cachedLibrary{
		"liba.so.1": {{"/lib/glibc-hwcaps/x86-64-v3/liba.so.1", 3}, {"/lib/glibc-hwcaps/x86-64-v2/liba.so.1", 2}, {"/lib/liba.so.1", 0}},
		"libf.so.1": {{"/lib/libf.so.1", 0}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(cachedLibrary{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseCache(f *testing.F) {
	f.Add(cacheFile([]entryOf{{cacheX8664, "liba.so.1", "/lib/liba.so.1", hwcapsBit}}, "x86-64-v3"))
	f.Add([]byte(cacheMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		libs, err := parseCache(data)
		if (err == nil) != (libs != nil) {
			t.Errorf("%v, %v", libs, err)
		}
	})
}

// What the loader was built to search shows in where its C library is.
func TestBuiltInDirs(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"lib/x86_64-linux-gnu/libc.so.6":      "/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib /usr/lib",
		"usr/lib/aarch64-linux-gnu/libc.so.6": "/lib/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu /lib /usr/lib",
		"usr/lib64/libc.so.6":                 "/lib64 /usr/lib64",
		"usr/lib/libc.so.6":                   "",
		"lib/ld-musl-x86_64.so.1":             "",
	} {
		root := newTree(t, tree.FileEntry(file, 0o755, []byte("x")))
		if got := strings.Join(builtInDirs(root), " "); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// The loader of a store of packages has its own libraries beside it, and nobody else's.
func TestLoaderElsewhere(t *testing.T) {
	t.Parallel()
	store := "nix/store/glibc/lib/"
	lib := library(t, "libinner.so.1", "int inner;")
	exe := shop.build(t, "python3.13", pythonSource+"int main(void){return libc_old();}",
		"-Wl,-e,main", "-rdynamic", "-Wl,-dynamic-linker,/"+store+"ld-linux-x86-64.so.2", libc(t, "old"))
	for name, tt := range map[string]struct {
		at   string
		want []string
	}{
		"beside it":    {store, nil},
		"the system's": {linkGnu, []string{"refuse closure /usr/lib/python3.13/site-packages/victim" + suffix + ": DT_NEEDED libinner.so.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newTree(t,
				in(t, linkGnu, libc(t, "mid")), in(t, store, libc(t, "mid")),
				in(t, store, library(t, "ld-linux-x86-64.so.2", "int loader;")), in(t, tt.at, lib))
			interpreter := fromFile(t, "usr/bin/python3.13", exe)
			interpreter.Owner = OwnerInterpreter
			place := Place{
				Tree:        newTree(t, interpreter, in(t, "usr/lib/python3.13/site-packages", extension(t, "victim", lib))),
				Interpreter: "usr/bin/python3.13", Site: "usr/lib/python3.13/site-packages",
			}
			if diff := cmp.Diff(append([]string{}, tt.want...), inspected(t, "closure", root, place)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSystemPackages(t *testing.T) {
	t.Parallel()
	table := systemPackages()
	if n := len(table.bySoname); n < 60 {
		t.Errorf("%d libraries", n)
	}
	for name, p := range table.bySoname {
		if p.String() == "" && name != "libffi.so.7" || !strings.Contains(name, ".so") && !strings.HasSuffix(name, ".so") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for _, tt := range []struct {
		name      string
		exact, ok bool
		debian    string
	}{
		{"libGL.so.1", true, true, "libgl1"}, {"libpq.so.5", true, true, "libpq5"}, {"libpq.so.77", false, true, "libpq5"}, {"libnobody.so.1", false, false, ""},
	} {
		p, exact, ok := SystemPackageOf(tt.name)
		if exact != tt.exact || ok != tt.ok || p.Debian != tt.debian {
			t.Errorf("%s: %+v %t %t", tt.name, p, exact, ok)
		}
	}
	for name, want := range map[string]string{
		"libcudart.so.12": "nvidia-cuda-runtime-cu12", "libcublas.so.11": "nvidia-cublas-cu11", "libcudnn.so.9": "nvidia-cudnn-cu12",
		"libnccl.so.2": "nvidia-nccl-cu12", "libtorch_cpu.so": "torch", "libpq.so.5": "",
	} {
		if got := wheelOf(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
