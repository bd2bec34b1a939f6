package peer

import (
	"bufio"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// BenchmarkSend sends MsgApps with entries of 1 KiB from one member to another,
// with up to 512 of them on the way, as a leader does. An operation is a message.
func BenchmarkSend(b *testing.B) {
	for _, entries := range []int{1, 16} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			way := make(chan struct{}, 512)
			from := start(b, 1, listen(b, "127.0.0.1:0"))
			to := start(b, 2, listen(b, "127.0.0.1:0"), func(_ *node, c *Config) {
				c.Deliver = func(*raftpb.Message) error {
					<-way
					return nil
				}
			})
			introduce(b, from, to)
			data := make([]byte, 1024)
			one, term, self, other := raftpb.MsgApp, uint64(3), uint64(1), uint64(2)
			entry := func(i int) *raftpb.Entry {
				return &raftpb.Entry{Term: &term, Index: proto.Uint64(uint64(i) + 1), Data: data}
			}
			b.SetBytes(int64(entries * len(data)))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				m := &raftpb.Message{Type: &one, From: &self, To: &other, Term: &term, LogTerm: &term, Index: proto.Uint64(uint64(i * entries)), Commit: &term}
				for e := range entries {
					m.Entries = append(m.Entries, entry(i*entries+e))
				}
				way <- struct{}{}
				from.Send([]*raftpb.Message{m})
			}
			for range cap(way) { // until nothing is on the way
				way <- struct{}{}
			}
			b.StopTimer()
			require.Zero(b, from.lostTo[2].Load())
		})
	}
}

// BenchmarkMsgApp is what one MsgApp of an entry of 1 KiB costs each side.
func BenchmarkMsgApp(b *testing.B) {
	m := appOf(1, 2, 3, 10, 1, 1024)
	e := &msgappEncoder{at: position{3, 10}}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for range b.N {
			e.at.index = 10
			buf, _ = e.append(buf[:0], m)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		frame, err := (&msgappEncoder{at: position{3, 10}}).append(nil, m)
		require.NoError(b, err)
		d := &msgappDecoder{from: 1, to: 2, r: endless(frame)}
		for range b.N {
			_, _, err := d.decode()
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// endless reads the frame again and again.
func endless(frame []byte) *bufio.Reader { return bufio.NewReaderSize(&loop{frame: frame}, eager) }

type loop struct {
	frame []byte
	at    int
}

func (l *loop) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], l.frame[l.at:])
		n += k
		l.at = (l.at + k) % len(l.frame)
	}
	return n, nil
}
