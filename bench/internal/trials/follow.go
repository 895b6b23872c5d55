package trials

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
	"net/http"
	"sync"
)

// followed is what one follower got of a log.
type followed struct {
	sum  string
	size int64
	err  error
}

// followMany has so many follow a stream of a log, each on a connection of its own, until it ends.
func followMany(ctx context.Context, count int, url, token string) []followed {
	all := make([]followed, count)
	var following sync.WaitGroup
	for i := range all {
		following.Go(func() { all[i] = follow(ctx, url, token) })
	}
	following.Wait()
	return all
}

// errCut says that a stream broke off.
var errCut = errors.New("the stream broke off")

// follow reads server-sent events: those named line have the text, and the one named end is the last.
func follow(ctx context.Context, url, token string) (f followed) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return followed{err: err}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return followed{err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return followed{err: fmt.Errorf("following %s: %s", url, resp.Status)}
	}
	hash := sha256.New()
	lines := bufio.NewReaderSize(resp.Body, 32<<10)
	for name := ""; ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return followed{size: f.size, err: errors.Join(errCut, err)}
		}
		if rest, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			name = string(bytes.TrimSpace(rest))
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		switch {
		case !ok:
		case name == "end":
			f.sum = hex.EncodeToString(hash.Sum(nil))
			return f
		case name == "line":
			var got struct{ Text string }
			if err := json.Unmarshal(data, &got); err != nil {
				return followed{size: f.size, err: err}
			}
			n, _ := io.WriteString(hash, got.Text) // a hash takes all
			f.size += int64(n)
		default:
			return followed{size: f.size, err: fmt.Errorf("the stream says %s", bytes.TrimSpace(data))}
		}
	}
}
