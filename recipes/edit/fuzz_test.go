package edit_test

import (
	"bytes"
	"testing"

	"ampoule/recipes"
	"ampoule/recipes/edit"
)

// Whatever a recipe is like, an edit gives a recipe with the requirement in it, and removing that
// again leaves it out; or it is refused.
func FuzzAddItem(f *testing.F) {
	for _, list := range []string{
		"", "requirements: []\n", "requirements: [flask, 'idna'] # ü\n", "requirements:\n- flask # app\n-  \"idna\"\n",
		"requirements: [\n  flask,\n  idna # x\n]\n", "? requirements\n: [a]\n", "requirements:\n  - >-\n   flask\n", "requirements: [ü]\r\n",
		"requirements:\n  [flask,\n  idna]\n",
	} {
		f.Add(list)
	}
	six, err := edit.Want("six>=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, list string) {
		recipe := []byte(head + list + tail)
		added, _, err := edit.AddItem("ampoule.yaml", recipe, six, "requirements")
		if err != nil {
			return
		}
		if r, err := recipes.ParseRecipe("ampoule.yaml", added); err != nil || len(r.Requirements.List) == 0 {
			t.Fatalf("%s\n%v", added, err)
		}
		removed, changes, err := edit.RemoveItems("ampoule.yaml", added, "six", "requirements")
		if err != nil {
			return
		}
		if _, err := recipes.ParseRecipe("ampoule.yaml", removed); err != nil || len(changes) == 0 {
			t.Fatalf("%s\n%v", removed, err)
		}
	})
}

// Adding a line and removing it gives the file again, but for empty lines and line ends.
func FuzzAddLine(f *testing.F) {
	for _, text := range []string{"", "flask\n", "flask \\\n", "a\\", "# x\\\nidna #y\r\n", "\ufeff", "\f\n", "-r a.txt\n--hash=x"} {
		f.Add([]byte(text))
	}
	six, err := edit.Want("zz-added>=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("added")) {
			return
		}
		added, _, err := edit.AddLine("requirements.txt", text, six)
		if err != nil {
			return
		}
		removed, changes, err := edit.RemoveLines("requirements.txt", added, "zz-added")
		if err != nil || len(changes) != 1 || !bytes.Equal(bytes.Join(bytes.Fields(removed), nil), bytes.Join(bytes.Fields(text), nil)) {
			t.Fatalf("%q, %q, %v", text, removed, err)
		}
	})
}
