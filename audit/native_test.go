package audit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit/elf"
)

func TestNativeMembers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		members []member
		want    []string
	}{
		"pure":             {soundMembers(member{name: "my_pkg/data.bin", text: "\x7fELK\x02"}, member{name: "my_pkg/short", text: elf.Magic[:3]}, member{name: "my_pkg/empty"}), nil},
		"in the middle":    {soundMembers(member{name: "my_pkg/x.py", text: "#" + elf.Magic}), nil},
		"directory":        {soundMembers(member{name: "my_pkg/bin/"}), nil},
		"by its content":   {soundMembers(member{name: "my_pkg/fast.txt", text: elf.Magic + "\x02\x01"}), []string{"my_pkg/fast.txt"}},
		"nothing but that": {soundMembers(member{name: "my_pkg/m.so", text: elf.Magic}), []string{"my_pkg/m.so"}},
		"sorted": {soundMembers(member{name: "my_pkg-1.0.data/scripts/tool", text: elf.Magic}, member{name: "a.so", text: elf.Magic}, member{name: "my_pkg/b.so", text: elf.Magic}),
			[]string{"a.so", "my_pkg-1.0.data/scripts/tool", "my_pkg/b.so"}},
	} {
		data := makeWheel(t, c.members)
		got, err := NativeMembers(bytes.NewReader(data), int64(len(data)))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestNativeMembersRefuses(t *testing.T) {
	t.Parallel()
	sound := makeWheel(t, soundMembers(member{name: "my_pkg/m.so", text: elf.Magic + strings.Repeat("x", 4000)}))
	local := bytes.Index(sound, []byte("PK\x03\x04"))
	broken := bytes.Clone(sound)
	broken[local] = 'X'
	for name, data := range map[string][]byte{"no archive": []byte("x"), "empty": nil, "cut": sound[:len(sound)-4], "member that is not there": broken} {
		if got, err := NativeMembers(bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
