// Package unpacktest packs wheels for tests, honest and other ones.
package unpacktest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"ampoule/packaging"
)

// Member is a member of a wheel.
type Member struct {
	Name, Text string
	// Mode is that of Unix, kind included; 0 is that of a file that nobody may execute.
	Mode uint32
	// Method is the zip's; most are stored.
	Method uint16
	// Unlisted leaves the member out of RECORD; Listed is what RECORD lists the content as,
	// if it is not empty.
	Unlisted bool
	Listed   string
}

// Text is a member that nobody may execute.
func Text(name, text string) Member { return Member{Name: name, Text: text} }

const regular = 0o100644

// Wheel packs a wheel that is called file. METADATA, WHEEL and RECORD are added as far as
// they are not among the members; in names INFO stands for NAME-VERSION.dist-info and DATA
// for NAME-VERSION.data.
func Wheel(t testing.TB, file string, members ...Member) []byte {
	t.Helper()
	name, err := packaging.ParseWheelName(file)
	if err != nil {
		t.Fatal(err)
	}
	members = complete(name, members)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.Name, Method: m.Method, CreatorVersion: 3 << 8}
		h.ExternalAttrs = m.Mode << 16
		if m.Mode == 0 {
			h.ExternalAttrs = regular << 16
		}
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(m.Text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// complete adds what every wheel has.
func complete(name packaging.WheelName, members []Member) []Member {
	stem := name.Distribution + "-" + name.Version
	expand := strings.NewReplacer("INFO/", stem+".dist-info/", "DATA/", stem+".data/")
	all, has := make([]Member, 0, len(members)+3), map[string]bool{}
	add := func(m Member) {
		m.Name = expand.Replace(m.Name)
		has[m.Name] = true
		all = append(all, m)
	}
	for _, m := range members {
		add(m)
	}
	tag := name.Python + "-" + name.ABI + "-" + name.Platform
	for _, m := range []Member{
		Text("INFO/METADATA", "Metadata-Version: 2.1\nName: "+name.Distribution+"\nVersion: "+name.Version+"\n"),
		Text("INFO/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: "+tag+"\n"),
	} {
		if !has[expand.Replace(m.Name)] {
			add(m)
		}
	}
	if record := expand.Replace("INFO/RECORD"); !has[record] {
		add(Text(record, rows(all)+record+",,\n"))
	}
	return all
}

// rows are RECORD's rows of some members.
func rows(members []Member) string {
	var b strings.Builder
	for _, m := range members {
		text := m.Text
		if m.Listed != "" {
			text = m.Listed
		}
		if !m.Unlisted && !strings.HasSuffix(m.Name, "/") {
			sum := sha256.Sum256([]byte(text))
			fmt.Fprintf(&b, "%s,sha256=%s,%d\n", quoted(m.Name), base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
		}
	}
	return b.String()
}

func quoted(field string) string {
	if strings.ContainsAny(field, "\",\n") {
		return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
	}
	return field
}
