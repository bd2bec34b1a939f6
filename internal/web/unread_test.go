package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/semaphore"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/internal/rpc"
)

// serveLarge serves a gateway with room for so many bytes of replies, whose ranges are
// answered with size bytes, and returns where. (A member has room for 512 MiB, and a reply
// may take 256 of them.)
func serveLarge(t *testing.T, room int64, size int) (g *gateway, address string) {
	t.Helper()
	g = newGateway(1 << 10)
	g.memory = semaphore.NewWeighted(room)
	reply, err := (&etcdserverpb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Value: bytes.Repeat([]byte("x"), size)}}}).MarshalVT()
	require.NoError(t, err)
	return g, serveBehind(t, g, []rpc.Method{
		{Path: "/etcdserverpb.KV/Range", Inline: func(c *rpc.Call) {
			c.Stream(func(_ context.Context, st *rpc.Stream) error {
				return st.SendSized(len(reply), func(to io.Writer) error {
					for piece := range slices.Chunk(reply, 16<<10) {
						if _, err := to.Write(piece); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}},
		{Path: "/etcdserverpb.KV/Put", Inline: func(c *rpc.Call) {
			c.Reply(&etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: 7}})
		}},
	})
}

// The memory for large replies is held until the client has taken its reply, which may
// take 20 s and more. Small replies of others do not wait for it.
func TestRepliesThatNobodyReadsHoldUpNobody(t *testing.T) {
	g, address := serveLarge(t, 40<<20, 12<<20)
	for range 4 {
		nc, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, nc.(*net.TCPConn).SetReadBuffer(4<<10))
		_, err = fmt.Fprintf(nc, "POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		if g.memory.TryAcquire(1) {
			g.memory.Release(1)
			return false
		}
		return true
	}, 10*time.Second, 10*time.Millisecond, "they have begun")
	other := &http.Client{Timeout: 10 * time.Second}
	began := time.Now()
	res, err := other.Post("http://"+address+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"Zm9v"}`))
	require.NoError(t, err, "a put of another client, after %v", time.Since(began))
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
}

// Over HTTP/2 a reply waits for the client's windows, too, before its memory is given
// back.
func TestRepliesThatNobodyReadsAreBounded(t *testing.T) {
	g, address := serveLarge(t, 16<<20, 4<<20)
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer nc.Close()
	go io.Copy(io.Discard, nc)
	heap := func() int64 {
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return int64(ms.HeapAlloc) >> 20
	}
	before := heap()
	var hb bytes.Buffer
	fr, he := http2.NewFramer(nc, nil), hpack.NewEncoder(&hb)
	_, err = io.WriteString(nc, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, fr.WriteSettings())
	const streams = 50
	for i := range uint32(streams) {
		hb.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/v3/kv/range"}, {":authority", "x"}} {
			require.NoError(t, he.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		require.NoError(t, fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: hb.Bytes(), EndHeaders: true, EndStream: true}))
	}
	time.Sleep(3 * time.Second)
	held := heap() - before
	free := g.memory.TryAcquire(16 << 20)
	t.Logf("%d replies of 4 MiB hold %d MiB; all of the 16 MiB that there are is free: %v", streams, held, free)
	require.Less(t, held, int64(64), "MiB")
}
