package foreign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// pythonJSON writes a value of a TOML file as Python's json.dumps does with sort_keys: the
// tools hash this text. item and key are its separators.
func pythonJSON(b *strings.Builder, v any, item, key string) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case string:
		pythonString(b, v)
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(pythonFloat(v))
	case []any:
		b.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				b.WriteString(item)
			}
			pythonJSON(b, one, item, key)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(item)
			}
			pythonString(b, name)
			b.WriteString(key)
			pythonJSON(b, v[name], item, key)
		}
		b.WriteByte('}')
	default:
		// Python refuses dates and times, so that no lock has a hash of one.
		fmt.Fprintf(b, "%v", v)
	}
}

// pythonString writes a text with all but ASCII escaped.
func pythonString(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case c >= 0x10000:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		case c < ' ' || c > '~':
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}

// pythonFloat writes a number as Python's repr does, but for very large and small ones.
func pythonFloat(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e16 {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// hashOf gives the sha256 of a value's JSON, in hexadecimal digits.
func hashOf(v any, item, key string) string {
	var b strings.Builder
	pythonJSON(&b, v, item, key)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// table gives a table below others; nil where there is none.
func table(whole map[string]any, path ...string) map[string]any {
	for _, key := range path {
		whole, _ = whole[key].(map[string]any)
	}
	return whole
}
