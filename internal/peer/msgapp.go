package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The frames of a msgapp stream, version 2. Both ends keep the term and index
// at which the log of the connection ends; a frame of entries continues there
// and need not name the place.
const (
	frameHeartbeat = 0
	frameEntries   = 1
	frameMessage   = 2
)

// maxEntries is how many entries one frame may have. A leader sends a megabyte
// at a time, so real ones have fewer by far.
const maxEntries = 1 << 20

// position is where the log of a connection ends.
type position struct{ term, index uint64 }

// follow moves to the end of a message that was sent in full.
func (p *position) follow(m *raftpb.Message) {
	p.term, p.index = m.GetTerm(), m.GetIndex()
	if n := len(m.GetEntries()); n > 0 {
		p.index = m.GetEntries()[n-1].GetIndex()
	}
}

// msgappEncoder writes the msgapp stream.
type msgappEncoder struct{ at position }

func (e *msgappEncoder) append(buf []byte, m *raftpb.Message) ([]byte, error) {
	if m.GetType() != raftpb.MsgApp || e.at.index != m.GetIndex() || e.at.term != m.GetLogTerm() || m.GetLogTerm() != m.GetTerm() {
		e.at.follow(m)
		return appendFrame(append(buf, frameMessage), m)
	}
	buf = append(buf, frameEntries)
	buf = appendUint64(buf, uint64(len(m.Entries)))
	for _, entry := range m.Entries {
		buf = appendEntry(buf, entry)
	}
	e.at.index += uint64(len(m.Entries))
	return appendUint64(buf, m.GetCommit()), nil
}

func (*msgappEncoder) appendHeartbeat(buf []byte) []byte { return append(buf, frameHeartbeat) }

// appendEntry appends an entry behind its length. It writes what the protobuf
// library writes (a test holds it to that), in a tenth of the time.
func appendEntry(buf []byte, e *raftpb.Entry) []byte {
	at := len(buf)
	buf = append(buf, 0, 0, 0, 0, 0, 0, 0, 0)
	if e.Type != nil {
		buf = protowire.AppendVarint(append(buf, 0x08), uint64(*e.Type))
	}
	if e.Term != nil {
		buf = protowire.AppendVarint(append(buf, 0x10), *e.Term)
	}
	if e.Index != nil {
		buf = protowire.AppendVarint(append(buf, 0x18), *e.Index)
	}
	if e.Data != nil {
		buf = protowire.AppendBytes(append(buf, 0x22), e.Data)
	}
	binary.BigEndian.PutUint64(buf[at:], uint64(len(buf)-at-8))
	return buf
}

// msgappDecoder reads the msgapp stream.
type msgappDecoder struct {
	r        *bufio.Reader
	from, to uint64 // of the messages that frames of entries stand for
	at       position
	scratch  []byte
	fixed    [8]byte
	slots    []slot
}

// appMessage is a message and what its fields point to, in one piece.
type appMessage struct {
	message                                raftpb.Message
	kind                                   raftpb.MessageType
	to, from, term, logTerm, index, commit uint64
}

// slot is an entry and what its fields point to, in one piece.
type slot struct {
	entry       raftpb.Entry
	term, index uint64
	kind        raftpb.EntryType
}

func (d *msgappDecoder) decode() (*raftpb.Message, int, error) {
	kind, err := d.r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	switch kind {
	case frameHeartbeat:
		return nil, 1, nil
	case frameEntries:
		return d.entries()
	case frameMessage:
		return d.message()
	}
	return nil, 0, fmt.Errorf("peer: a msgapp stream has no frames of type %#x", kind)
}

func (d *msgappDecoder) message() (*raftpb.Message, int, error) {
	n, err := d.length(maxFrame)
	if err != nil {
		return nil, 0, err
	}
	m, err := readMessage(d.r, &d.scratch, n)
	if err != nil {
		return nil, 0, err
	}
	d.at.follow(m)
	return m, 9 + n, nil
}

func (d *msgappDecoder) entries() (*raftpb.Message, int, error) {
	count, err := d.length(maxEntries)
	if err != nil {
		return nil, 0, err
	}
	size := 17
	var entries []*raftpb.Entry
	for i := range count {
		n, err := d.length(uint64(maxFrame - size))
		if err != nil {
			return nil, 0, err
		}
		if i == len(entries) && i == cap(entries) {
			grown := make([]*raftpb.Entry, i, min(count, max(64, 2*i)))
			copy(grown, entries)
			entries = grown
		}
		s := d.slot(count - i)
		// The bytes are read into memory of their own: the entry's data stays in it.
		b, err := readAll(d.r, nil, n)
		if err != nil {
			return nil, 0, err
		}
		if err := s.decode(b); err != nil {
			return nil, 0, fmt.Errorf("peer: decode an entry: %w", err)
		}
		entries = append(entries, &s.entry)
		size += 8 + n
	}
	d.slots = nil
	commit, err := d.uint64()
	if err != nil {
		return nil, 0, err
	}
	a := &appMessage{kind: raftpb.MsgApp, to: d.to, from: d.from, term: d.at.term, logTerm: d.at.term, index: d.at.index, commit: commit}
	m := &a.message
	m.Type, m.To, m.From, m.Term, m.LogTerm, m.Index, m.Commit, m.Entries = &a.kind, &a.to, &a.from, &a.term, &a.logTerm, &a.index, &a.commit, entries
	d.at.index += uint64(count)
	return m, size, nil
}

// slot returns the place for one of so many entries of a frame that are still
// to come. Up to 64 lie side by side, and are freed together.
func (d *msgappDecoder) slot(left int) *slot {
	if len(d.slots) == 0 {
		d.slots = make([]slot, min(left, 64))
	}
	s := &d.slots[0]
	d.slots = d.slots[1:]
	return s
}

func (d *msgappDecoder) uint64() (uint64, error) {
	if _, err := io.ReadFull(d.r, d.fixed[:]); err != nil {
		return 0, unfinished(err)
	}
	return binary.BigEndian.Uint64(d.fixed[:]), nil
}

func (d *msgappDecoder) length(limit uint64) (int, error) {
	n, err := d.uint64()
	if err != nil {
		return 0, err
	}
	return checkLength(n, limit)
}

// decode reads the entry from b, which its data goes on using. What it does not
// expect it leaves to the protobuf library.
func (s *slot) decode(b []byte) error {
	rest := b
	for len(rest) > 0 {
		var n int
		switch rest[0] {
		case 0x08:
			var v uint64
			v, n = protowire.ConsumeVarint(rest[1:])
			s.kind, s.entry.Type = raftpb.EntryType(v), &s.kind
		case 0x10:
			s.term, n = protowire.ConsumeVarint(rest[1:])
			s.entry.Term = &s.term
		case 0x18:
			s.index, n = protowire.ConsumeVarint(rest[1:])
			s.entry.Index = &s.index
		case 0x22:
			var data []byte
			data, n = protowire.ConsumeBytes(rest[1:])
			s.entry.Data = data[:len(data):len(data)]
		default:
			proto.Reset(&s.entry)
			return proto.Unmarshal(b, &s.entry)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[1+n:]
	}
	return nil
}
