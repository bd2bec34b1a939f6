package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/grpc"

	"etcd.alt/api/etcdserverpb"
)

// Snapshot is a member's data as a file: its content, and the SHA-256 of that
// in the last 32 bytes. It is an io.ReadCloser, not for concurrent use. Read
// returns io.EOF only when all has come and the hash is right.
type Snapshot struct {
	// Version is the version of the data, "" from members that do not say.
	Version string

	cancel context.CancelFunc
	stream grpc.ClientStream
	part   []byte // what has come and was not read
	err    error

	sum    hash.Hash // of all that has come, but for tail
	tail   []byte    // the last bytes that have come, at most 32
	length int64
}

// Snapshot begins to read the data of one of the endpoints. The Snapshot must
// be closed. It is read as long as ctx lasts.
func (c *Client) Snapshot(ctx context.Context) (*Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, first, err := openStream[etcdserverpb.SnapshotResponse](ctx, c, methodSnapshot, &etcdserverpb.SnapshotRequest{})
	if err != nil {
		cancel()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("client: the snapshot is empty")
		}
		return nil, err
	}
	s := &Snapshot{Version: first.Version, cancel: cancel, stream: stream, sum: sha256.New()}
	s.take(first.Blob)
	return s, nil
}

// Read is io.Reader's.
func (s *Snapshot) Read(p []byte) (int, error) {
	for len(s.part) == 0 && s.err == nil {
		s.receive()
	}
	if len(s.part) == 0 {
		return 0, s.err
	}
	n := copy(p, s.part)
	s.part = s.part[n:]
	return n, nil
}

// Close ends the call. It may be called more than once.
func (s *Snapshot) Close() error {
	s.cancel()
	return nil
}

func (s *Snapshot) receive() {
	part, err := receive[etcdserverpb.SnapshotResponse](s.stream.Context(), s.stream)
	switch {
	case err == nil:
		s.take(part.Blob)
	case errors.Is(err, io.EOF):
		s.err = s.check()
	default:
		s.err = err
	}
}

// take notes what has come. The last 32 bytes of all are not part of what is
// hashed, and which these are is known at the end only.
func (s *Snapshot) take(blob []byte) {
	s.part = blob
	s.length += int64(len(blob))
	s.tail = append(s.tail, blob...)
	if extra := len(s.tail) - sha256.Size; extra > 0 {
		s.sum.Write(s.tail[:extra])
		s.tail = append(s.tail[:0], s.tail[extra:]...)
	}
}

// check is io.EOF if the hash is right.
func (s *Snapshot) check() error {
	if !bytes.Equal(s.sum.Sum(nil), s.tail) {
		return fmt.Errorf("client: the snapshot is damaged or cut short: its last 32 of %d bytes are not the hash of the others", s.length)
	}
	return io.EOF
}
