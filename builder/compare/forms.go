package compare

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// elf compares files section by section. What it cannot read it leaves to others.
func (c *comparison) elf(name string, a, b []byte) {
	first, err := elf.NewFile(bytes.NewReader(a))
	if err != nil {
		return
	}
	second, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return
	}
	sections := func(f *elf.File) []string {
		names := make([]string, len(f.Sections))
		for i, s := range f.Sections {
			names[i] = s.Name
		}
		return names
	}
	was, is := sections(first), sections(second)
	if !slices.Equal(was, is) {
		i := 0
		for i < len(was) && i < len(is) && was[i] == is[i] {
			i++
		}
		d := Difference{File: name, Place: fmt.Sprintf("section %d", i), First: at(was, i), Second: at(is, i)}
		d.Cause = c.cause(d.First, d.First, d.Second)
		c.add(d)
		return
	}
	for i, s := range first.Sections {
		if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
			continue
		}
		x, y := section(a, s), section(b, second.Sections[i])
		if !bytes.Equal(x, y) {
			c.raw(name, s.Name, x, y)
		}
	}
}

// section gives a section's bytes as the file has them, compressed or not.
func section(data []byte, s *elf.Section) []byte {
	if s.Offset > uint64(len(data)) || s.FileSize > uint64(len(data))-s.Offset {
		return nil
	}
	return data[s.Offset : s.Offset+s.FileSize]
}

// zip compares archives member by member.
func (c *comparison) zip(name string, a, b []byte) {
	first, err := zip.NewReader(bytes.NewReader(a), int64(len(a)))
	if err != nil {
		return
	}
	second, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	c.archive(name, zipMembers(first), zipMembers(second))
}

func zipMembers(r *zip.Reader) []archived {
	list := make([]archived, len(r.File))
	for i, f := range r.File {
		list[i] = archived{name: f.Name, fields: [][2]string{
			{"time", f.Modified.UTC().Format("2006-01-02 15:04:05")}, {"method", strconv.Itoa(int(f.Method))},
			{"attributes", fmt.Sprintf("%#x", f.ExternalAttrs)},
		}, open: func() ([]byte, error) {
			if f.UncompressedSize64 > maxContent {
				return nil, fmt.Errorf("%d bytes", f.UncompressedSize64)
			}
			r, err := f.Open()
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return io.ReadAll(io.LimitReader(r, maxContent))
		}}
	}
	return list
}

// archived is a member of an archive.
type archived struct {
	name string
	// fields are what its header says, each with its name.
	fields [][2]string
	open   func() ([]byte, error)
}

// archive compares the members of archives: their names, headers and contents.
func (c *comparison) archive(name string, first, second []archived) {
	names := func(list []archived) []string {
		all := make([]string, len(list))
		for i, m := range list {
			all[i] = m.name
		}
		return all
	}
	was, is := names(first), names(second)
	if !slices.Equal(was, is) {
		i := 0
		for i < len(was) && i < len(is) && was[i] == is[i] {
			i++
		}
		d := Difference{File: name, Place: fmt.Sprintf("member %d", i+1), First: short(at(was, i)), Second: short(at(is, i))}
		d.Cause = c.cause("", d.First, d.Second)
		if d.Cause == "" && slices.Equal(slices.Sorted(slices.Values(was)), slices.Sorted(slices.Values(is))) {
			d.Cause = causeOrder
		}
		c.add(d)
	}
	others := map[string]archived{}
	for _, m := range second {
		others[m.name] = m
	}
	for _, m := range first {
		o, ok := others[m.name]
		if !ok {
			continue
		}
		member := name + "!" + m.name
		for i, f := range m.fields {
			if f != o.fields[i] {
				c.add(Difference{File: member, Place: f[0], First: f[1], Second: o.fields[i][1], Cause: c.cause("", f[1], o.fields[i][1])})
			}
		}
		x, errX := m.open()
		y, errY := o.open()
		if errX == nil && errY == nil {
			c.bytes(member, x, y)
		}
	}
}

// arMagic begins an archive of objects (ar(5)).
const arMagic = "!<arch>\n"

// ar compares static libraries member by member.
func (c *comparison) ar(name string, a, b []byte) {
	first, ok := arMembers(a)
	if !ok {
		return
	}
	second, ok := arMembers(b)
	if !ok {
		return
	}
	c.archive(name, first, second)
}

// arHeader is the length of a member's header: name, time, user, group, mode, size.
const arHeader = 60

// arMembers reads an archive in the form that GNU ar writes.
func arMembers(data []byte) (list []archived, ok bool) {
	rest := data[len(arMagic):]
	var names string
	for len(rest) > 0 {
		if len(rest) < arHeader || string(rest[58:60]) != "`\n" {
			return nil, false
		}
		field := func(from, to int) string { return strings.TrimRight(string(rest[from:to]), " ") }
		size, err := strconv.Atoi(field(48, 58))
		if err != nil || size < 0 || size > len(rest)-arHeader {
			return nil, false
		}
		content := rest[arHeader : arHeader+size]
		m := archived{name: field(0, 16), open: func() ([]byte, error) { return content, nil }, fields: [][2]string{
			{"time", field(16, 28)}, {"user", field(28, 34)}, {"group", field(34, 40)}, {"mode", field(40, 48)},
		}}
		switch m.name {
		case "//":
			names = string(content)
		case "/", "/SYM64/":
			m.name = "the index of symbols"
			list = append(list, m)
		default:
			m.name = arName(m.name, names)
			list = append(list, m)
		}
		rest = rest[min(len(rest), arHeader+size+size%2):]
	}
	return list, true
}

// arName is a member's name: in its header, or where that says among the long ones.
func arName(name, long string) string {
	offset, isLong := strings.CutPrefix(name, "/")
	if at, err := strconv.Atoi(offset); isLong && err == nil && at >= 0 && at < len(long) {
		name, _, _ = strings.Cut(long[at:], "\n")
	}
	return strings.TrimSuffix(name, "/")
}

// placeCode is the part of bytecode behind its header.
const placeCode = "code"

// pyc compares bytecode: its header (PEP 552), then the code.
func (c *comparison) pyc(name string, a, b []byte) {
	const header = 16
	if len(a) < header || len(b) < header {
		return
	}
	fields := []struct {
		name     string
		from, to int
	}{{"magic number", 0, 4}, {"flags", 4, 8}, {"hash of the source", 8, 16}}
	if a[4]&1 == 0 && b[4]&1 == 0 {
		fields = append(fields[:2], []struct {
			name     string
			from, to int
		}{{"time of the source", 8, 12}, {"size of the source", 12, 16}}...)
	}
	for _, f := range fields {
		if was, is := a[f.from:f.to], b[f.from:f.to]; !bytes.Equal(was, is) {
			c.add(Difference{File: name, Place: f.name, First: fmt.Sprintf("%x", was), Second: fmt.Sprintf("%x", is), Cause: causeOfNumbers(was, is, 0)})
		}
	}
	if !bytes.Equal(a[header:], b[header:]) {
		c.raw(name, placeCode, a[header:], b[header:])
	}
}
