package display

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/go-units"
	eastasian "golang.org/x/text/width"

	"ampoule/builder/progress"
)

// Clean makes foreign text safe to show: control characters, which could move the
// cursor or change the terminal's state, and those that turn the direction of
// writing are shown as Go escapes them. A line break is kept if lines is true.
func Clean(s string, lines bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n' && lines:
			b.WriteByte('\n')
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			} else {
				b.WriteRune(r)
			}
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			escaped := fmt.Sprintf("%+q", r)
			b.WriteString(escaped[1 : len(escaped)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// runeWidth is how many columns a rune takes: two where its East Asian Width is W or F,
// emoji among them (Unicode TR 11), none where it only changes another one.
func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch eastasian.LookupRune(r).Kind() {
	case eastasian.EastAsianWide, eastasian.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// textWidth counts the columns of clean text, SGR sequences left out.
func textWidth(s string) int {
	width := 0
	for len(s) > 0 {
		if n := sgrLen(s); n > 0 {
			s = s[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		width += runeWidth(r)
		s = s[size:]
	}
	return width
}

// sgrLen is the length of the colour sequence that s begins with; 0 for none.
func sgrLen(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	if end := strings.IndexByte(s, 'm'); end > 0 {
		return end + 1
	}
	return 0
}

// fit cuts clean text without colours to a width, marking the cut with "…".
func fit(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if textWidth(s) <= width {
		return s
	}
	taken := 0
	for i, r := range s {
		taken += runeWidth(r)
		if taken > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// Wrap breaks a paragraph of clean text into lines of at most so many columns, each with
// the indent. Words, and paths among them, stay whole.
func Wrap(text, indent string, columns int) string {
	var b strings.Builder
	at := 0
	for _, word := range strings.Fields(text) {
		width := textWidth(word)
		switch {
		case at == 0:
			b.WriteString(indent)
			at = textWidth(indent)
		case at+1+width > columns:
			b.WriteString("\n" + indent)
			at = textWidth(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += width
	}
	return b.String()
}

// Duration shows a time span with the precision that a person needs: "0.4s",
// "12s", "3m05s", "1h02m".
func Duration(d time.Duration) string {
	switch {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Size shows a number of bytes in binary units: "812 B", "4.2 MiB".
func Size(n int64) string {
	if n < units.KiB {
		return fmt.Sprintf("%d B", n)
	}
	return units.CustomSize("%.1f %s", float64(n), units.KiB, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

// amount shows how far a task is: "4.2/8.0 MiB" as two sizes, or "3/12".
func amount(done, total int64, unit progress.Unit) string {
	show := func(n int64) string { return fmt.Sprint(n) }
	if unit == progress.Bytes {
		show = Size
	}
	switch {
	case total > 0:
		return show(done) + "/" + show(total)
	case done > 0:
		return show(done)
	default:
		return ""
	}
}

// name is how a task is called: its stage and, where it has one, its own name.
func name(e progress.Event) string {
	return strings.TrimSpace(Clean(e.Stage.String()+" "+e.Task, false))
}

// holder says who is waited for, at a time: "build k3vq of web, process 4711 on ci-3, begun
// 2m05s ago". What is not known of it is left out.
func holder(h *progress.Holder, at time.Time) string {
	if h == nil {
		h = &progress.Holder{}
	}
	if h.Has != "" {
		return share(h, at)
	}
	var known []string
	if h.Build != "" {
		known = append(known, strings.TrimSuffix("build "+h.Build+" of "+h.Recipe, " of "))
	}
	if h.Process != 0 {
		known = append(known, strings.TrimSuffix(fmt.Sprintf("process %d on %s", h.Process, h.Host), " on "))
	}
	if len(known) == 0 {
		return "another process"
	}
	if !h.Since.IsZero() {
		known = append(known, "begun "+Duration(at.Sub(h.Since))+" ago")
	}
	return Clean(strings.Join(known, ", "), false)
}

// share says which part of the machine is waited for, and who has most of it.
func share(h *progress.Holder, at time.Time) string {
	text := string(h.Has)
	if h.Step == "" {
		return Clean(text, false)
	}
	text += ": " + h.Step
	if h.Build != "" {
		text += strings.TrimSuffix(" of build "+h.Build+" of "+h.Recipe, " of ")
	}
	text += " has most"
	if !h.Since.IsZero() {
		text += ", begun " + Duration(at.Sub(h.Since)) + " ago"
	}
	return Clean(text, false)
}
