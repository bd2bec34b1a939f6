package ctl

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"etcd.alt/client"
)

// parseCompare reads a comparison: target("key") op "value". Key and value may
// be quoted as in Go.
func parseCompare(line string) (client.Cmp, error) {
	var none client.Cmp
	malformed := badInput("malformed comparison: %s", line)
	target, rest, ok := strings.Cut(line, "(")
	target = strings.TrimSpace(target)
	if !ok || target == "" {
		return none, malformed
	}
	key, rest, ok := operand(rest, ")")
	if !ok {
		return none, malformed
	}
	rest, ok = strings.CutPrefix(rest, ")")
	if !ok {
		return none, malformed
	}
	op, rest, ok := operator(strings.TrimSpace(rest))
	if !ok {
		return none, malformed
	}
	value, rest, ok := operand(rest, "")
	if !ok || rest != "" {
		return none, malformed
	}
	base := 10
	var of client.Cmp
	switch target {
	case "val", "value":
		return client.Compare(client.Value(key), op, value), nil
	case "ver", "version":
		of = client.Version(key)
	case "c", "create":
		of = client.CreateRevision(key)
	case "m", "mod":
		of = client.ModRevision(key)
	case "lease":
		of, base = client.LeaseValue(key), 16
	default:
		return none, badInput("malformed comparison: %s (unknown target %s)", line, target)
	}
	n, err := strconv.ParseInt(value, base, 64)
	if err != nil {
		return none, badInput("invalid txn compare request: %s", line)
	}
	return client.Compare(of, op, n), nil
}

// operand reads a string that is quoted, or goes up to end, or is the rest of
// the line if that is empty.
func operand(s, end string) (value, rest string, ok bool) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", false
		}
		value, err = strconv.Unquote(quoted)
		return value, strings.TrimSpace(s[len(quoted):]), err == nil
	}
	n := len(s)
	if end != "" {
		n = strings.Index(s, end)
	}
	if n < 0 {
		return "", "", false
	}
	value = strings.TrimSpace(s[:n])
	return value, s[n:], value != "" && !strings.ContainsFunc(value, unicode.IsSpace)
}

func operator(s string) (op, rest string, ok bool) {
	for _, op := range []string{"!=", "=", "<", ">"} {
		if rest, ok := strings.CutPrefix(s, op); ok {
			return op, rest, true
		}
	}
	return "", "", false
}

// splitArguments cuts a line at white space. Between double quotes it goes on,
// with the escapes of Go; between single quotes everything stands for itself.
func splitArguments(line string) ([]string, error) {
	var args []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeftFunc(line, unicode.IsSpace) {
		var arg strings.Builder
		for line != "" && !startsWithSpace(line) {
			part, rest, err := nextPart(line)
			if err != nil {
				return nil, err
			}
			arg.WriteString(part)
			line = rest
		}
		args = append(args, arg.String())
	}
	return args, nil
}

// startsWithSpace looks at a whole character: a byte of one, or of none, may look
// like white space.
func startsWithSpace(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsSpace(r)
}

// nextPart reads what is quoted, or what is not up to a quote or white space.
func nextPart(s string) (part, rest string, err error) {
	switch s[0] {
	case '"':
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", errors.New("a double quote is not closed, or what it quotes is malformed")
		}
		part, err = strconv.Unquote(quoted)
		return part, s[len(quoted):], err
	case '\'':
		part, rest, ok := strings.Cut(s[1:], "'")
		if !ok {
			return "", "", errors.New("a single quote is not closed")
		}
		return part, rest, nil
	}
	n := strings.IndexFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '"' || r == '\'' })
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:], nil
}
