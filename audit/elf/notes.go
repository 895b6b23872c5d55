package elf

// Note is one entry of a PT_NOTE segment.
type Note struct {
	// Name is its owner, such as "GNU".
	Name string
	Type uint32
	Desc []byte
}

// maxNotes bounds the bytes of all notes.
const maxNotes = 1 << 20

// notes reads the PT_NOTE segments: gABI aligns entries to 4 bytes, the GNU
// property note of 64-bit files to 8. What no note can be is passed over, as the loader
// does: old tools that move program headers leave notes that others have overwritten.
func (img *image) notes(segments []Segment) []Note {
	var list []Note
	total := uint64(0)
	for _, s := range segments {
		if s.Type != NoteSeg || s.FileSize > maxNotes-total {
			continue
		}
		total += s.FileSize
		raw, err := img.bytes(s.Offset, s.FileSize, "PT_NOTE")
		if err != nil {
			continue
		}
		align := uint64(4)
		if isProperty(s, segments) {
			align = 8
		}
		for len(raw) >= 12 {
			n, rest, ok := note(raw, align)
			if !ok {
				break
			}
			list, raw = append(list, n), rest
		}
	}
	return list
}

// isProperty reports whether PT_GNU_PROPERTY covers a PT_NOTE segment.
func isProperty(s Segment, segments []Segment) bool {
	for _, p := range segments {
		if p.Type == GNUProperty && p.Offset == s.Offset {
			return true
		}
	}
	return false
}

// note splits the first note off raw; false means that there is none.
func note(raw []byte, align uint64) (n Note, rest []byte, ok bool) {
	nameSize, descSize := uint64(le.Uint32(raw)), uint64(le.Uint32(raw[4:]))
	size := uint64(len(raw))
	desc := (12 + nameSize + align - 1) &^ (align - 1)
	if 12+nameSize > size || desc > size || descSize > size-desc {
		return Note{}, nil, false
	}
	name := raw[12 : 12+nameSize]
	for len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	n = Note{Name: string(name), Type: le.Uint32(raw[8:]), Desc: raw[desc : desc+descSize]}
	end := min((desc+descSize+align-1)&^(align-1), size)
	return n, raw[end:], true
}
