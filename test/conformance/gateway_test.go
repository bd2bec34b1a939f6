package conformance

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/conformance/member"
)

// post sends JSON to a member's gateway and returns what came, parsed.
func post(t *testing.T, m *member.Member, path, body string) (int, map[string]any) {
	t.Helper()
	res, err := http.Post(m.URL()+path, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	v := map[string]any{}
	require.NoError(t, json.Unmarshal(b, &v), "%s: %s", path, b)
	return res.StatusCode, v
}

// anonymous takes out of an answer what is each member's own, and what 3.4 says
// twice.
func anonymous(v map[string]any) map[string]any {
	if h, ok := v["header"].(map[string]any); ok {
		for _, own := range []string{"cluster_id", "member_id", "raft_term"} {
			if h[own] == nil {
				return nil // it is to be there
			}
			delete(h, own)
		}
	}
	delete(v, "error")
	return v
}

// The same JSON gets the same JSON from 3.4 and from ours.
func TestGatewayAnswersAlike(t *testing.T) {
	kind, err := member.Peer()
	if err != nil {
		t.Skipf("there is no etcd 3.4 on the path: %v", err)
	}
	peer, err := member.Start(kind)
	require.NoError(t, err)
	t.Cleanup(peer.Close)
	ours := start(t)
	for _, tc := range []struct{ path, body string }{
		{"/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`},
		{"/v3/kv/put", `{"key":"Zm9v","value":"YmF6","prev_kv":true}`},
		{"/v3/kv/put", `{"key":"Zm9w","value":"//79"}`},
		{"/v3beta/kv/put", `{"key":"Zm9x"}`},
		{"/v3/kv/put", `{}`},
		{"/v3/kv/put", `{"key":"Zm9v","lease":"77"}`},
		{"/v3/kv/put", `{"key":"Zm9v","ignore_value":true,"value":"YQ=="}`},
		{"/v3/kv/range", `{"key":"Zm9v"}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA=="}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","limit":"1"}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","limit":2,"sort_order":"DESCEND","sort_target":"KEY"}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","count_only":true}`},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","keys_only":true}`},
		{"/v3/kv/range", `{"key":"Zm9v","revision":"2"}`},
		{"/v3/kv/range", `{"key":"Zm9v","revision":"200"}`},
		{"/v3/kv/range", `{"key":"bm9uZQ=="}`},
		{"/v3/kv/range", ``},
		{"/v3/kv/range", `{"key":"Zm9v","unknown":1}`},
		{"/v3/kv/txn", `{"compare":[{"result":"EQUAL","target":"VERSION","key":"Zm9v","version":"2"}],"success":[{"request_put":{"key":"Zm9v","value":"dA=="}},{"request_range":{"key":"Zm9v"}}],"failure":[{"request_range":{"key":"Zm9v"}}]}`},
		{"/v3/kv/txn", `{"compare":[{"target":"MOD","key":"Zm9v","modRevision":"1"}],"success":[],"failure":[{"requestRange":{"key":"Zm9v"}},{"requestDeleteRange":{"key":"Zm9w","prevKv":true}}]}`},
		{"/v3/kv/txn", `{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}`},
		{"/v3/kv/txn", `{}`},
		{"/v3/kv/deleterange", `{"key":"Zm9x","prev_kv":true}`},
		{"/v3/kv/deleterange", `{"key":"Zm9x"}`},
		{"/v3/kv/deleterange", `{}`},
		{"/v3/kv/compaction", `{"revision":"3"}`},
		{"/v3/kv/compaction", `{"revision":"3"}`},
		{"/v3/kv/compaction", `{"revision":"300","physical":true}`},
		{"/v3/kv/range", `{"key":"Zm9v","revision":"2"}`},
	} {
		peerCode, theirs := post(t, peer, tc.path, tc.body)
		ourCode, ourReply := post(t, ours, tc.path, tc.body)
		require.Equal(t, anonymous(theirs), anonymous(ourReply), "%s %s", tc.path, tc.body)
		require.Equal(t, peerCode, ourCode, "%s %s", tc.path, tc.body)
	}

	// Answers about a member differ, but have the same shape.
	_, theirs := post(t, peer, "/v3/cluster/member/list", `{}`)
	_, list := post(t, ours, "/v3/cluster/member/list", `{}`)
	require.Equal(t, keys(theirs["members"].([]any)[0]), keys(list["members"].([]any)[0]))
	_, theirs = post(t, peer, "/v3/maintenance/status", `{}`)
	_, st := post(t, ours, "/v3/maintenance/status", `{}`)
	for _, key := range keys(theirs) {
		require.Contains(t, st, key)
		require.IsType(t, theirs[key], st[key], key)
	}
}

func keys(v any) []string {
	return slices.Sorted(maps.Keys(v.(map[string]any)))
}
