package rpc

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// Frames and header blocks are written by appending bytes: the Framer would
// cost a call and a copy each, and our side of HPACK uses no dynamic table, so
// that the blocks of an ordinary reply are constants.

func appendFrameHeader(b []byte, n int, t http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// appendHeaders writes a header block as HEADERS and, if it is long, CONTINUATION.
func appendHeaders(b []byte, id uint32, block []byte, endStream bool) []byte {
	var flags http2.Flags
	if endStream {
		flags = http2.FlagHeadersEndStream
	}
	t := http2.FrameHeaders
	for len(block) > maxFrame {
		b = appendFrameHeader(b, maxFrame, t, flags, id)
		b = append(b, block[:maxFrame]...)
		block, t, flags = block[maxFrame:], http2.FrameContinuation, 0
	}
	b = appendFrameHeader(b, len(block), t, flags|http2.FlagHeadersEndHeaders, id)
	return append(b, block...)
}

func appendRST(b []byte, id uint32, code http2.ErrCode) []byte {
	b = appendFrameHeader(b, 4, http2.FrameRSTStream, 0, id)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindowUpdate(b []byte, id uint32, n int64) []byte {
	b = appendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, id)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendPing(b []byte, ack bool, data [8]byte) []byte {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	b = appendFrameHeader(b, 8, http2.FramePing, flags, 0)
	return append(b, data[:]...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, debug string) []byte {
	b = appendFrameHeader(b, 8+len(debug), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, debug...)
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrameHeader(b, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

// HPACK (RFC 7541): indices into the static table and literals without indexing.
const (
	hpackStatus200   = 0x80 | 8
	hpackTableSize0  = 0x20 // dynamic table size update to zero
	staticStatus     = 8
	staticContentTyp = 31
)

func appendHpackInt(b []byte, first byte, prefixBits uint, v int) []byte {
	limit := 1<<prefixBits - 1
	if v < limit {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendHpackString(b []byte, s string) []byte {
	return append(appendHpackInt(b, 0, 7, len(s)), s...)
}

// appendField writes a literal field without indexing, name spelled out.
func appendField(b []byte, name, value string) []byte {
	return appendHpackString(appendHpackString(append(b, 0), name), value)
}

// appendIndexedField writes a literal field without indexing whose name stands
// in the static table.
func appendIndexedField(b []byte, nameIndex int, value string) []byte {
	return appendHpackString(appendHpackInt(b, 0, 4, nameIndex), value)
}

// replyHeaders is the header block of every successful reply with the plain
// content type, okTrailers the block that ends it.
const (
	replyHeaders = "\x88\x0f\x10\x10application/grpc"
	okTrailers   = "\x00\x0bgrpc-status\x010"
)
