package sandbox

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"ampoule/tree"
)

// WorkDir is the directory in which everything is compiled. Its name is so odd
// that no file contains it by chance: whatever names it was told where it was built.
const WorkDir = "/ampoule-build"

// Env returns the whole environment of a build step, with extra variables
// (KEY=value) behind it: nothing of it depends on the machine.
func Env(extra ...string) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + WorkDir + "/home",
		"LANG=C.UTF-8",
		"LC_ALL=C.UTF-8",
		"TZ=UTC",
		"TERM=dumb",
		"PYTHONHASHSEED=0",
		"PYTHONDONTWRITEBYTECODE=1",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(tree.Time.Unix(), 10),
	}, extra...)
}

// ImportTree puts a tree below dir, every entry owned by the sandbox's user.
func ImportTree(ctx context.Context, sb Sandbox, dir string, t *tree.Tree) error {
	return ImportOwned(ctx, sb, dir, t.Map(func(e tree.Entry) tree.Entry {
		e.UID, e.GID = UID, GID
		return e
	}))
}

// ImportOwned puts a tree below dir, every entry owned by whom it names. What is there
// already gets the entry's owner and mode, and a file its content.
func ImportOwned(ctx context.Context, sb Sandbox, dir string, t *tree.Tree) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(t.WriteTar(w, "", tree.Time)) }()
	err := sb.Import(ctx, dir, r)
	r.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("importing into %s: %w", dir, err)
	}
	return nil
}

// MakeDirs makes directories, absolute ones, owned by the sandbox's user, as are
// their parents from then on.
func MakeDirs(ctx context.Context, sb Sandbox, dirs ...string) error {
	entries := make([]tree.Entry, len(dirs))
	for i, dir := range dirs {
		entries[i] = tree.Entry{Path: dir[1:], Kind: tree.Dir, Mode: 0o755, UID: UID, GID: GID}
	}
	t, err := tree.New(entries)
	if err != nil {
		return fmt.Errorf("making directories: %w", err)
	}
	return ImportTree(ctx, sb, "/", t)
}

// Output runs a step and returns what it wrote to its standard output, which was
// foreign code perhaps: more than limit bytes are an error. It is a question, which is answered
// at once.
func Output(ctx context.Context, sb Sandbox, step Step, limit int) ([]byte, error) {
	out := &bounded{left: limit}
	step.Stdout, step.AtOnce = out, true
	if err := sb.Exec(ctx, step); err != nil {
		return nil, err
	}
	if out.left < 0 {
		return nil, fmt.Errorf("running %s: it wrote more than %d bytes", step.Args[0], limit)
	}
	return out.data, nil
}

// bounded keeps what is written to it as long as there is room, and drops the rest.
type bounded struct {
	data []byte
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.left -= len(p)
	if b.left >= 0 {
		b.data = append(b.data, p...)
	}
	return len(p), nil
}
