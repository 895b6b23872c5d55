package elf

// Need is what a file requires of one other file.
type Need struct {
	// File is the soname of the library.
	File     string
	Versions []Version
}

// Version is one required version. The loader does not insist on a weak one.
type Version struct {
	Name string
	Weak bool
}

// maxVersions bounds the versions of one file, needed and defined, each.
const maxVersions = 1 << 15

// flagBase and flagWeak are VER_FLG_BASE and VER_FLG_WEAK.
const (
	flagBase = 1
	flagWeak = 2
)

// versions reads DT_VERNEED and DT_VERDEF (LSB 5.0, 11.7) and returns the names
// by the index that DT_VERSYM uses.
func (img *image) versions(f *File, dyn entries, strs stringTable) (map[uint16]string, error) {
	names := map[uint16]string{}
	if dyn.has(tagVerNeed) {
		if err := img.needs(f, dyn, strs, names); err != nil {
			return nil, err
		}
	}
	if dyn.has(tagVerDef) {
		if err := img.defines(f, dyn, strs, names); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (img *image) needs(f *File, dyn entries, strs stringTable, names map[uint16]string) error {
	addr := dyn.last[tagVerNeed]
	total := 0
	for left := dyn.last[tagVerNdNum]; left > 0; left-- {
		head, err := img.mapped(addr, 16, "DT_VERNEED")
		if err != nil {
			return err
		}
		n := Need{}
		if n.File, err = strs.path(uint64(le.Uint32(head[4:])), "DT_VERNEED"); err != nil {
			return err
		}
		count := int(le.Uint16(head[2:]))
		total += count + 1
		if total > maxVersions {
			return malformed("DT_VERNEED: more than %d entries", maxVersions)
		}
		if n.Versions, err = img.needVersions(addr+uint64(le.Uint32(head[8:])), count, strs, names); err != nil {
			return err
		}
		f.Needs = append(f.Needs, n)
		next := uint64(le.Uint32(head[12:]))
		if next == 0 {
			break
		}
		addr += next
	}
	return nil
}

// needVersions reads the count versions of one needed file.
func (img *image) needVersions(addr uint64, count int, strs stringTable, names map[uint16]string) ([]Version, error) {
	var list []Version
	for range count {
		aux, err := img.mapped(addr, 16, "DT_VERNEED")
		if err != nil {
			return nil, err
		}
		name, err := strs.path(uint64(le.Uint32(aux[8:])), "DT_VERNEED")
		if err != nil {
			return nil, err
		}
		list = append(list, Version{Name: name, Weak: le.Uint16(aux[4:])&flagWeak != 0})
		names[le.Uint16(aux[6:])&0x7fff] = name
		next := uint64(le.Uint32(aux[12:]))
		if next == 0 {
			break
		}
		addr += next
	}
	return list, nil
}

func (img *image) defines(f *File, dyn entries, strs stringTable, names map[uint16]string) error {
	addr := dyn.last[tagVerDef]
	total := 0
	for left := dyn.last[tagVerDefNum]; left > 0; left-- {
		total++
		if total > maxVersions {
			return malformed("DT_VERDEF: more than %d entries", maxVersions)
		}
		head, err := img.mapped(addr, 20, "DT_VERDEF")
		if err != nil {
			return err
		}
		aux, err := img.mapped(addr+uint64(le.Uint32(head[12:])), 8, "DT_VERDEF")
		if err != nil {
			return err
		}
		name, err := strs.path(uint64(le.Uint32(aux)), "DT_VERDEF")
		if err != nil {
			return err
		}
		if le.Uint16(head[2:])&flagBase == 0 {
			f.Defines = append(f.Defines, name)
			names[le.Uint16(head[4:])&0x7fff] = name
		}
		next := uint64(le.Uint32(head[16:]))
		if next == 0 {
			break
		}
		addr += next
	}
	return nil
}
