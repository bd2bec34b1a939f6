package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Field is one metadata field of a reply. Names are lower case; the value of a
// name that ends in "-bin" is raw bytes and encoded by the engine.
type Field struct{ Name, Value string }

// statusOf turns a handler's error into the status the peer sees, as gRPC does:
// a status travels as it is, a bare context error gets its code, anything else
// is Unknown.
func statusOf(err error) *status.Status {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err)
	}
	return status.New(codes.Unknown, err.Error())
}

// appendStatus writes the fields grpc-status, grpc-message and, if st has
// details, grpc-status-details-bin. A nil st is OK.
func appendStatus(b []byte, st *status.Status) []byte {
	if st == nil {
		return append(b, okTrailers...)
	}
	b = appendField(b, "grpc-status", strconv.Itoa(int(st.Code())))
	if m := st.Message(); m != "" {
		b = appendField(b, "grpc-message", percentEncode(m))
	}
	if p := st.Proto(); p != nil && len(p.Details) > 0 {
		if raw, err := proto.Marshal(p); err == nil {
			b = appendField(b, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(raw))
		}
	}
	return b
}

func appendFields(b []byte, fields []Field) []byte {
	for _, f := range fields {
		v := f.Value
		if isBin(f.Name) {
			v = base64.RawStdEncoding.EncodeToString([]byte(v))
		}
		b = appendField(b, f.Name, v)
	}
	return b
}

// percentEncode is grpc-message's encoding: printable ASCII but for '%' stays.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c >= ' ' && c <= '~' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
