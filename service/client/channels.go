package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"ampoule/service/wire"
)

// allEntries is more entries than a log has.
const allEntries = "100000"

func channelPath(channel, rest string) string {
	return "/v1/channels/" + url.PathEscape(channel) + rest
}

// Channel says what a channel names.
func (c *Client) Channel(ctx context.Context, name, channel string) (of wire.Channel, err error) {
	return of, c.get(ctx, channelPath(channel, ""), url.Values{"name": {name}}, &of)
}

// History is a channel with all of its entries; unverified as they are, whoever wrote them.
func (c *Client) History(ctx context.Context, name, channel string, unverified bool) (of wire.Channel, err error) {
	query := url.Values{"name": {name}, "last": {allEntries}}
	flag(query, "unverified", unverified)
	return of, c.get(ctx, channelPath(channel, ""), query, &of)
}

// Channels lists the channels, or those of a repository.
func (c *Client) Channels(ctx context.Context, name string) (all wire.Channels, err error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return all, c.get(ctx, "/v1/channels", query, &all)
}

// ResolveChannel says what a channel names, if that may be used, and its last entry is not older than
// stale, such as 1h; empty is any age.
func (c *Client) ResolveChannel(ctx context.Context, name, channel, stale string) (of wire.Channel, err error) {
	query := url.Values{"name": {name}}
	if stale != "" {
		query.Set("max-stale", stale)
	}
	return of, c.get(ctx, channelPath(channel, "/resolve"), query, &of)
}

// CheckChannel looks at the digests that a channel has named last.
func (c *Client) CheckChannel(ctx context.Context, name, channel string, last int) (found wire.ChannelCheck, err error) {
	return found, c.get(ctx, channelPath(channel, "/check"), url.Values{"name": {name}, "last": {strconv.Itoa(last)}}, &found)
}

// Move has the server add an entry to a channel's log: promote, rollback, revoke, freeze, unfreeze,
// refresh or restart. It is sent once: whoever does not get the answer looks at the channel.
func (c *Client) Move(ctx context.Context, channel, action string, m wire.ChannelMove) (of wire.Channel, err error) {
	return of, c.post(ctx, channelPath(channel, "/"+url.PathEscape(action)), m, true, &of)
}

// Approve has the server sign that the caller approves of a digest for a channel.
func (c *Client) Approve(ctx context.Context, channel string, m wire.ChannelMove) (a wire.Approval, err error) {
	return a, c.post(ctx, channelPath(channel, "/approve"), m, false, &a)
}

// Deployments says who holds something. The query is as the API has it.
func (c *Client) Deployments(ctx context.Context, query url.Values) (d wire.Deployments, err error) {
	return d, c.get(ctx, "/v1/deployments", query, &d)
}

// Hosts lists the hosts. The query is as the API has it.
func (c *Client) Hosts(ctx context.Context, query url.Values) (h wire.Hosts, err error) {
	return h, c.get(ctx, "/v1/hosts", query, &h)
}

// post sends a value as JSON and reads the answer.
func (c *Client) post(ctx context.Context, path string, body any, once bool, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.base, err)
	}
	return c.ask(ctx, call{method: http.MethodPost, path: path, body: data, header: map[string]string{"Content-Type": "application/json"}, once: once}, answer)
}
