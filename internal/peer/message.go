package peer

import (
	"bufio"
	"encoding/binary"
	"io"

	"go.etcd.io/raft/v3/raftpb"
)

// messageEncoder writes the message stream: each message behind its length.
type messageEncoder struct{}

func (messageEncoder) append(buf []byte, m *raftpb.Message) ([]byte, error) {
	return appendFrame(buf, m)
}

// appendHeartbeat appends a message with nothing but the type MsgHeartbeat.
func (messageEncoder) appendHeartbeat(buf []byte) []byte {
	return append(buf, 0, 0, 0, 0, 0, 0, 0, 2, 8, 8)
}

// messageDecoder reads the message stream.
type messageDecoder struct {
	r       *bufio.Reader
	scratch []byte // frames are read into it; messages are decoded by copying
}

func (d *messageDecoder) decode() (*raftpb.Message, int, error) {
	n, err := readLength(d.r, maxFrame)
	if err != nil {
		return nil, 0, err
	}
	m, err := readMessage(d.r, &d.scratch, n)
	if err != nil {
		return nil, 0, err
	}
	if isLinkHeartbeat(m) {
		m = nil
	}
	return m, 8 + n, nil
}

// readMessage reads a message of n bytes by way of scratch, of which it keeps
// no more than eager.
func readMessage(r io.Reader, scratch *[]byte, n int) (*raftpb.Message, error) {
	b, err := readAll(r, *scratch, n)
	if cap(b) <= eager {
		*scratch = b
	}
	if err != nil {
		return nil, err
	}
	return parse(b)
}

// isLinkHeartbeat knows both forms: 3.7 leaves zero fields out, older members
// write them.
func isLinkHeartbeat(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgHeartbeat && m.GetFrom() == 0 && m.GetTo() == 0
}

func appendUint64(buf []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(buf, n) }
