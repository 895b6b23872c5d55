package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"ampoule/faults"
)

// Limits of what a page shows of a log.
const (
	logLines   = 1000
	logMatches = 200
	// longLine is how much of one line is shown, in bytes.
	longLine = 4 << 10
)

// Line is a line of a log.
type Line struct {
	Number int
	Text   string
	// Error says that it looks like what went wrong.
	Error bool
}

// LogPage is what the page of a log shows.
type LogPage struct {
	Build Build
	Lines []Line
	// Total counts all lines. Tail says that the last ones are shown.
	Total int
	Tail  bool
	// ErrorLine is the number of the first line that looks like what went wrong; 0 without one.
	ErrorLine int
	// Query is what was searched for, Matches what was found, Found how many lines have it.
	Query   string
	Matches []Line
	Found   int
	// Earlier and Later are the first lines of the pages before and after; 0 without one.
	Earlier, Later int
	// Live is the address of what is added; empty where nothing is.
	Live string
}

func (p *Pages) logPage(e *exchange) error {
	b, err := p.build(e)
	if err != nil {
		return err
	}
	from, err := number(e, "from")
	if err != nil {
		return err
	}
	r, err := p.Logs.OpenLog(e.Context(), b.ID)
	if err != nil && faults.Of(err) != faults.NotFound {
		return err
	}
	body := LogPage{Build: b, Query: strings.TrimSpace(e.URL.Query().Get("q")), Tail: from == 0}
	offset := int64(0)
	if err == nil {
		offset, err = body.read(r, int(from), b.State.Terminal())
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	if body.Tail && !b.State.Terminal() {
		body.Live = linkPath("builds", b.ID, "log", "events") + fmt.Sprintf("?offset=%d&line=%d", offset, body.Total)
	}
	return e.render(http.StatusOK, "log", "builds", body)
}

// number reads a parameter that is a number of 0 or more; 0 where it is missing.
func number(e *exchange, name string) (int64, error) {
	text := e.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, faults.New(faults.Usage, "", "%s=%.40q is no number", name, text)
	}
	return n, nil
}

// read walks a whole log and keeps the lines from a number on, or the last ones where it is 0. It
// returns the offset behind the last line that was counted.
func (l *LogPage) read(r io.Reader, from int, complete bool) (int64, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	want := strings.ToLower(l.Query)
	offset := int64(0)
	for {
		text, n, err := readLine(in)
		if errors.Is(err, io.EOF) && (n == 0 || !complete) {
			break // what has no end yet is no line yet
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("reading the log: %w", err)
		}
		offset += n
		l.Total++
		l.take(text, from, want)
		if err != nil {
			break
		}
	}
	l.Tail = from == 0 || from+logLines > l.Total
	if len(l.Lines) > 0 && l.Lines[0].Number > 1 {
		l.Earlier = max(1, l.Lines[0].Number-logLines)
	}
	if !l.Tail {
		l.Later = from + logLines
	}
	return offset, nil
}

func (l *LogPage) take(text string, from int, want string) {
	line := Line{Number: l.Total, Text: text, Error: looksWrong(text)}
	if line.Error && l.ErrorLine == 0 {
		l.ErrorLine = line.Number
	}
	if want != "" && strings.Contains(strings.ToLower(text), want) {
		l.Found++
		if l.Found <= logMatches {
			l.Matches = append(l.Matches, line)
		}
	}
	switch {
	case from == 0:
		l.Lines = append(l.Lines, line)
		if len(l.Lines) >= 2*logLines {
			l.Lines = append(l.Lines[:0], l.Lines[len(l.Lines)-logLines:]...)
		}
	case line.Number >= from && line.Number < from+logLines:
		l.Lines = append(l.Lines, line)
	}
}

// Shown are the lines that the page has.
func (l LogPage) Shown() []Line { return l.Lines[max(0, len(l.Lines)-logLines):] }

// ErrorLink is where the first line is that looks like what went wrong.
func (l LogPage) ErrorLink() string {
	anchor := fmt.Sprintf("#L%d", l.ErrorLine)
	shown := l.Shown()
	if len(shown) > 0 && shown[0].Number <= l.ErrorLine && l.ErrorLine <= shown[len(shown)-1].Number {
		return anchor
	}
	return l.LineLink(l.ErrorLine)
}

// LineLink is the page that has a line, with what is around it.
func (l LogPage) LineLink(n int) string {
	return linkPath("builds", l.Build.ID, "log") + fmt.Sprintf("?from=%d#L%d", max(1, n-logLines/4), n)
}

// readLine reads one line, of which it keeps the beginning, and says how many bytes it has with
// its end. At the end of what there is the error is io.EOF.
func readLine(in *bufio.Reader) (text string, n int64, err error) {
	var kept []byte
	for {
		part, err := in.ReadSlice('\n')
		n += int64(len(part))
		if room := longLine + 1 - len(kept); room > 0 {
			kept = append(kept, part[:min(room, len(part))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return cleanLine(string(kept)), n, err
		}
	}
}

// escapes are the sequences by which programs colour what they write, and move in it (ECMA-48).
var escapes = regexp.MustCompile(`\x1b(?:\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])`)

// cleanLine is a line as people should see it: without what only terminals read. Of a line that
// was written over itself it has the last form.
func cleanLine(text string) string {
	text = strings.TrimRight(text, "\r\n")
	if len(text) > longLine {
		text = text[:longLine] + " …"
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = escapes.ReplaceAllString(text, "")
	if i := strings.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	return strings.Map(visible, text)
}

// visible keeps what people read, and drops what moves or turns the text around it.
func visible(r rune) rune {
	if r != '\t' && r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return -1
	}
	return r
}

// wrongForm matches what compilers, build backends and Python write when something goes wrong.
var wrongForm = regexp.MustCompile(`(?i:^(?:.{0,80} \| )?(?:[^\s:]+:\d+:(?:\d+:)? )?(?:fatal )?error\b[:\[])|Traceback \(most recent call last\)|(?i:: (?:fatal )?error: )|(?:^| \| )\w*Error: |(?:^| )make(?:\[\d+\])?: \*\*\*|(?:^| \| )E: |undefined reference to|(?:^| \| )ERROR\b`)

// looksWrong reports whether a line looks like what went wrong.
func looksWrong(text string) bool { return wrongForm.MatchString(text) }

// logText gives a log as it is.
func (p *Pages) logText(e *exchange) error {
	b, err := p.build(e)
	if err != nil {
		return err
	}
	r, err := p.Logs.OpenLog(e.Context(), b.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	e.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.Copy(e.w, r) // a visitor who is gone cannot be told so
	return nil
}

// logEvents sends the lines that a log has from a place on, and those that are added. A visitor
// who comes back says how far it came.
func (p *Pages) logEvents(e *exchange) error {
	b, err := p.build(e)
	if err != nil {
		return err
	}
	f := follow{e: e}
	if f.offset, f.line, err = place(e); err != nil {
		return err
	}
	if f.s, err = e.stream(); err != nil {
		return nil // nobody is there any more
	}
	ctx, stop := context.WithCancel(e.Context())
	defer stop()
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		f.s.keep(ctx, stop)
	}()
	err = p.Logs.FollowLog(ctx, b.ID, f.offset, f.take)
	if err == nil && f.flush(true) == nil {
		_ = f.s.send("end", "", "")
	}
	stop()
	<-beats
	return nil
}

// place is where a visitor goes on: behind an offset, and behind a line of that number.
func place(e *exchange) (offset int64, line int, err error) {
	if id := e.Header.Get("Last-Event-ID"); id != "" {
		if _, err := fmt.Sscanf(id, "%d-%d", &offset, &line); err == nil && offset >= 0 && line >= 0 {
			return offset, line, nil
		}
		return 0, 0, faults.New(faults.Usage, "", "Last-Event-ID %.40q is none of this log", id)
	}
	offset, err = number(e, "offset")
	if err != nil {
		return 0, 0, err
	}
	n, err := number(e, "line")
	return offset, int(n), err
}

// follow is one visitor that follows a log.
type follow struct {
	e      *exchange
	s      *stream
	offset int64
	line   int
	rest   []byte
}

// take sends the lines that are whole.
func (f *follow) take(data []byte) error {
	f.rest = append(f.rest, data...)
	return f.flush(false)
}

// flush sends lines; at the end of the log, what has no end is one, too.
func (f *follow) flush(all bool) error {
	var lines []Line
	for len(f.rest) > 0 {
		n := bytes.IndexByte(f.rest, '\n') + 1
		if n == 0 {
			if !all && len(f.rest) < 64<<10 {
				break
			}
			n = len(f.rest)
		}
		text := cleanLine(string(f.rest[:n]))
		f.rest = f.rest[n:]
		f.offset += int64(n)
		f.line++
		lines = append(lines, Line{f.line, text, looksWrong(text)})
		if len(lines) == logLines {
			break
		}
	}
	if len(lines) == 0 {
		return nil
	}
	text, err := f.e.part("log", "lines", lines)
	if err != nil {
		return err
	}
	if err := f.s.send("lines", fmt.Sprintf("%d-%d", f.offset, f.line), text); err != nil {
		return err
	}
	return f.flush(all)
}
