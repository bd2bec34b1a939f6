package server

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The RPCs as JSON, with a user's eyes.
func TestGateway(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	post := func(path, body string) (int, map[string]any) {
		t.Helper()
		res, err := http.Post("http://"+m.ClientAddresses()[0].String()+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		var v map[string]any
		require.NoError(t, json.Unmarshal(b, &v), string(b))
		return res.StatusCode, v
	}
	code, put := post("/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`)
	require.Equal(t, 200, code)
	require.Equal(t, "2", put["header"].(map[string]any)["revision"])
	_, got := post("/v3/kv/range", `{"key":"Zm9v"}`)
	require.Equal(t, "1", got["count"])
	require.Equal(t, map[string]any{"key": "Zm9v", "value": "YmFy", "create_revision": "2", "mod_revision": "2", "version": "1"}, got["kvs"].([]any)[0])
	_, txn := post("/v3/kv/txn", `{"compare":[{"target":"VERSION","key":"Zm9v","version":"1"}],"success":[{"requestDeleteRange":{"key":"Zm9v","prevKv":true}}]}`)
	require.Equal(t, true, txn["succeeded"])
	_, list := post("/v3/cluster/member/list", `{"linearizable":true}`)
	require.Equal(t, []any{"http://localhost:2380"}, list["members"].([]any)[0].(map[string]any)["peerURLs"])
	_, st := post("/v3/maintenance/status", "")
	require.Equal(t, "3.7.1", st["version"])
	_, hash := post("/v3/maintenance/hashkv", "{}")
	require.IsType(t, float64(0), hash["hash"], "an uint32 is a number")
	code, bad := post("/v3/kv/put", `{}`)
	require.Equal(t, 400, code)
	require.Equal(t, map[string]any{"code": 3.0, "message": "etcdserver: key is not provided"}, bad)
	code, _ = post("/v3/kv/compaction", `{"revision":"3","physical":true}`)
	require.Equal(t, 200, code)
	code, bad = post("/v3/kv/range", `{"key":"Zm9v","revision":"1"}`)
	require.Equal(t, 400, code)
	require.Equal(t, 11.0, bad["code"])
}

func TestGatewayOff(t *testing.T) {
	c := testConfig(t)
	c.EnableGRPCGateway = false
	m := start(t, c)
	defer m.Close()
	res, err := http.Post("http://"+m.ClientAddresses()[0].String()+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"Zm9v"}`))
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 404, res.StatusCode)
}
