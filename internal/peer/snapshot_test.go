package peer

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

func snapOf(from, to, index uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: &from, To: &to, Term: proto.Uint64(3), Snapshot: &raftpb.Snapshot{
		Data: []byte("members"), Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: proto.Uint64(3), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}}
}

// content gives n random bytes and then the error; gate, if there is one, is
// read from before each read.
type content struct {
	random *rand.ChaCha8
	left   int
	err    error
	gate   chan struct{}
	closed atomic.Int64
}

func newContent(n int, err error) *content {
	return &content{random: rand.NewChaCha8([32]byte{1}), left: n, err: err}
}

func (c *content) Read(b []byte) (int, error) {
	if c.gate != nil {
		<-c.gate
	}
	if c.left == 0 {
		return 0, c.err
	}
	n := min(len(b), c.left)
	c.left -= n
	return c.random.Read(b[:n])
}

func (c *content) Close() error {
	c.closed.Add(1)
	return nil
}

// pair starts two members; the first sends what open gives, the second reads it
// with receive.
func pair(t *testing.T) (a, b *node) {
	a, b = start(t, 1, listen(t, "127.0.0.1:0")), start(t, 2, listen(t, "127.0.0.1:0"))
	introduce(t, a, b)
	soon(t, func() bool { return a.link(2).origin.Load() == originOurs })
	return a, b
}

func TestSnapshotIsStreamed(t *testing.T) {
	a, b := pair(t)
	const size = 64 << 20
	body := newContent(size, io.EOF)
	a.open = func(m *raftpb.Message) (io.ReadCloser, error) { return body, nil }
	var sum [32]byte
	var most uint64
	b.receive = func(m *raftpb.Message, r io.Reader) error {
		if b.got.Load() > 0 {
			return errors.New("the message was delivered before")
		}
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		h, buf := sha256.New(), make([]byte, 1<<20)
		for {
			n, err := io.ReadFull(r, buf)
			h.Write(buf[:n])
			if err != nil {
				h.Sum(sum[:0])
				if err == io.EOF || err == io.ErrUnexpectedEOF && n < len(buf) {
					break
				}
				return err
			}
		}
		runtime.ReadMemStats(&now)
		most = now.TotalAlloc - before.TotalAlloc
		return nil
	}
	a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
	soon(t, func() bool { return a.sentOK.Load() == 1 })
	require.EqualValues(t, 1, b.got.Load())
	require.True(t, proto.Equal(snapOf(1, 2, 9), b.received()[0]))
	h := sha256.New()
	_, err := io.Copy(h, newContent(size, io.EOF))
	require.NoError(t, err)
	require.Equal(t, h.Sum(nil), sum[:])
	require.Less(t, most, uint64(16<<20), "it is not held in memory")
	soon(t, func() bool { return body.closed.Load() == 1 })
	require.Zero(t, a.sentFail.Load())
	sent, got := a.Stats().Peers[2], b.Stats().Peers[1]
	require.EqualValues(t, 1, sent.SnapshotsSent)
	require.EqualValues(t, 1, got.SnapshotsReceived)
	require.Zero(t, sent.SnapshotSending+got.SnapshotReceiving)
	require.Greater(t, sent.SentBytes, uint64(size))
	require.Greater(t, got.ReceivedBytes, uint64(size))
	require.Positive(t, sent.SnapshotSendTime.Sum)
}

// Whatever goes wrong, raft hears of it once, and the receiver of an error.
func TestSnapshotsThatFail(t *testing.T) {
	broken := errors.New("the disk is broken")
	for name, c := range map[string]struct {
		open     func() (io.ReadCloser, error)
		received error // what the receiver must see
		receive  error // what it says
	}{
		"cannot be opened":     {func() (io.ReadCloser, error) { return nil, broken }, nil, nil},
		"cut in the middle":    {func() (io.ReadCloser, error) { return newContent(1<<20, broken), nil }, io.ErrUnexpectedEOF, nil},
		"cut at the beginning": {func() (io.ReadCloser, error) { return newContent(0, broken), nil }, io.ErrUnexpectedEOF, nil},
		"not taken":            {func() (io.ReadCloser, error) { return newContent(1<<20, io.EOF), nil }, nil, broken},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			var saw atomic.Value
			a.open = func(*raftpb.Message) (io.ReadCloser, error) { return c.open() }
			b.receive = func(m *raftpb.Message, r io.Reader) error {
				if c.receive != nil {
					return c.receive
				}
				_, err := io.Copy(io.Discard, r)
				saw.Store(err)
				return err
			}
			a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
			soon(t, func() bool { return a.sentFail.Load() == 1 })
			if c.received != nil {
				soon(t, func() bool { return saw.Load() != nil })
				require.ErrorIs(t, saw.Load().(error), c.received)
				soon(t, func() bool { return b.Stats().Peers[1].SnapshotRecvErrors == 1 })
			}
			a.Close()
			b.Close()
			require.EqualValues(t, 1, a.sentFail.Load(), "once")
			require.Zero(t, a.sentOK.Load())
			require.Zero(t, b.got.Load())
		})
	}
}

func TestASnapshotNotDeliveredHasFailed(t *testing.T) {
	a, b := pair(t)
	a.open = func(*raftpb.Message) (io.ReadCloser, error) { return newContent(100, io.EOF), nil }
	b.receive = func(_ *raftpb.Message, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	b.full.Store(true)
	a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
	soon(t, func() bool { return a.sentFail.Load() == 1 })
	b.full.Store(false)
	a.Send([]*raftpb.Message{snapOf(1, 2, 10)})
	soon(t, func() bool { return a.sentOK.Load() == 1 })
}

func TestOneSnapshotAtATime(t *testing.T) {
	a, b := pair(t)
	body := newContent(100, io.EOF)
	body.gate = make(chan struct{})
	a.open = func(*raftpb.Message) (io.ReadCloser, error) { return body, nil }
	b.receive = func(_ *raftpb.Message, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	a.Send([]*raftpb.Message{snapOf(1, 2, 9), snapOf(1, 2, 10), beat(1, 2, 1)})
	require.EqualValues(t, 1, a.sentFail.Load(), "the second")
	soon(t, func() bool { return b.got.Load() == 1 }, "others are not held up")
	close(body.gate)
	soon(t, func() bool { return a.sentOK.Load() == 1 && b.got.Load() == 2 })
}

func TestSnapshotsEndWithTheirLink(t *testing.T) {
	for name, end := range map[string]func(a, b *node){
		"sender's Close":    func(a, _ *node) { a.Close() },
		"sender's Remove":   func(a, _ *node) { a.Remove(2) },
		"receiver's Close":  func(_, b *node) { b.Close() },
		"receiver's Remove": func(_, b *node) { b.Remove(1) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			body := newContent(1<<30, io.EOF)
			a.open = func(*raftpb.Message) (io.ReadCloser, error) { return body, nil }
			reading, saw := make(chan struct{}), make(chan error, 1)
			b.receive = func(_ *raftpb.Message, r io.Reader) error {
				_, err := io.CopyN(io.Discard, r, 1000)
				close(reading)
				for err == nil { // slowly, so that it does not come to the end
					_, err = io.CopyN(io.Discard, r, 1000)
					runtime.Gosched()
				}
				saw <- err
				return err
			}
			a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
			<-reading
			end(a, b)
			select {
			case err := <-saw:
				require.Error(t, err)
				require.NotErrorIs(t, err, io.EOF)
			case <-time.After(5 * time.Second):
				t.Fatal("the receiver is not told")
			}
			soon(t, func() bool { return a.sentFail.Load() == 1 && body.closed.Load() == 1 })
			require.Zero(t, b.got.Load())
		})
	}
}

// A sender of which nothing comes any more is given up.
func TestAStuckSenderIsGivenUp(t *testing.T) {
	a, b := pair(t)
	b.timing.bulk = 100 * time.Millisecond
	body := newContent(1<<20, io.EOF)
	body.gate = make(chan struct{}, 2)
	body.gate <- struct{}{}
	a.open = func(*raftpb.Message) (io.ReadCloser, error) { return body, nil }
	saw := make(chan error, 1)
	b.receive = func(_ *raftpb.Message, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		saw <- err
		return err
	}
	a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
	require.ErrorContains(t, <-saw, "timeout")
	close(body.gate)
	soon(t, func() bool { return a.sentFail.Load() == 1 })
}

// upstream answers as a member of the recordings' program does.
func upstream(t *testing.T) (url string) {
	ln := listen(t, "127.0.0.1:0")
	stop := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerVersion, "3.7.1")
		w.Header().Set(headerCluster, formatID(testCluster))
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() {
		close(stop)
		_ = server.Close()
	})
	return "http://" + ln.Addr().String()
}

func TestAnUpstreamMemberGetsNoSnapshot(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	a := start(t, 1, listen(t, "127.0.0.1:0"), func(_ *node, c *Config) { c.Logger = zap.New(core) })
	a.open = func(*raftpb.Message) (io.ReadCloser, error) { panic("must not be opened") }
	require.NoError(t, a.Add(2, []string{upstream(t)}))
	soon(t, func() bool { return !a.ActiveSince(2).IsZero() })
	for i := range 3 {
		a.Send([]*raftpb.Message{snapOf(1, 2, 9)})
		require.EqualValues(t, i+1, a.sentFail.Load())
	}
	require.Equal(t, 1, logs.Len(), "said once")
	require.Contains(t, logs.All()[0].Message, "a snapshot for an upstream member cannot be written yet")

	// Neither gets one of whom nothing is known, nor a remote, nor a stranger.
	require.NoError(t, a.Add(3, []string{"http://127.0.0.1:1"}))
	require.NoError(t, a.AddRemote(4, []string{"http://127.0.0.1:1"}))
	a.Send([]*raftpb.Message{snapOf(1, 3, 9), snapOf(1, 4, 9), snapOf(1, 5, 9)})
	require.EqualValues(t, 6, a.sentFail.Load())
	require.Equal(t, 1, logs.Len())
}

// A stream that brings nothing, not even link heartbeats, is lost; one without
// messages is not.
func TestASilentStreamIsLost(t *testing.T) {
	a, b := pair(t)
	require.NoError(t, a.Add(3, []string{upstream(t)}))
	soon(t, func() bool { return !a.ActiveSince(3).IsZero() })
	soon(t, func() bool { return a.Stats().Peers[3].Disconnects > 0 })
	require.Zero(t, a.Stats().Peers[2].Disconnects+b.Stats().Peers[1].Disconnects)
}
