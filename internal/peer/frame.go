package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// maxFrame is the longest frame of a stream, upstream's limit.
	maxFrame = 512 << 20
	// maxEnvelope is the longest message before a snapshot, upstream's limit.
	maxEnvelope = 64 << 20
	// eager is how much memory is taken on the word of a length alone.
	eager = 64 << 10
)

// An encoder appends what one stream carries to a buffer. It may have a state
// that goes with the connection.
type encoder interface {
	append(buf []byte, m *raftpb.Message) ([]byte, error)
	appendHeartbeat(buf []byte) []byte
}

// A decoder reads what one stream carries. The message is nil for a link
// heartbeat; it shares no memory with the decoder. n is the number of bytes it
// took on the stream.
type decoder interface {
	decode() (m *raftpb.Message, n int, err error)
}

// readAll reads n bytes into buf, from its beginning. It takes no more memory
// ahead than has already arrived, or eager.
func readAll(r io.Reader, buf []byte, n int) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		have := len(buf)
		step := min(n-have, max(eager, have))
		buf = slices.Grow(buf, step)[:have+step]
		if k, err := io.ReadFull(r, buf[have:]); err != nil {
			return buf[:have+k], unfinished(err)
		}
	}
	return buf, nil
}

// unfinished is what an end in the middle of something is.
func unfinished(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readLength(r io.Reader, limit uint64) (int, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return checkLength(binary.BigEndian.Uint64(b[:]), limit)
}

func checkLength(n, limit uint64) (int, error) {
	if n > limit {
		return 0, fmt.Errorf("peer: a length of %d bytes is beyond the limit of %d", n, limit)
	}
	return int(n), nil
}

// appendFrame appends a message behind its length.
func appendFrame(buf []byte, m *raftpb.Message) ([]byte, error) {
	at := len(buf)
	buf = append(buf, 0, 0, 0, 0, 0, 0, 0, 0)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		return buf[:at], fmt.Errorf("peer: encode a message: %w", err)
	}
	binary.BigEndian.PutUint64(buf[at:], uint64(len(buf)-at-8))
	return buf, nil
}

// large is the size from which on a message's parts are counted before it is
// decoded.
const large = 1 << 20

// plausible refuses a large message of many small parts: decoded, each would
// take fifty times its bytes.
func plausible(b []byte) error {
	for fields, rest := 0, b; len(rest) > 0; fields++ {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		k := protowire.ConsumeFieldValue(number, kind, rest[n:])
		switch {
		case k < 0:
			return protowire.ParseError(k)
		case fields > maxEntries:
			return fmt.Errorf("more than %d entries", maxEntries)
		case number == responsesField:
			return errors.New("has responses, which are for a member's own storage")
		}
		rest = rest[n+k:]
	}
	return nil
}

// responsesField is the number of Message.responses, which are messages again.
const responsesField = 14

// parse decodes a message; it keeps nothing of b.
func parse(b []byte) (*raftpb.Message, error) {
	if len(b) > large {
		if err := plausible(b); err != nil {
			return nil, fmt.Errorf("peer: decode a message: %w", err)
		}
	}
	m := &raftpb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("peer: decode a message: %w", err)
	}
	return m, nil
}

// appendEnvelope appends what goes before the bytes of a snapshot.
func appendEnvelope(buf []byte, m *raftpb.Message) ([]byte, error) { return appendFrame(buf, m) }

// readEnvelope reads what goes before the bytes of a snapshot.
func readEnvelope(r io.Reader) (*raftpb.Message, int, error) {
	n, err := readLength(r, maxEnvelope)
	if err != nil {
		return nil, 0, unfinished(err)
	}
	b, err := readAll(r, nil, n)
	if err != nil {
		return nil, 0, err
	}
	m, err := parse(b)
	return m, 8 + n, err
}
