package docker

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNothingDetaches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pieces []string
		want   string
	}{
		{[]string{"plain \x10\x11 text"}, "plain \x10\x11 text"},
		{[]string{"\x1f\x00"}, "\x1f\x00"},
		{[]string{"a\x00\x1fb"}, "a\x00b"},
		{[]string{"\x00", "\x1f", "\x1f", "b\x1f"}, "\x00b\x1f"},
		{[]string{"\x00", "", "\x1f", "\x00\x00\x1f"}, "\x00\x00\x00"},
	} {
		in := &input{terminal: true, last: endOfInput}
		var got []byte
		for _, piece := range test.pieces {
			got = append(got, in.attached([]byte(piece))...)
		}
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.pieces, diff)
		}
	}
}
