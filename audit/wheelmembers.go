package audit

import (
	"maps"
	"slices"

	"ampoule/tree"
)

// Members lists the wheel's files where the wheel has them, sorted, but for those that
// cannot be unpacked, of which there are findings. What holds ELF code can be read anywhere
// (io.ReaderAt); it remains readable until the wheel is closed.
func (w *WheelFile) Members() []tree.Entry {
	var entries []tree.Entry
	for _, name := range slices.Sorted(maps.Keys(w.exam.members)) {
		m := w.exam.members[name]
		if m.err != nil {
			continue
		}
		content := m.content
		if content == nil {
			content = m.File
		}
		entries = append(entries, tree.Entry{Path: name, Kind: tree.File, Mode: 0o644, Size: m.size, SHA256: m.sum, Content: content})
	}
	return entries
}
