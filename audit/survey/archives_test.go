package survey

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// What is in archives is not judged, and each form says so, even of a wheel without native
// code.
func TestArchives(t *testing.T) {
	t.Parallel()
	inner := pack(t, dist(module(t, "libpython3.13.so.1.0"), tag))
	text := map[string]string{"spam/__init__.py": ""}
	name := "spam-1.0-" + tag + ".whl"
	environment := map[string]string{venv + "/pyvenv.cfg": "home = /usr/bin\n", venv + "/bin/python3.13": "-> /usr/bin/python3.13"}
	crowd := map[string]string{}
	for i := range shown + 2 {
		crowd[fmt.Sprintf("d/%02d/%s", i, name)] = pack(t, distOf("spam", tag, "", map[string]string{fmt.Sprintf("spam/%02d.zip", i): inner}))
	}
	for what, c := range map[string]struct {
		files map[string]string
		path  string
		// unjudged is what stands in the text form; empty means that nothing does.
		unjudged string
	}{
		"none": {map[string]string{"d/" + name: pack(t, distOf("spam", tag, "", text))}, "/d", ""},
		"a wheel in a wheel": {map[string]string{"d/" + name: pack(t, distOf("spam", tag, "", map[string]string{"spam/" + name: inner}))}, "/d",
			"not judged: archives (what is in " + name + "/spam/" + name + " is not looked into)\n"},
		"archives in a wheel": {map[string]string{"d/" + name: pack(t, distOf("spam", tag, "", map[string]string{"a.ZIP": inner, "b.tar.gz": "", "c.jar": ""}))}, "/d",
			"not judged: archives (what is in " + name + "/a.ZIP, and in 2 more archives, is not looked into)\n"},
		"archives in an environment": {together(environment, under(site, distOf("spam", tag, "", map[string]string{"spam/x.zip": inner, "spam/y.txt": ""}))), "/" + venv,
			"not judged: archives (what is in /" + site + "/spam/x.zip is not looked into)\n"},
		"very many": {crowd, "/d", "… and for 2 more reasons: --output json tells all\n"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, err := Look(t.Context(), Target{Files: machine(t, c.files), Path: c.path})
			if err != nil {
				t.Fatal(err)
			}
			inReport := false
			for _, n := range r.Units[0].Unjudged {
				inReport = inReport || n.Check == archives && n.Files > 0
			}
			var told bytes.Buffer
			if err := r.WriteText(&told, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if inReport != (c.unjudged != "") || !strings.Contains(told.String(), c.unjudged) || strings.Contains(told.String(), "archives (") != inReport {
				t.Errorf("in the report: %t; the text, which has to have %q:\n%s", inReport, c.unjudged, &told)
			}
		})
	}
}
