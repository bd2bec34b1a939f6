package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// framePeer is a client of a member that writes the frames it likes and reads all it is
// sent.
type framePeer struct {
	t  *testing.T
	nc net.Conn
	w  bytes.Buffer
	fr *http2.Framer
	hb bytes.Buffer
	he *hpack.Encoder
}

func dialFrames(t *testing.T, m *Member) *framePeer {
	t.Helper()
	nc, err := net.Dial("tcp", m.ClientAddresses()[0].String())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	p := &framePeer{t: t, nc: nc}
	p.fr, p.he = http2.NewFramer(&p.w, nil), hpack.NewEncoder(&p.hb)
	p.fr.AllowIllegalWrites = true
	p.w.WriteString(http2.ClientPreface)
	p.fr.WriteSettings()
	go io.Copy(io.Discard, nc)
	return p
}

func (p *framePeer) push() {
	p.nc.Write(p.w.Bytes())
	p.w.Reset()
}

func (p *framePeer) headers(id uint32, path string) {
	p.hb.Reset()
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		p.he.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.hb.Bytes(), EndHeaders: true})
}

func (p *framePeer) call(id uint32, path string, m interface{ MarshalVT() ([]byte, error) }) {
	p.headers(id, path)
	b, err := m.MarshalVT()
	require.NoError(p.t, err)
	p.fr.WriteData(id, true, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...))
}

// begun waits until a member has begun to answer so many calls.
func begun(t *testing.T, m *Member, n uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return started(m) == n }, 20*time.Second, 10*time.Millisecond)
}

// One connection opens calls that it does not finish, which costs it 17 bytes each, asks
// for a put, and changes the size of all windows, in frames of 16 KiB. Nobody else is to
// feel that.
func TestAPeerOfManySettingsHoldsUpNobody(t *testing.T) {
	if raceDetector {
		t.Skip("it is about time, and slow")
	}
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "k", "v")
	before := started(m)
	p := dialFrames(t, m)
	const calls = 40_000
	for i := range uint32(calls) {
		p.headers(2*i+1, "/etcdserverpb.KV/Range")
		if p.w.Len() > 1<<20 {
			p.push()
		}
	}
	p.push()
	begun(t, m, before+calls)
	many := make([]http2.Setting, 16384/6)
	for i := range many {
		many[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535}
	}
	longest := func(n int) (most time.Duration) {
		for range n {
			began := time.Now()
			putKey(t, conn, "k", "v")
			most = max(most, time.Since(began))
		}
		return most
	}
	calm := longest(50)
	id := uint32(2*calls + 1)
	for range 2 {
		p.call(id, "/etcdserverpb.KV/Put", &etcdserverpb.PutRequest{Key: []byte("mine")})
		p.fr.WriteSettings(many...)
		id += 2
	}
	p.push()
	time.Sleep(20 * time.Millisecond) // the frames are on their way
	hit := longest(50)
	t.Logf("the longest of 50 puts of another client: %v in calm, %v beside 32 KiB of one peer's frames", calm, hit)
	require.Less(t, hit, max(200*time.Millisecond, 10*calm), "an election timeout is a second")
}

// A list of more than 256 KiB holds a pin for as long as its reader takes. Readers who
// take nothing keep nobody from large lists, nor from HashKV.
func TestListsThatNobodyReadsRefuseNobody(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "large", string(bytes.Repeat([]byte("x"), 600<<10)))
	request := &etcdserverpb.RangeRequest{Key: []byte("large")}
	before := started(m)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deaf := dialNarrow(t, m)
	for range 64 {
		s, err := deaf.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/etcdserverpb.KV/Range")
		require.NoError(t, err)
		require.NoError(t, s.SendMsg(request))
		require.NoError(t, s.CloseSend())
	}
	begun(t, m, before+64)
	time.Sleep(500 * time.Millisecond) // each has its pin, or is refused
	got, err := call[etcdserverpb.RangeResponse](t, conn, "KV/Range", &etcdserverpb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00")})
	require.NoError(t, err, "a list of another client")
	require.Len(t, got.Kvs, 1)
	_, err = call[etcdserverpb.HashKVResponse](t, conn, "Maintenance/HashKV", &etcdserverpb.HashKVRequest{})
	require.NoError(t, err, "a hash")
}

// As many lists at once as the members of a control plane ask for when it starts, by
// readers who read.
func TestManyLargeListsAtOnce(t *testing.T) {
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	for i := range 4 {
		putKey(t, conn, string(rune('a'+i)), string(bytes.Repeat([]byte("x"), 512<<10)))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := map[string]int{}
	for range 200 {
		c := dial(t, m)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := c.Invoke(ctx, "/etcdserverpb.KV/Range", &etcdserverpb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00")}, &etcdserverpb.RangeResponse{}, grpc.MaxCallRecvMsgSize(1<<30))
			if err != nil {
				mu.Lock()
				refused[err.Error()]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Empty(t, refused, "of 200 lists of 2 MiB, all of which are read")
}

// Replies that wait for a peer are bounded by rpc.Limits.WriteBuffer, 1 MiB for a
// connection, also those that are made elsewhere than on the connection's goroutine.
func TestRepliesThatNobodyReadsTakeLittleMemory(t *testing.T) {
	if raceDetector {
		t.Skip("all takes more memory")
	}
	m := start(t, testConfig(t))
	defer m.Close()
	conn := dial(t, m)
	putKey(t, conn, "k", string(bytes.Repeat([]byte("x"), 250<<10)))
	heap := func() int64 {
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return int64(ms.HeapAlloc) >> 20
	}
	before, asked := heap(), started(m)
	const peers, calls = 20, 3000
	for range peers {
		p := dialFrames(t, m)
		p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.push()
		for i := range uint32(calls) {
			p.call(2*i+1, "/etcdserverpb.KV/Range", &etcdserverpb.RangeRequest{Key: []byte("k")})
		}
		p.push()
	}
	begun(t, m, asked+peers*calls)
	time.Sleep(2 * time.Second) // for workers to make what they are let
	most := heap() - before
	t.Logf("%d connections of %d KiB of requests hold %d MiB", peers, calls*40>>10, most)
	require.Less(t, most, int64(128), "MiB, of %d connections", peers)
}
