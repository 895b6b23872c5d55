package builder

import "testing"

// A wheel of the wheelhouse is remembered under the wheel and what is written into it.
func TestLabelledKey(t *testing.T) {
	t.Parallel()
	plain := labelledKey("aa", []byte("{}"))
	if again := labelledKey("aa", []byte("{}")); again != plain {
		t.Error("the same gives another key")
	}
	if labelledKey("bb", []byte("{}")) == plain || labelledKey("aa", []byte("{ }")) == plain {
		t.Error("another wheel, or another text, gives the same key")
	}
}
