package rpc

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// headers is a decoded request header block. It is filled field by field
// (add), then read only: several calls may share one.
type headers struct {
	method, scheme, path, authority string
	contentType, encoding, timeout  string
	contentLength                   int64 // -1: not given

	fields []hpack.HeaderField // the regular fields, in the order they came
	size   int                 // as SETTINGS_MAX_HEADER_LIST_SIZE counts
	tooBig bool
	bad    string // why the request is malformed; "" if it is not

	memo *atomic.Pointer[any] // by Call.SetMemo; nil where the block is not remembered
}

func (h *headers) reset() {
	clear(h.fields)
	*h = headers{fields: h.fields[:0], contentLength: -1}
}

func (h *headers) add(f hpack.HeaderField, limit int) {
	h.size += len(f.Name) + len(f.Value) + 32
	if h.size > limit {
		h.tooBig = true
	}
	if h.tooBig || h.bad != "" {
		return
	}
	if f.Name == "" {
		h.bad = "empty header name"
		return
	}
	if f.Name[0] == ':' {
		h.addPseudo(f)
		return
	}
	for i := 0; i < len(f.Name); i++ {
		if !nameByte(f.Name[i]) {
			h.bad = "invalid header name"
			return
		}
	}
	for i := 0; i < len(f.Value); i++ {
		if c := f.Value[i]; c < ' ' && c != '\t' || c == 0x7f {
			h.bad = "invalid header value"
			return
		}
	}
	switch f.Name {
	case "content-type":
		h.contentType = f.Value
	case "grpc-encoding":
		h.encoding = f.Value
	case "grpc-timeout":
		h.timeout = f.Value
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 62)
		if err != nil || h.contentLength >= 0 && h.contentLength != int64(n) {
			h.bad = "invalid content-length"
			return
		}
		h.contentLength = int64(n)
	case "te":
		if f.Value != "trailers" {
			h.bad = "te is not trailers"
			return
		}
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		h.bad = "connection header"
		return
	}
	h.fields = append(h.fields, f)
}

func (h *headers) addPseudo(f hpack.HeaderField) {
	var to *string
	switch f.Name {
	case ":method":
		to = &h.method
	case ":scheme":
		to = &h.scheme
	case ":path":
		to = &h.path
	case ":authority":
		to = &h.authority
	default:
		h.bad = "unknown pseudo-header"
		return
	}
	switch {
	case len(h.fields) > 0:
		h.bad = "pseudo-header after a header"
	case *to != "" || f.Value == "":
		h.bad = "repeated or empty pseudo-header"
	default:
		*to = f.Value
	}
}

// problem says why the request is malformed in the sense of RFC 9113, 8.1.1.
func (h *headers) problem() string {
	if h.bad == "" && (h.method == "" || h.scheme == "" || h.path == "") {
		return "missing pseudo-header"
	}
	return h.bad
}

func (h *headers) isGRPC() bool {
	const base = "application/grpc"
	ct := h.contentType
	return strings.HasPrefix(ct, base) && (len(ct) == len(base) || ct[len(base)] == '+' || ct[len(base)] == ';')
}

// get returns the first field of that name, binary values decoded.
func (h *headers) get(key string) (string, bool) {
	if key == ":authority" {
		return h.authority, h.authority != ""
	}
	for i := range h.fields {
		if h.fields[i].Name == key {
			return binDecode(key, h.fields[i].Value)
		}
	}
	return "", false
}

func isBin(name string) bool { return strings.HasSuffix(name, "-bin") }

// binDecode returns a field's value, base64 (padded or not) undone for "-bin".
func binDecode(name, v string) (string, bool) {
	if !isBin(name) {
		return v, true
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
	return string(raw), err == nil
}

// ParseTimeout reads a grpc-timeout: up to eight digits and a unit. It never
// returns more than a hundred years.
func ParseTimeout(s string) (time.Duration, error) {
	if len(s) < 2 || len(s) > 9 {
		return 0, fmt.Errorf("malformed grpc-timeout: %q", s)
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, fmt.Errorf("malformed grpc-timeout: %q", s)
	}
	n := time.Duration(0)
	for i := 0; i < len(s)-1; i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("malformed grpc-timeout: %q", s)
		}
		n = n*10 + time.Duration(s[i]-'0')
	}
	if n > maxTimeout/unit {
		return maxTimeout, nil
	}
	return n * unit, nil
}

// maxTimeout keeps now + timeout inside an int64 of nanoseconds.
const maxTimeout = 100 * 365 * 24 * time.Hour

// nameByte says whether c may stand in an HTTP/2 header name: a token
// character, upper case excluded.
func nameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		return true
	}
	return strings.IndexByte("!#$%&'*+^`|~", c) >= 0
}
