// Package lint compares a recipe with what the repository around it says to other tools.
package lint

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ampoule/recipes"
	"ampoule/recipes/project"
)

// Pythons compares the recipe's version of Python with what the repository says about it,
// see [project.Repository.Pythons]. err is [recipes.Faults] where a statement excludes the
// recipe's version: each names the file, its version, and the recipe's. A statement that
// is perhaps of something else, and one that nobody understands, are told.
//
// A statement excludes a version that is not within what it asks for: 3.13 asks for any
// 3.13, and 3.13.5 for that release alone. Of a group, such as the jobs of a
// pipeline, one has to ask for the recipe's.
func Pythons(r *recipes.Recipe) (told recipes.Faults, err error) {
	repository, err := project.Open(filepath.Dir(r.File()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = repository.Close() }()
	c := &comparison{recipe: r, statements: repository.Pythons()}
	c.except()
	for _, group := range project.Groups(c.statements) {
		c.judge(group)
	}
	c.others(repository.Recipes())
	told = append(repository.Told(), c.told...)
	return told, c.faults.Err()
}

type comparison struct {
	recipe     *recipes.Recipe
	statements []project.Statement
	told       recipes.Faults
	faults     recipes.Faults
}

// except leaves out what the recipe excepts. An exception that meets no statement is a
// fault: a file that was moved is looked at again.
func (c *comparison) except() {
	var kept []project.Statement
	met := map[string]bool{}
	for _, s := range c.statements {
		excepted := false
		for _, e := range c.recipe.Python.Except {
			for _, pattern := range e.Files {
				if ok, _ := path.Match(path.Clean(pattern), s.Name); ok {
					excepted, met[pattern] = true, true
				}
			}
		}
		if !excepted {
			kept = append(kept, s)
		}
	}
	c.statements = kept
	for i, e := range c.recipe.Python.Except {
		for k, pattern := range e.Files {
			if !met[pattern] {
				c.faults = append(c.faults, c.recipe.Fault(
					pattern+" says nothing about the version of Python, so that there is nothing to except",
					"remove it; names are relative to the recipe", "python", "except", strconv.Itoa(i), "files", strconv.Itoa(k)))
			}
		}
	}
}

// judge compares a group.
func (c *comparison) judge(group []project.Statement) {
	version := c.recipe.Python.Version
	if project.Admit(group, version) {
		return
	}
	s := group[0]
	at := c.recipe.At("python", "version")
	what := fmt.Sprintf("%s wants Python %s", s.Says, wanted(group))
	if s.Says == s.Text || strings.HasSuffix(s.Says, " "+s.Text) {
		what = fmt.Sprintf("%s wants Python %s", s.Name, wanted(group))
	}
	what += fmt.Sprintf(", and %s has %s", at, version)
	fault := recipes.Fault{File: s.File, Line: s.Line, Column: s.Column, What: what}
	if !s.Applies {
		c.told = append(c.told, fault)
		return
	}
	fault.Hint = c.hint(group)
	c.faults = append(c.faults, fault)
}

// wanted lists what a group wants, each once.
func wanted(group []project.Statement) string {
	var texts []string
	for _, s := range group {
		if !slices.Contains(texts, s.Text) {
			texts = append(texts, s.Text)
		}
	}
	return strings.Join(recipes.First(texts), " or ")
}

// hint gives the lines that except the files of a group.
func (c *comparison) hint(group []project.Statement) string {
	var files []string
	for _, s := range group {
		if !slices.Contains(files, s.Name) {
			files = append(files, s.Name)
		}
	}
	return fmt.Sprintf(`make them agree: one version is built, tested and run. Where a file is about another Python, the recipe says why:
python:
  version: %s
  except:
    - {files: [%s], why: it is about another Python}`, c.recipe.Python.Version, strings.Join(files, ", "))
}

// others tells of recipes in the same directory that have another version: two Pythons
// may be what somebody wants.
func (c *comparison) others(names []string) {
	own := filepath.Base(c.recipe.File())
	for _, name := range names {
		if name == own {
			continue
		}
		other, err := recipes.ReadRecipe(filepath.Join(filepath.Dir(c.recipe.File()), name))
		if err != nil || other.Python.Version == c.recipe.Python.Version {
			continue
		}
		at := other.At("python", "version")
		c.told = append(c.told, recipes.Fault{File: at.File, Line: at.Line, Column: at.Column,
			What: fmt.Sprintf("this recipe has Python %s, and %s has %s", other.Python.Version, c.recipe.At("python", "version"), c.recipe.Python.Version)})
	}
}
