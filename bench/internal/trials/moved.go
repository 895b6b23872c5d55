package trials

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
)

// share is what one distribution has of an artifact, in bytes: its own when it is compressed alone, and
// those that a host fetches when it changes.
type share struct {
	name       string
	own, moved int64
}

func (s share) ratio() float64 { return float64(s.moved) / float64(s.own) }

// moves computes for each distribution of an artifact which bytes a host fetches when that one
// changes, beside the bytes that the distribution has when it is compressed alone. Of the one that changes
// in the next artifact it is measured, too.
func (b *hostBench) moves(_ context.Context, one, two hostArtifact) ([]recorded.Figure, error) {
	shares, err := sharesOf(one)
	if err != nil {
		return nil, err
	}
	if len(shares) == 0 {
		return nil, errors.New("the artifact has no distributions")
	}
	var own, moved int64
	ratios, worst := []float64{}, shares[0]
	for _, s := range shares {
		own, moved, ratios = own+s.own, moved+s.moved, append(ratios, s.ratio())
		if s.ratio() > worst.ratio() {
			worst = s
		}
	}
	slices.Sort(ratios)
	fetched := two.head + two.size - sharedBytes(one, two)
	return []recorded.Figure{
		{Name: "moved, all together", Value: round(float64(moved) / float64(own)), Limit: limitMoved,
			Of: fmt.Sprintf("bytes that are fetched when one of %d distributions changes, by its own bytes when it is compressed alone: the sum of all by the sum of all; "+
				"the median of the ratios is %.2f; the next artifact's %d KiB are fetched", len(shares), ratios[len(ratios)/2], fetched>>10)},
		{Name: "moved, the worst", Value: round(worst.ratio()), Limit: limitMoved,
			Of: fmt.Sprintf("%s: %d KiB of its own, %d KiB fetched", worst.name, worst.own>>10, worst.moved>>10)},
	}, nil
}

// unchanged are the layers of no distribution that changes alone.
var unchanged = []string{"native", "interpreter", "metadata"}

// sharesOf tells of each distribution of an artifact what it has, sorted by name.
func sharesOf(a hostArtifact) ([]share, error) {
	always, all := a.head, map[string]share{}
	for i, blob := range a.blobs {
		info, err := os.Stat(blob)
		if err != nil {
			return nil, err
		}
		if a.names[i] == "metadata" {
			always += info.Size()
		}
		if slices.Contains(unchanged, a.names[i]) {
			continue
		}
		sizes, err := distributions(blob)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", a.names[i], err)
		}
		for name, size := range sizes {
			all[name] = share{name, all[name].own + size, all[name].moved + info.Size()}
		}
	}
	var shares []share
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		s.moved += always
		shares = append(shares, s)
	}
	return shares, nil
}

// distributions tells of each distribution in a layer how large it is when it is compressed alone.
func distributions(blob string) (map[string]int64, error) {
	members, err := readLayer(blob)
	if err != nil {
		return nil, err
	}
	files := map[string][]string{}
	for name, owner := range ownersOf(members) {
		if _, ok := members[name]; ok {
			files[owner] = append(files[owner], name)
		}
	}
	sizes := map[string]int64{}
	for owner, names := range files {
		slices.Sort(names)
		if sizes[owner], err = packedSize(members, names); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// ownersOf tells which distribution each file of a layer belongs to: by its RECORD, and bytecode by its
// source's.
func ownersOf(members map[string]layerMember) map[string]string {
	owners := map[string]string{}
	for name, m := range members {
		dir, file := filepath.Split(name)
		base := filepath.Base(dir)
		if file != "RECORD" || !strings.HasSuffix(base, ".dist-info") {
			continue
		}
		dist, _, _ := strings.Cut(base, "-")
		site := filepath.Dir(filepath.Clean(dir))
		for line := range strings.Lines(string(m.data)) {
			p, _, _ := strings.Cut(strings.TrimSpace(line), ",")
			owners[filepath.Join(site, strings.Trim(p, `"`))] = packaging.NormalName(dist)
		}
	}
	for name := range members {
		dir, file := filepath.Split(name)
		stem, _, _ := strings.Cut(file, ".")
		if owner, ok := owners[filepath.Join(filepath.Dir(filepath.Clean(dir)), stem+".py")]; ok && filepath.Base(dir) == "__pycache__" {
			owners[name] = owner
		}
	}
	return owners
}

// packedSize is the size of files of a layer in a tar of their own, compressed.
func packedSize(members map[string]layerMember, names []string) (int64, error) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	tw := tar.NewWriter(zw)
	for _, name := range names {
		if err := tw.WriteHeader(members[name].header); err != nil {
			return 0, err
		}
		if _, err := tw.Write(members[name].data); err != nil {
			return 0, err
		}
	}
	err := errors.Join(tw.Close(), zw.Close())
	return int64(packed.Len()), err
}

// layerMember is one file of a layer.
type layerMember struct {
	header *tar.Header
	data   []byte
}

// readLayer reads the files of a layer.
func readLayer(blob string) (map[string]layerMember, error) {
	f, err := os.Open(blob)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	members := map[string]layerMember{}
	for tr := tar.NewReader(zr); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		members[header.Name] = layerMember{header, data}
	}
}
