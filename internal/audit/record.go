package audit

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// mostKeys is how many keys of a request are named, longestKey how much of each. Beyond
// mostBytes of them all, it is shortKey: a long key must not hide those behind it.
const (
	mostKeys   = 100
	longestKey = 1 << 10
	mostBytes  = 16 << 10
	shortKey   = 64
)

// Record is a request, and what became of it.
type Record struct {
	Time          time.Time
	User, Address string
	RPC           string
	Keys          []Range
	More          int // keys that are not among Keys
	Lease         int64
	Names         []string
	Revision      int64
	Verdict       string

	bytes int // of Keys
}

// Range is the key from, or the keys to an end, which is as in requests. Either may be
// named by its beginning alone; Long and LongEnd are the lengths of those that are.
type Range struct {
	Key, End      string
	Long, LongEnd int
}

// AddKeys names one more range, as long as there are not too many. Key and end are
// copied.
func (r *Record) AddKeys(key, end []byte) {
	if len(r.Keys) >= mostKeys {
		r.More++
		return
	}
	most := longestKey
	if r.bytes+min(len(key), most)+min(len(end), most) > mostBytes {
		most = shortKey
	}
	named := Range{Key: beginning(key, most), End: beginning(end, most)}
	if len(named.Key) < len(key) {
		named.Long = len(key)
	}
	if len(named.End) < len(end) {
		named.LongEnd = len(end)
	}
	r.bytes += len(named.Key) + len(named.End)
	r.Keys = append(r.Keys, named)
}

// beginning is the first bytes of a key, at most so many; what is text stays text.
func beginning(key []byte, most int) string {
	if len(key) <= most {
		return string(key)
	}
	n := most
	for back := 0; back < utf8.UTFMax && n > 0 && !utf8.RuneStart(key[n]); back++ {
		n--
	}
	return string(key[:n])
}

// AddNames names users and roles, each by its first 256 bytes.
func (r *Record) AddNames(names ...string) {
	const longest = 256
	for _, n := range names {
		if len(n) > longest {
			n = strings.Clone(n[:longest])
		}
		r.Names = append(r.Names, n)
	}
}

// appendTo appends the record as a line.
func (r *Record) appendTo(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if r.User != "" {
		b = appendText(append(b, `,"user":`...), r.User)
	}
	b = appendText(append(b, `,"address":`...), r.Address)
	b = appendText(append(b, `,"rpc":`...), r.RPC)
	for i, k := range r.Keys {
		b = append(b, first(i, `,"keys":[{`, `,{`)...)
		b = appendKey(b, "key", k.Key)
		if k.End != "" {
			b = appendKey(append(b, ','), "range_end", k.End)
		}
		if k.Long > 0 {
			b = strconv.AppendInt(append(b, `,"key_length":`...), int64(k.Long), 10)
		}
		if k.LongEnd > 0 {
			b = strconv.AppendInt(append(b, `,"range_end_length":`...), int64(k.LongEnd), 10)
		}
		b = append(b, '}')
	}
	if len(r.Keys) > 0 {
		b = append(b, ']')
	}
	if r.More > 0 {
		b = strconv.AppendInt(append(b, `,"more":`...), int64(r.More), 10)
	}
	if r.Lease != 0 {
		b = strconv.AppendInt(append(b, `,"lease":`...), r.Lease, 10)
	}
	for i, name := range r.Names {
		b = append(b, first(i, `,"names":[`, `,`)...)
		b = appendText(b, name)
	}
	if len(r.Names) > 0 {
		b = append(b, ']')
	}
	b = strconv.AppendInt(append(b, `,"revision":`...), r.Revision, 10)
	b = appendText(append(b, `,"verdict":`...), r.Verdict)
	return append(b, "}\n"...)
}

func first(i int, begin, between string) string {
	if i == 0 {
		return begin
	}
	return between
}

// appendKey appends a member of an object, in base64 where it is not text.
func appendKey(b []byte, name, value string) []byte {
	b = append(append(b, '"'), name...)
	if utf8.ValidString(value) {
		return appendText(append(b, `":`...), value)
	}
	b = append(b, `_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, []byte(value))
	return append(b, '"')
}

const hex = "0123456789abcdef"

// appendText appends a JSON string (RFC 8259, section 7). What is not UTF-8 becomes
// U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
