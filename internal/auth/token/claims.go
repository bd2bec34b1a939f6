package token

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
)

const (
	// longest is the size of a token above which it is not looked at. With a key of
	// 8,192 bits ours have 1.7 KiB.
	longest = 8 << 10
	// shortest has three parts of one byte.
	shortest = 8
)

// strict refuses a second spelling of the same bytes.
var strict = base64.RawURLEncoding.Strict()

// parts are a token taken apart, but not understood.
type parts struct {
	signed                    string // what the signature is made over
	header, claims, signature []byte
}

func split(text string) (p parts, ok bool) {
	for i := range len(text) {
		if c := text[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return p, false // base64 would pass over line ends
		}
	}
	header, rest, ok := strings.Cut(text, ".")
	claims, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(signature, ".") {
		return p, false
	}
	p.signed = text[:len(header)+1+len(claims)]
	for _, d := range []struct {
		to   *[]byte
		from string
	}{{&p.header, header}, {&p.claims, claims}, {&p.signature, signature}} {
		b, err := strict.DecodeString(d.from)
		if err != nil {
			return p, false
		}
		*d.to = b
	}
	return p, true
}

// header is what of a token's header counts: it selects among the keys.
type header struct {
	alg, kid string
}

// object is a JSON object by the exact names of its members; encoding/json takes
// other spellings of a struct's for the same.
type object map[string]json.RawMessage

// take decodes a member into v. It leaves v alone if there is none, or null.
func (o object) take(name string, v any) bool {
	raw, ok := o[name]
	return !ok || json.Unmarshal(raw, v) == nil
}

func readHeader(b []byte) (h header, ok bool) {
	var o object
	if json.Unmarshal(b, &o) != nil {
		return h, false
	}
	// Who writes "crit" demands that what it names be understood.
	if _, critical := o["crit"]; critical {
		return h, false
	}
	return h, o.take("alg", &h.alg) && o.take("kid", &h.kid)
}

// claims are what of a token's claims counts.
type claims struct {
	user     string
	revision uint64
	begins   int64 // Unix nanoseconds
	ends     int64 // the same; the end of time unless it expires
	expires  bool
	issuer   string
	audience []string
	print    [16]byte
	bound    bool // print is there
}

func readClaims(b []byte) (c claims, ok bool) {
	var o object
	if json.Unmarshal(b, &o) != nil {
		return c, false
	}
	var exp, nbf *float64
	var print *string
	ok = o.take("username", &c.user) && o.take("revision", &c.revision) && o.take("exp", &exp) && o.take("nbf", &nbf) &&
		o.take("iss", &c.issuer) && o.take("pwf", &print)
	if !ok {
		return c, false
	}
	// "aud" is a string or a list of them.
	var one string
	if o.take("aud", &one) {
		if one != "" {
			c.audience = []string{one}
		}
	} else if !o.take("aud", &c.audience) {
		return c, false
	}
	if c.ends = math.MaxInt64; exp != nil {
		c.ends, c.expires = nanos(*exp), true
	}
	if nbf != nil {
		c.begins = nanos(*nbf)
	}
	if print != nil {
		raw, err := strict.DecodeString(*print)
		if err != nil || len(raw) != len(c.print) {
			return c, false
		}
		c.print, c.bound = [16]byte(raw), true
	}
	return c, true
}

// nanos are the nanoseconds of a time in seconds, as far as they go: to 2262.
func nanos(seconds float64) int64 {
	switch {
	case seconds <= 0:
		return 0
	case seconds >= math.MaxInt64/1e9:
		return math.MaxInt64
	}
	return int64(seconds * 1e9)
}

func (c *claims) isFor(audience string) bool { return slices.Contains(c.audience, audience) }
