package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// appOf returns a MsgApp of n entries of so many bytes behind (term, index).
func appOf(from, to, term, index uint64, n, size int) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: &from, To: &to, Term: &term, LogTerm: &term, Index: &index, Commit: proto.Uint64(index)}
	for i := range n {
		m.Entries = append(m.Entries, &raftpb.Entry{Term: &term, Index: proto.Uint64(index + 1 + uint64(i)), Data: bytes.Repeat([]byte{byte(i)}, size)})
	}
	return m
}

// drain decodes all there is.
func drain(d decoder) (messages []*raftpb.Message, err error) {
	for {
		m, _, err := d.decode()
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}

func equal(t *testing.T, want, got []*raftpb.Message) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, proto.Equal(want[i], got[i]), "message %d: want %v, got %v", i, want[i], got[i])
	}
}

func TestMsgAppKeepsItsPlace(t *testing.T) {
	reject := appOf(1, 2, 5, 90, 2, 3)
	reject.LogTerm = proto.Uint64(4) // the entry before is of another term
	all := []*raftpb.Message{
		appOf(1, 2, 3, 10, 0, 0),   // says where the log ends
		appOf(1, 2, 3, 10, 3, 100), // follows
		appOf(1, 2, 3, 13, 0, 0),   // follows, only moves the commit
		appOf(1, 2, 3, 13, 70, 1),  // more than lie side by side
		appOf(1, 2, 3, 11, 2, 5),   // goes back
		appOf(1, 2, 3, 13, 1, 5),   // follows what went back
		appOf(1, 2, 5, 14, 1, 5),   // another term
		reject,
		appOf(1, 2, 5, 92, 1, 100000),
	}
	var buf []byte
	kinds := []byte{}
	for enc, i := (&msgappEncoder{}), 0; i < len(all); i++ {
		at := len(buf)
		var err error
		buf, err = enc.append(buf, all[i])
		require.NoError(t, err)
		kinds = append(kinds, buf[at])
	}
	require.Equal(t, []byte{2, 1, 1, 1, 2, 1, 2, 2, 1}, kinds)
	got, err := drain(&msgappDecoder{r: bufio.NewReader(bytes.NewReader(buf)), from: 1, to: 2})
	require.Equal(t, io.EOF, err)
	equal(t, all, got)
}

func TestEntriesAreWrittenAsTheLibraryDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		e := &raftpb.Entry{}
		if random.IntN(2) == 0 {
			e.Type = raftpb.EntryType(random.IntN(3)).Enum()
		}
		if random.IntN(4) > 0 {
			e.Term = proto.Uint64(random.Uint64() >> random.IntN(64))
		}
		if random.IntN(4) > 0 {
			e.Index = proto.Uint64(random.Uint64() >> random.IntN(64))
		}
		if random.IntN(4) > 0 {
			e.Data = make([]byte, random.IntN(300))
		}
		want, err := proto.Marshal(e)
		require.NoError(t, err)
		got := appendEntry(nil, e)
		require.EqualValues(t, len(want), binary.BigEndian.Uint64(got))
		require.True(t, bytes.Equal(want, got[8:]), "%v", e)
		s := &slot{}
		require.NoError(t, s.decode(want))
		require.True(t, proto.Equal(e, &s.entry), "%v became %v", e, &s.entry)
	}
}

func TestOddEntriesAreReadAsTheLibraryDoes(t *testing.T) {
	for _, b := range [][]byte{
		{0x10, 1, 0x10, 2},                // a field twice: the last counts
		{0x22, 1, 'a', 0x18, 5},           // another order
		{0x10, 1, 0x2a, 1, 'x', 0x18, 9},  // a field of the future
		{0x12, 1, 'x'},                    // a term that is no number
		{0x22, 5, 'a'},                    // cut off
		{0x18, 0xff},                      // cut off in a number
		{0x08, 0xff, 0xff, 0xff, 0xff, 7}, // a type of the future
		{},
	} {
		want := &raftpb.Entry{}
		wantErr := proto.Unmarshal(b, want)
		s := &slot{}
		err := s.decode(b)
		require.Equal(t, wantErr == nil, err == nil, "%x: %v, %v", b, wantErr, err)
		if err == nil {
			require.True(t, proto.Equal(want, &s.entry), "%x: %v, %v", b, want, &s.entry)
		}
	}
}

func TestDecodedMessagesShareNothing(t *testing.T) {
	prop := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: proto.Uint64(1), To: proto.Uint64(2), Context: []byte("12345678"), Entries: []*raftpb.Entry{{Data: []byte("first")}}}
	app := appOf(1, 2, 3, 10, 2, 10)
	for name, c := range map[string]struct {
		enc encoder
		dec func(r *bufio.Reader) decoder
	}{
		"message": {messageEncoder{}, func(r *bufio.Reader) decoder { return &messageDecoder{r: r} }},
		"msgapp":  {&msgappEncoder{}, func(r *bufio.Reader) decoder { return &msgappDecoder{r: r, from: 1, to: 2} }},
	} {
		t.Run(name, func(t *testing.T) {
			var buf []byte
			var err error
			want := []*raftpb.Message{prop, app, appOf(1, 2, 3, 12, 3, 10), prop, appOf(1, 2, 3, 15, 2, 10), appOf(1, 2, 3, 17, 1, 10)}
			for _, m := range want {
				buf, err = c.enc.append(buf, m)
				require.NoError(t, err)
			}
			// All messages are decoded before the first is looked at, and the buffers
			// are written over.
			r := bufio.NewReaderSize(bytes.NewReader(buf), 16)
			d := c.dec(r)
			got, err := drain(d)
			require.Equal(t, io.EOF, err)
			switch d := d.(type) {
			case *messageDecoder:
				spoil(d.scratch)
			case *msgappDecoder:
				spoil(d.scratch)
			}
			spoil(buf)
			equal(t, want, got)
		})
	}
}

func spoil(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = 0xee
	}
}

// Lengths are believed as far as the bytes have come.
func TestLengthsTakeNoMemory(t *testing.T) {
	long := func(b []byte, n uint64) []byte { return append(appendUint64(b, n), make([]byte, 1000)...) }
	for name, read := range map[string]func() error{
		"message": func() error {
			_, _, err := (&messageDecoder{r: bufio.NewReader(bytes.NewReader(long(nil, maxFrame)))}).decode()
			return err
		},
		"msgapp message": func() error {
			_, _, err := (&msgappDecoder{r: bufio.NewReader(bytes.NewReader(long([]byte{2}, maxFrame)))}).decode()
			return err
		},
		"entry": func() error {
			_, _, err := (&msgappDecoder{r: bufio.NewReader(bytes.NewReader(long(appendUint64([]byte{1}, 1), maxFrame-17)))}).decode()
			return err
		},
		"entries": func() error {
			_, _, err := (&msgappDecoder{r: bufio.NewReader(bytes.NewReader(long([]byte{1}, maxEntries)))}).decode()
			return err
		},
		"snapshot": func() error {
			_, _, err := readEnvelope(bytes.NewReader(long(nil, maxEnvelope)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := read()
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		})
	}
}

func TestLengthsHaveLimits(t *testing.T) {
	_, _, err := (&messageDecoder{r: bufio.NewReader(bytes.NewReader(appendUint64(nil, maxFrame+1)))}).decode()
	require.ErrorContains(t, err, "limit of 536870912")
	_, _, err = (&msgappDecoder{r: bufio.NewReader(bytes.NewReader(appendUint64([]byte{2}, 1<<63)))}).decode()
	require.ErrorContains(t, err, "limit of 536870912")
	_, _, err = (&msgappDecoder{r: bufio.NewReader(bytes.NewReader(appendUint64([]byte{1}, maxEntries+1)))}).decode()
	require.ErrorContains(t, err, "limit of 1048576")
	_, _, err = readEnvelope(bytes.NewReader(appendUint64(nil, maxEnvelope+1)))
	require.ErrorContains(t, err, "limit of 67108864")
	_, _, err = (&msgappDecoder{r: bufio.NewReader(bytes.NewReader([]byte{3}))}).decode()
	require.ErrorContains(t, err, "type 0x3")
	for _, cut := range [][]byte{{0, 0, 0}, {1, 0, 0}} {
		_, _, err = (&messageDecoder{r: bufio.NewReader(bytes.NewReader(cut))}).decode()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

// Bytes that would become fifty times as many in memory are not decoded.
func TestManySmallPartsAreRefused(t *testing.T) {
	entries := bytes.Repeat([]byte{0x3a, 0}, maxEntries+2)
	_, err := parse(entries)
	require.ErrorContains(t, err, "more than 1048576 entries")
	nested := protowire.AppendBytes([]byte{0x72}, bytes.Repeat([]byte{0x72, 0}, 1<<20))
	_, err = parse(nested)
	require.ErrorContains(t, err, "has responses")
	_, err = parse(append(entries[:2<<20:2<<20], 0x3a))
	require.Error(t, err)
	big := appOf(1, 2, 3, 4, 2, 1<<20)
	m, err := parse(marshal(t, big))
	require.NoError(t, err)
	require.True(t, proto.Equal(big, m))
}

func TestOlderHeartbeatsAreKnown(t *testing.T) {
	old := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: proto.Uint64(0), From: proto.Uint64(0), Term: proto.Uint64(0),
		LogTerm: proto.Uint64(0), Index: proto.Uint64(0), Commit: proto.Uint64(0), Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{}}, Reject: proto.Bool(false)}
	b, err := appendFrame(nil, old)
	require.NoError(t, err)
	m, n, err := (&messageDecoder{r: bufio.NewReader(bytes.NewReader(b))}).decode()
	require.NoError(t, err)
	require.Nil(t, m)
	require.Equal(t, len(b), n)
}

func FuzzMessageStream(f *testing.F) {
	f.Add(stream(f, "message-n1-to-n2")[:300])
	f.Add(stream(f, "message-n2-to-n1")[:300])
	f.Fuzz(func(t *testing.T, b []byte) {
		roundTrip(t, b, messageEncoder{}, messageEncoder{}, func(r *bufio.Reader) decoder { return &messageDecoder{r: r} })
	})
}

func FuzzMsgAppStream(f *testing.F) {
	f.Add(stream(f, "msgapp-n1-to-n2")[:500])
	f.Add(stream(f, "msgapp-n1-to-n3")[:400])
	f.Add(stream(f, "msgapp-two-full"))
	f.Fuzz(func(t *testing.T, b []byte) {
		roundTrip(t, b, &msgappEncoder{}, &msgappEncoder{}, func(r *bufio.Reader) decoder { return &msgappDecoder{r: r, from: n1, to: n2} })
	})
}

// roundTrip: what was decoded and would be admitted is the same after it has
// been encoded and decoded again, and its bytes are then the same for ever.
func roundTrip(t *testing.T, b []byte, first, second encoder, dec func(r *bufio.Reader) decoder) {
	all, _ := drain(dec(bufio.NewReader(bytes.NewReader(b))))
	var good []*raftpb.Message
	for _, m := range all {
		if m != nil && admissible(m, n1, n2) == nil && len(m.ProtoReflect().GetUnknown()) == 0 {
			good = append(good, m)
		}
	}
	encode := func(e encoder) (buf []byte) {
		for _, m := range good {
			var err error
			buf, err = e.append(buf, m)
			require.NoError(t, err)
		}
		return buf
	}
	bytes1 := encode(first)
	again, err := drain(dec(bufio.NewReader(bytes.NewReader(bytes1))))
	require.Equal(t, io.EOF, err)
	require.Len(t, again, len(good))
	good = again
	require.Equal(t, bytes1, encode(second))
}

func FuzzSnapshotEnvelope(f *testing.F) {
	m := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(1), To: proto.Uint64(2), Term: proto.Uint64(3), Snapshot: &raftpb.Snapshot{
		Data: []byte("{}"), Metadata: &raftpb.SnapshotMetadata{Index: proto.Uint64(9), Term: proto.Uint64(3), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}}}
	b, err := appendEnvelope(nil, m)
	require.NoError(f, err)
	f.Add(append(b, "and what follows"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, n, err := readEnvelope(r)
		if err != nil {
			return
		}
		require.Equal(t, len(b)-n, r.Len(), "what follows the envelope is left")
		again, err := appendEnvelope(nil, m)
		require.NoError(t, err)
		back, _, err := readEnvelope(bytes.NewReader(again))
		require.NoError(t, err)
		require.True(t, proto.Equal(m, back))
		_ = checkSnapshot(m)
	})
}
