package pgo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"ampoule/faults"
	"ampoule/tree"
)

// Merge makes one profile of several, by their hashes: what GCC would have counted in one
// training that did all that theirs did. The order in which they were made means nothing.
// Profiles that are not of one interpreter are a [*MisfitError].
func Merge(profiles map[string]*Profile) (*Profile, error) {
	sums := slices.Sorted(maps.Keys(profiles))
	if len(sums) < 2 {
		return nil, misfit("%d profiles cannot be merged; two are the fewest", len(sums))
	}
	first := profiles[sums[0]]
	switch {
	case first.About.Clang != "":
		return nil, errMergeClang
	case slices.ContainsFunc(sums, func(sum string) bool { return profiles[sum].About.Bolt != nil }):
		return nil, errMergeBolt
	}
	files := map[string][]tree.Entry{}
	for _, sum := range sums {
		p := profiles[sum]
		if err := first.About.matches(p.About); err != nil {
			return nil, misfit("%.12s and %.12s cannot be merged: %w", sums[0], sum, err)
		}
		for _, e := range p.data {
			files[e.Path] = append(files[e.Path], e)
		}
	}
	made, err := mergeAll(files, limits.Bytes)
	if err != nil {
		return nil, err
	}
	about := first.About
	about.Task, about.Commands, about.Merged = nil, nil, sums
	return New(about, slices.Sorted(maps.Keys(first.About.Objects)), made)
}

// errMergeClang says that clang's own program merges what clang counted.
var errMergeClang = faults.New(faults.Input, "train once with all commands: train.commands of the recipe", "profiles of clang cannot be merged: only those of GCC are")

// matches compares what two profiles are of, but for what was counted.
func (a About) matches(b About) error {
	if what, was, is := a.differs(b); what != "" {
		return fmt.Errorf("%s is %s in the one, and %s in the other", what, was, is)
	}
	for _, both := range [][2]About{{a, b}, {b, a}} {
		for _, object := range slices.Sorted(maps.Keys(both[0].Objects)) {
			if _, known := both[1].Objects[object]; !known {
				return fmt.Errorf("one of them has no %s", object)
			}
		}
	}
	return nil
}

// mergeAll merges the counts of each object, to most bytes in all.
func mergeAll(files map[string][]tree.Entry, most int64) (*tree.Tree, error) {
	var counts []tree.Entry
	var total int64
	for _, name := range slices.Sorted(maps.Keys(files)) {
		merged, err := mergeFiles(files[name])
		if err != nil {
			return nil, misfit("the counts of %s cannot be merged: %w", name, err)
		}
		total += int64(len(merged))
		if total > most {
			return nil, misfit("merged, they have more than %d bytes", most)
		}
		counts = append(counts, tree.FileEntry(name, 0o644, merged))
	}
	made, err := tree.New(counts)
	if err != nil {
		return nil, fmt.Errorf("merging profiles: %w", err)
	}
	return made, nil
}

// mergeFiles merges the counts of one object.
func mergeFiles(files []tree.Entry) ([]byte, error) {
	var sum *counted
	for _, e := range files {
		data, err := e.ReadAll()
		if err != nil {
			return nil, err
		}
		more, err := parseCounts(data)
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = more
		} else if err := sum.add(more); err != nil {
			return nil, err
		}
	}
	return sum.encode(), nil
}

// Tags of records (gcc/gcov-io.h). A record of counters has the tag of their kind.
const (
	tagFunction = 0x01000000
	tagCounters = 0x01a10000
	tagSummary  = 0xa1000000
	tagStep     = 1 << 17
)

// The kinds of counters (gcc/gcov-counter.def), and how libgcov merges them.
var mergers = []func(a, b []int64) ([]int64, error){
	each(add),       // arcs
	each(add),       // intervals
	each(add),       // powers of two
	mergeValues,     // values
	mergeValues,     // targets of indirect calls
	each(add),       // averages
	each(or),        // bits that were ever set
	each(firstSeen), // when a function ran first
}

// hasValues reports whether counters are lists of values: they have no form for all zero, and no length below zero.
func hasValues(kind int) bool { return kind == 3 || kind == 4 }

// counted is a .gcda file in memory.
type counted struct {
	header  header
	records []any
}

// summary is the record of how often the program ran, and of the sum of its largest counters.
type summary struct{ runs, most uint32 }

// function is the record that begins those of a function: its name's and its shape's hashes.
// One of which another object has the counters has none.
type function struct{ words []byte }

// counters are those of one kind of a function.
type counters struct {
	kind   int
	values []int64
}

var errForm = errors.New("it has a record that is not known")

func parseCounts(data []byte) (*counted, error) {
	c, size := &counted{}, int64(0)
	h, err := readRecords(bytes.NewReader(data), int64(len(data)), func(r record) error {
		// Counters that are all zero take space here, and none in the file.
		size += int64(max(r.length, -r.length))
		if size > mostRecord || r.length < -mostRecord {
			return fmt.Errorf("its counters take more than %d bytes", mostRecord)
		}
		parsed, err := r.parse()
		c.records = append(c.records, parsed)
		return err
	})
	c.header = h
	if err == nil && h.unit != 1 {
		return nil, fmt.Errorf("they are of GCC %s, and %d is the oldest whose counts are merged", h.version, bytesSince)
	}
	return c, err
}

func (r record) parse() (any, error) {
	kind := int(int64(r.tag)-tagCounters) / tagStep
	switch {
	case r.tag == tagSummary && r.length == 8:
		return summary{binary.LittleEndian.Uint32(r.body), binary.LittleEndian.Uint32(r.body[4:])}, nil
	case r.tag == tagFunction && r.length >= 0:
		return function{r.body}, nil
	case r.tag < tagCounters || r.tag%tagStep != tagCounters%tagStep || kind >= len(mergers) || r.length%8 != 0 || r.length < 0 && hasValues(kind):
		return nil, errForm
	}
	values := make([]int64, max(r.length, -r.length)/8)
	for i := range len(r.body) / 8 {
		values[i] = int64(binary.LittleEndian.Uint64(r.body[8*i:]))
	}
	return counters{kind, values}, nil
}

// add adds the counts of another training.
func (c *counted) add(more *counted) error {
	if c.header.letters != more.header.letters || c.header.checksum != more.header.checksum || len(c.records) != len(more.records) {
		return errShape
	}
	for i, was := range c.records {
		var err error
		if c.records[i], err = merge(was, more.records[i]); err != nil {
			return err
		}
	}
	return nil
}

var errShape = errors.New("they are of functions of other shapes")

// merge adds one record to another one, of the same function.
func merge(a, b any) (any, error) {
	switch a := a.(type) {
	case summary:
		if b, ok := b.(summary); ok {
			return summary{sum(a.runs, b.runs), sum(a.most, b.most)}, nil
		}
	case function:
		if b, ok := b.(function); ok && bytes.Equal(a.words, b.words) {
			return a, nil
		}
	case counters:
		if b, ok := b.(counters); ok && a.kind == b.kind {
			values, err := mergers[a.kind](a.values, b.values)
			return counters{a.kind, values}, err
		}
	}
	return nil, errShape
}

// encode gives the file. Its stamp, which is another one in each compilation and which
// the compiler does not look at, is 0.
func (c *counted) encode() []byte {
	var b []byte
	word := func(all ...uint32) {
		for _, w := range all {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
	}
	word(gcdaMagic, c.header.letters, 0, c.header.checksum)
	for _, r := range c.records {
		switch r := r.(type) {
		case summary:
			word(tagSummary, 8, r.runs, r.most)
		case function:
			word(tagFunction, uint32(len(r.words)))
			b = append(b, r.words...)
		case counters:
			length := int32(8 * len(r.values))
			zero := !hasValues(r.kind) && !slices.ContainsFunc(r.values, func(v int64) bool { return v != 0 })
			if zero {
				length = -length
			}
			word(uint32(tagCounters+tagStep*r.kind), uint32(length))
			for _, v := range r.values {
				if !zero {
					b = binary.LittleEndian.AppendUint64(b, uint64(v))
				}
			}
		}
	}
	word(0)
	return b
}

// each merges counters one by one.
func each(merge func(a, b int64) int64) func(a, b []int64) ([]int64, error) {
	return func(a, b []int64) ([]int64, error) {
		if len(a) != len(b) {
			return nil, errShape
		}
		merged := make([]int64, len(a))
		for i := range a {
			merged[i] = merge(a[i], b[i])
		}
		return merged, nil
	}
}

// add ends at the largest number.
func add(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func sum(a, b uint32) uint32 { return uint32(min(uint64(a)+uint64(b), math.MaxUint32)) }

func or(a, b int64) int64 { return a | b }

// firstSeen is the earlier one of two times; 0 is never.
func firstSeen(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// mostValues is how many values libgcov keeps of one place (GCOV_TOPN_MAXIMUM_TRACKED_VALUES).
const mostValues = 32

// valueList is what was seen at one place of the program.
type valueList struct {
	// total is how often it was passed, also with values that were not kept.
	total int64
	// partial says that there were more values than were kept.
	partial bool
	counts  map[int64]int64
}

// mergeValues merges lists of values: for each place a total, below zero where there were too many
// values; how many values follow; each value with its count.
func mergeValues(a, b []int64) ([]int64, error) {
	was, err := readValues(a)
	if err != nil {
		return nil, err
	}
	more, err := readValues(b)
	if err != nil {
		return nil, err
	}
	if len(was) != len(more) {
		return nil, errShape
	}
	var merged []int64
	for i := range was {
		merged = append(merged, was[i].with(more[i]).encode()...)
	}
	return merged, nil
}

func readValues(values []int64) ([]valueList, error) {
	var all []valueList
	for len(values) > 0 {
		if len(values) < 2 || values[1] < 0 || values[1] > int64(len(values)-2)/2 || values[0] == math.MinInt64 {
			return nil, errForm
		}
		list := valueList{total: max(values[0], -values[0]), partial: values[0] < 0, counts: map[int64]int64{}}
		pairs := values[2 : 2+2*values[1]]
		for i := 0; i < len(pairs); i += 2 {
			list.counts[pairs[i]] = add(list.counts[pairs[i]], pairs[i+1])
		}
		all, values = append(all, list), values[2+len(pairs):]
	}
	return all, nil
}

// with adds what was seen in another training.
func (l valueList) with(more valueList) valueList {
	both := valueList{add(l.total, more.total), l.partial || more.partial, maps.Clone(l.counts)}
	for value, n := range more.counts {
		both.counts[value] = add(both.counts[value], n)
	}
	return both
}

// encode keeps the values that were seen most often, and gives them in their order.
func (l valueList) encode() []int64 {
	values := slices.SortedFunc(maps.Keys(l.counts), func(a, b int64) int {
		return cmp.Or(cmp.Compare(l.counts[b], l.counts[a]), cmp.Compare(a, b))
	})
	if len(values) > mostValues {
		values, l.partial = values[:mostValues], true
	}
	slices.Sort(values)
	out := []int64{l.total, int64(len(values))}
	if l.partial {
		out[0] = -l.total
	}
	for _, value := range values {
		out = append(out, value, l.counts[value])
	}
	return out
}
