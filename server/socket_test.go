package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A page watches over a WebSocket; the member stops without waiting for it.
func TestAWatchOverAWebSocket(t *testing.T) {
	m := start(t, testConfig(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/v3/watch", m.ClientAddresses()[0]), nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"create_request":{"key":"Zm9v"}}`)))
	read := func() string {
		t.Helper()
		_, b, err := ws.Read(ctx)
		require.NoError(t, err)
		return string(b)
	}
	require.Contains(t, read(), `"created":true`)
	put, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/v3/kv/put", m.ClientAddresses()[0]), nil)
	require.NoError(t, err)
	defer func() { _ = put.CloseNow() }()
	require.NoError(t, put.Write(ctx, websocket.MessageText, []byte(`{"key":"Zm9v","value":"YmFy"}`)))
	require.Contains(t, read(), `"value":"YmFy"`)

	began := time.Now()
	require.NoError(t, m.Close())
	require.Less(t, time.Since(began), drainTimeout)
	require.Contains(t, read(), `{"error":{"code":14,`)
	_, _, err = ws.Read(ctx)
	require.Error(t, err)
}
