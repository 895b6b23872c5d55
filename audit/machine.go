package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ampoule/audit/elf"
	"ampoule/audit/policy"
	"ampoule/tree"
)

// machine is what is known of how a machine's dynamic loader searches. The zero value is a
// machine of which nothing is known.
type machine struct {
	// glibc is the version of its C library; empty when it is not known.
	glibc string
	// cache is what ldconfig has listed in ld.so.cache, by soname; nil without such a file.
	cache map[string][]cachedLibrary
	// configured are the directories that ldconfig lists there beside the loader's own:
	// those of /etc/ld.so.conf.
	configured []string
	// dirs are the directories that the loader was built to search; nil when they are not known.
	dirs []string
	// level is the x86-64 level of the processor; 0 when it is not known.
	level int
}

// cachedLibrary is one file that ld.so.cache lists.
type cachedLibrary struct {
	path string
	// level is that of the processors for which it is; 0 for all.
	level int
}

// machineOf reads what there is to know of a machine.
func machineOf(root Root) machine {
	m := machine{glibc: Glibc(root), configured: loaderDirs(root)}
	m.cache, _ = loaderCache(root)
	m.dirs = builtInDirs(root)
	return m
}

// builtInDirs are the directories that a machine's loader was built to search, by where
// its C library is: Debian's look into the directories of their architecture and those
// without, others into lib64 alone (--libdir of glibc's configure).
func builtInDirs(root Root) []string {
	at := view{tree: &tree.Tree{}, root: root}
	for _, m := range []elf.Machine{elf.X8664, elf.AArch64} {
		all := defaultDirs(m)
		for i, dir := range all {
			if libc, ok := at.resolve(dir + "/libc.so.6"); !ok || libc.Kind != tree.File {
				continue
			}
			switch {
			case i < wideDirs: // /lib/x86_64-linux-gnu
				return slices.Concat(all[:wideDirs], all[plainDirs:])
			case i < plainDirs: // /lib64
				return all[wideDirs:plainDirs]
			}
		}
	}
	return nil
}

// Where in defaultDirs are lib64 and lib.
const wideDirs, plainDirs = 2, 4

// Bounds of ld.so.cache, in bytes and entries. A large machine has a few thousand.
const (
	maxCache   = 16 << 20
	maxEntries = 1 << 18
)

// loaderCache reads /etc/ld.so.cache (glibc's sysdeps/generic/dl-cache.h). Without one
// there is none; one that cannot be read has no libraries, as for the loader.
func loaderCache(root Root) (map[string][]cachedLibrary, error) {
	e, ok := Follow(root, "/etc/ld.so.cache")
	if !ok || e.Kind != tree.File {
		return nil, nil
	}
	none := map[string][]cachedLibrary{}
	if e.Size > maxCache {
		return none, fmt.Errorf("ld.so.cache of %d bytes", e.Size)
	}
	r, err := e.Content.Open()
	if err != nil {
		return none, fmt.Errorf("opening ld.so.cache: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxCache))
	if err != nil {
		return none, fmt.Errorf("reading ld.so.cache: %w", err)
	}
	libs, err := parseCache(data)
	if err != nil {
		return none, err
	}
	return libs, nil
}

// The form of ld.so.cache: sizes in bytes, offsets of fields.
const (
	cacheMagic      = "glibc-ld.so.cache1.1"
	cacheHeader     = 48
	cacheEntry      = 24
	cacheExtensions = 32
	extensionMagic  = 0xeaa42174
	hwcapsSection   = 1
	// hwcapsBit of an entry's hwcap says that the low half is an index in that section.
	hwcapsBit = 1 << 62
)

// What an entry's flags say: a library of glibc 2 for the 64 bits of the machine.
const (
	cacheX8664   = 0x0303
	cacheAArch64 = 0x0a03
)

// parseCache reads the entries of a cache for 64-bit machines. Where an older form comes
// first, ldconfig -c compat, the newer one follows.
func parseCache(data []byte) (map[string][]cachedLibrary, error) {
	start := bytes.Index(data, []byte(cacheMagic))
	if start < 0 || len(data)-start < cacheHeader {
		return nil, fmt.Errorf("ld.so.cache has no %s in it", cacheMagic)
	}
	data = data[start:]
	le := binary.LittleEndian
	count := uint64(le.Uint32(data[20:]))
	if count > maxEntries || cacheHeader+count*cacheEntry > uint64(len(data)) {
		return nil, fmt.Errorf("ld.so.cache of %d bytes with %d entries", len(data), count)
	}
	text := func(at uint32) string {
		if uint64(at) >= uint64(len(data)) {
			return ""
		}
		s, _, _ := bytes.Cut(data[at:min(uint64(at)+4096, uint64(len(data)))], []byte{0})
		return string(s)
	}
	levels := hwcapLevels(data, text)
	libs := map[string][]cachedLibrary{}
	for i := range count {
		entry := data[cacheHeader+i*cacheEntry:]
		flags, hwcap := le.Uint32(entry), le.Uint64(entry[16:])
		lib := cachedLibrary{path: text(le.Uint32(entry[8:]))}
		if flags != cacheX8664 && flags != cacheAArch64 || !path.IsAbs(lib.path) {
			continue
		}
		if hwcap != 0 {
			index := hwcap &^ hwcapsBit
			if hwcap&hwcapsBit == 0 || index >= uint64(len(levels)) {
				continue // of an older kind
			}
			lib.level = levels[index]
		}
		name := text(le.Uint32(entry[4:]))
		libs[name] = append(libs[name], lib)
	}
	for _, list := range libs {
		// The loader takes the one for the highest level that the processor has.
		slices.SortStableFunc(list, func(a, b cachedLibrary) int { return b.level - a.level })
	}
	return libs, nil
}

// hwcapLevels reads the names of the directories below glibc-hwcaps that a cache's entries
// refer to, as levels of x86-64.
func hwcapLevels(data []byte, text func(uint32) string) []int {
	le := binary.LittleEndian
	at := uint64(le.Uint32(data[cacheExtensions:]))
	size := uint64(len(data))
	if at == 0 || at+8 > size || le.Uint32(data[at:]) != extensionMagic {
		return nil
	}
	var levels []int
	for i := range uint64(min(le.Uint32(data[at+4:]), 16)) {
		section := at + 8 + i*16
		if section+16 > size {
			return levels
		}
		offset, length := uint64(le.Uint32(data[section+8:])), uint64(le.Uint32(data[section+12:]))
		if le.Uint32(data[section:]) != hwcapsSection || offset+length > size {
			continue
		}
		for names := data[offset : offset+length]; len(names) >= 4; names = names[4:] {
			levels = append(levels, cpuLevel(text(le.Uint32(names))))
		}
	}
	return levels
}

// highestLevel is the highest level of x86-64 that there is.
const highestLevel = 4

// variants are the directories that the loader looks into before a directory itself: those
// of the processor's levels, best first (ld.so(8), glibc-hwcaps; since 2.33), and, up to
// 2.36, those of older kinds that every processor has.
func (m machine) variants(machine elf.Machine) []string {
	var below []string
	if machine == elf.X8664 && m.atLeast("2.33") {
		for level := min(m.level, highestLevel); level >= 2; level-- {
			below = append(below, "glibc-hwcaps/"+levelName(level))
		}
	}
	if machine == elf.X8664 && m.level > 0 && !(m.glibc != "" && m.atLeast("2.37")) {
		below = append(below, "tls/x86_64", "tls", "x86_64")
	}
	return below
}

// atLeast reports whether the machine's glibc is of a version or a later one; it is taken for
// one where it is not known.
func (m machine) atLeast(version string) bool {
	return m.glibc == "" || slices.Compare(policy.Numbers(m.glibc), policy.Numbers(version)) >= 0
}

// lib is what $LIB stands for.
func (m machine) lib(machine elf.Machine) string {
	dirs := m.dirs
	if len(dirs) == 0 {
		dirs = defaultDirs(machine)
	}
	return strings.TrimPrefix(dirs[0], "/")
}

// platform is what $PLATFORM stands for: AT_PLATFORM of getauxval(3). Some processors of
// Intel have another word there.
func platform(m elf.Machine) string {
	if m == elf.AArch64 {
		return "aarch64"
	}
	return "x86_64"
}
