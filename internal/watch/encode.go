package watch

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/internal/mvcc"
)

// Header is what the header of each response says beside the revision.
type Header struct {
	Cluster, Member, Term uint64
}

// The fields of a WatchResponse, of an Event, and the one of a KeyValue that a
// deletion's record leaves out.
const (
	fieldHeader         protowire.Number = 1
	fieldID             protowire.Number = 2
	fieldCreated        protowire.Number = 3
	fieldCanceled       protowire.Number = 4
	fieldCompactedAt    protowire.Number = 5
	fieldReason         protowire.Number = 6
	fieldFragment       protowire.Number = 7
	fieldEvents         protowire.Number = 11
	fieldType           protowire.Number = 1
	fieldKV             protowire.Number = 2
	fieldPrevKV         protowire.Number = 3
	fieldModRevision    protowire.Number = 3
	typeDelete                           = 1
	prefixBytes                          = 5
	maxResponseOverhead                  = prefixBytes + 2 + 4*11 + 11 + 2
)

func appendUint(b []byte, f protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), v)
}

func appendHeader(b []byte, h Header, revision int64) []byte {
	b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
	at := len(b)
	b = append(b, 0) // four varints are below 128 bytes
	b = appendUint(b, 1, h.Cluster)
	b = appendUint(b, 2, h.Member)
	b = appendUint(b, 3, uint64(revision))
	b = appendUint(b, 4, h.Term)
	b[at] = byte(len(b) - at - 1)
	return b
}

// begin begins a response, framed as gRPC frames a message.
func begin(b []byte, h Header, revision, id int64) []byte {
	b = append(b, 0, 0, 0, 0, 0)
	b = appendHeader(b, h, revision)
	return appendUint(b, fieldID, uint64(id))
}

// end closes the response that began at start.
func end(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-prefixBytes))
	return b
}

// control is a response without events.
type control struct {
	id, revision      int64
	created, canceled bool
	compacted         int64
	reason            string
}

func (c *control) appendTo(b []byte, h Header) []byte {
	start := len(b)
	b = begin(b, h, c.revision, c.id)
	if c.created {
		b = appendUint(b, fieldCreated, 1)
	}
	if c.canceled {
		b = appendUint(b, fieldCanceled, 1)
	}
	b = appendUint(b, fieldCompactedAt, uint64(c.compacted))
	if c.reason != "" {
		b = protowire.AppendTag(b, fieldReason, protowire.BytesType)
		b = protowire.AppendString(b, c.reason)
	}
	return end(b, start)
}

// appendEvent appends a change as the field of a WatchResponse, with what it has
// replaced if that is not nil.
func appendEvent(b []byte, c *mvcc.Change, prev []byte) []byte {
	kv := len(c.Record)
	revision := uint64(c.Revision.Main)
	if c.Tombstone { // its record has the key alone
		kv += protowire.SizeTag(fieldModRevision) + protowire.SizeVarint(revision)
	}
	n := 1 + protowire.SizeBytes(kv)
	if c.Tombstone {
		n += 2
	}
	if prev != nil {
		n += 1 + protowire.SizeBytes(len(prev))
	}
	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	if c.Tombstone {
		b = appendUint(b, fieldType, typeDelete)
	}
	b = protowire.AppendTag(b, fieldKV, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(kv))
	b = append(b, c.Record...)
	if c.Tombstone {
		b = appendUint(b, fieldModRevision, revision)
	}
	if prev != nil {
		b = protowire.AppendTag(b, fieldPrevKV, protowire.BytesType)
		b = protowire.AppendBytes(b, prev)
	}
	return b
}
