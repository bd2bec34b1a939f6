package service

import (
	"google.golang.org/protobuf/encoding/protowire"

	"etcd.alt/internal/auth"
	"etcd.alt/internal/mvcc"
)

// Fields of the replicated request.
const (
	fieldRange       = 3
	fieldPut         = 4
	fieldDeleteRange = 5
	fieldTxn         = 6
	fieldCompaction  = 7
	fieldLeaseGrant  = 8
	fieldLeaseRevoke = 9
	fieldAlarm       = 10
	fieldHeader      = 100

	fieldAuthEnable               = 1000
	fieldAuthDisable              = 1011
	fieldAuthUserDelete           = 1101
	fieldAuthUserGrantRole        = 1104
	fieldAuthUserRevokeRole       = 1105
	fieldAuthRoleAdd              = 1200
	fieldAuthRoleDelete           = 1201
	fieldAuthRoleGrantPermission  = 1203
	fieldAuthRoleRevokePermission = 1204
)

// appendReplicated appends the replicated request that holds message, which is
// encoded, in field, and carries id and whoever it is authorised for. The message
// travels as the client sent it; where it lies in the result is returned too.
func appendReplicated(b []byte, field int, message []byte, id uint64, by auth.Subject) (request, inside []byte) {
	if b == nil {
		b = make([]byte, 0, len(message)+32+len(by.User))
	}
	b = protowire.AppendTag(b, protowire.Number(field), protowire.BytesType)
	b = protowire.AppendBytes(b, message)
	end := len(b)
	size := sizeUint(1, id) + sizeUint(3, by.Revision)
	if by.User != "" {
		size += sizeField(len(by.User))
	}
	b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendUint(b, 1, id)
	if by.User != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, by.User)
	}
	b = appendUint(b, 3, by.Revision)
	return b, b[end-len(message) : end : end]
}

// header is a ResponseHeader, encoded by hand in the replies that are many.
type header struct {
	cluster, member uint64
	revision        int64
	term            uint64
}

func sizeUint(field protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeVarint(v)
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func (h *header) size() int {
	return sizeUint(1, h.cluster) + sizeUint(2, h.member) + sizeUint(3, uint64(h.revision)) + sizeUint(4, h.term)
}

// appendTo appends the header as field 1 of a reply.
func (h *header) appendTo(b []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(h.size()))
	b = appendUint(b, 1, h.cluster)
	b = appendUint(b, 2, h.member)
	b = appendUint(b, 3, uint64(h.revision))
	return appendUint(b, 4, h.term)
}

// sizeField is the size of a length-delimited field of n bytes.
func sizeField(n int) int { return 1 + protowire.SizeBytes(n) }

func sizeRecords(records [][]byte) int {
	n := 0
	for _, r := range records {
		n += sizeField(len(r))
	}
	return n
}

func appendRecords(b []byte, field protowire.Number, records [][]byte) []byte {
	for _, r := range records {
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendBytes(b, r)
	}
	return b
}

// fillEnd runs appendTo over the end of b, as the engine wants its messages.
func fillEnd(b []byte, size int, appendTo func([]byte) []byte) (int, error) {
	appendTo(b[len(b)-size : len(b)-size])
	return size, nil
}

// rangeReply is a RangeResponse whose records are spliced in as they are
// stored.
type rangeReply struct {
	header header
	mvcc.Result
}

// SizeVT is rpc.Message's.
func (r *rangeReply) SizeVT() int {
	n := sizeField(r.header.size()) + sizeRecords(r.KVs) + sizeUint(4, uint64(r.Count))
	if r.More {
		n += 2
	}
	return n
}

// MarshalToSizedBufferVT is rpc.Message's.
func (r *rangeReply) MarshalToSizedBufferVT(b []byte) (int, error) {
	return fillEnd(b, r.SizeVT(), r.appendTo)
}

func (r *rangeReply) appendTo(b []byte) []byte {
	return appendRange(r.header.appendTo(b), &r.Result)
}

// appendRange appends what follows the header of a RangeResponse.
func appendRange(b []byte, r *mvcc.Result) []byte {
	b = appendRecords(b, 2, r.KVs)
	if r.More {
		b = appendUint(b, 3, 1)
	}
	return appendUint(b, 4, uint64(r.Count))
}

// putReply is a PutResponse.
type putReply struct {
	header header
	prev   []byte
}

// SizeVT is rpc.Message's.
func (r *putReply) SizeVT() int {
	n := sizeField(r.header.size())
	if r.prev != nil {
		n += sizeField(len(r.prev))
	}
	return n
}

// MarshalToSizedBufferVT is rpc.Message's.
func (r *putReply) MarshalToSizedBufferVT(b []byte) (int, error) {
	return fillEnd(b, r.SizeVT(), func(b []byte) []byte { return appendPut(r.header.appendTo(b), r.prev) })
}

func appendPut(b, prev []byte) []byte {
	if prev != nil {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, prev)
	}
	return b
}

// encoded is a reply that is complete already.
type encoded []byte

// SizeVT is rpc.Message's.
func (e encoded) SizeVT() int { return len(e) }

// MarshalToSizedBufferVT is rpc.Message's.
func (e encoded) MarshalToSizedBufferVT(b []byte) (int, error) {
	return copy(b[len(b)-len(e):], e), nil
}

// appendDelete appends what follows the header of a DeleteRangeResponse.
func appendDelete(b []byte, deleted int64, prev [][]byte) []byte {
	return appendRecords(appendUint(b, 2, uint64(deleted)), 3, prev)
}
