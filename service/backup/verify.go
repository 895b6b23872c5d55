package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ampoule/faults"
	"ampoule/service/database"
)

// format is the number of this form of backups.
const format = 1

// description is the content of [Description].
type description struct {
	Format int `json:"format"`
	// Sums is the sha256 of the file of that name.
	Sums string `json:"sums"`
	Summary
}

// maxDescription bounds what is read of it, in bytes.
const maxDescription = 1 << 20

// DamagedError says that a backup is not what was written.
type DamagedError struct{ Dir, Path, What string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the backup %s is damaged: %s %s", e.Dir, e.Path, e.What)
}

// Kind says whose turn it is.
func (*DamagedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*DamagedError) Hint() string { return "take another backup; nothing of this one was used" }

// describe writes the lists of a backup, the one last that makes it one.
func describe(dir string, s Summary, files []file) error {
	var sums bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&sums, "%s%s%s/%s\n", f.sum, sumsSeparator, dataDir, f.path)
	}
	if err := os.WriteFile(filepath.Join(dir, Sums), sums.Bytes(), secretFile); err != nil {
		return err
	}
	sum := sha256.Sum256(sums.Bytes())
	text, err := json.MarshalIndent(description{Format: format, Sums: hex.EncodeToString(sum[:]), Summary: s}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, Description), append(text, '\n'), secretFile)
}

// Verify reads all of a backup, and compares it with what was written. What is not whole is a
// [*DamagedError].
func Verify(ctx context.Context, dir string) (Summary, error) {
	d, files, err := open(dir)
	if err != nil {
		return Summary{}, err
	}
	c := &copier{ctx: ctx}
	for _, one := range files {
		if err := c.compare(dir, one); err != nil {
			return Summary{}, err
		}
	}
	s := d.Summary
	s.Dir = dir
	if _, _, err := counted(ctx, filepath.Join(dir, dataDir, database.File)); err != nil {
		return Summary{}, errors.Join(&DamagedError{dir, dataDir + "/" + database.File, "is not whole"}, err)
	}
	return s, nil
}

// open reads the lists of a backup.
func open(dir string) (d description, files []file, err error) {
	text, err := readSome(filepath.Join(dir, Description), maxDescription)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil, faults.New(faults.NotFound, "name the directory that `ampoule admin backup` has written", "%s is no backup: it has no %s", dir, Description)
	}
	if err != nil {
		return d, nil, err
	}
	if json.Unmarshal(text, &d) != nil || d.Format < 1 {
		return d, nil, &DamagedError{dir, Description, "cannot be read"}
	}
	if d.Format > format {
		return d, nil, faults.New(faults.Machine, "use the version that made it: "+d.Version, "the backup %s has the form %d, and this program knows %d", dir, d.Format, format)
	}
	f, err := os.Open(filepath.Join(dir, Sums))
	if err != nil {
		return d, nil, missingIn(dir, Sums, err)
	}
	defer f.Close()
	hash := sha256.New()
	files, err = parseSums(io.TeeReader(f, hash))
	if err != nil || hex.EncodeToString(hash.Sum(nil)) != d.Sums {
		return d, nil, errors.Join(&DamagedError{dir, Sums, "is not what was written"}, err)
	}
	return d, files, nil
}

// parseSums reads lines as sha256sum(1) writes them.
func parseSums(from io.Reader) (files []file, err error) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		sum, path, found := strings.Cut(lines.Text(), sumsSeparator)
		name, inside := strings.CutPrefix(path, dataDir+"/")
		if !found || !inside || !filepath.IsLocal(name) || len(sum) != hexDigits {
			return nil, fmt.Errorf("%.200q is no line of it", lines.Text())
		}
		files = append(files, file{name, sum})
	}
	return files, lines.Err()
}

// compare reads one file.
func (c *copier) compare(dir string, one file) error {
	f, err := os.Open(filepath.Join(dir, dataDir, filepath.FromSlash(one.path)))
	if err != nil {
		return missingIn(dir, dataDir+"/"+one.path, err)
	}
	defer f.Close()
	sum, _, err := c.pour(io.Discard, f)
	if err == nil && sum != one.sum {
		err = &DamagedError{dir, dataDir + "/" + one.path, "is not what was written"}
	}
	return err
}

func missingIn(dir, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{dir, path, "is missing"}
	}
	return err
}

func readSome(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// counted reads all of a copied database, and counts builds and keys.
func counted(ctx context.Context, path string) (builds, keys int, err error) {
	db, err := database.OpenSnapshot(ctx, path)
	if err != nil {
		return 0, 0, err
	}
	err = db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		return q.QueryRow(ctx, "SELECT (SELECT count(*) FROM builds), (SELECT count(*) FROM publications WHERE tagged)").Scan(&builds, &keys)
	})
	return builds, keys, errors.Join(err, db.Close())
}

// published tells each digest that the copied database knows.
func published(ctx context.Context, path string, do func(recipe, digest string) error) error {
	db, err := database.OpenSnapshot(ctx, path)
	if err != nil {
		return err
	}
	err = db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		return database.Each(ctx, q, "SELECT recipe, digest FROM publications WHERE tagged ORDER BY build_key", nil, func(from database.Row) error {
			var recipe, digest string
			if err := from.Scan(&recipe, &digest); err != nil {
				return err
			}
			return do(recipe, digest)
		})
	})
	return errors.Join(err, db.Close())
}
