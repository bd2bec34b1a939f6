package ctl

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// defaultMaxRequest is what a client sends at most where nothing else is said.
const defaultMaxRequest = 2 << 20

// requestLimit is the most that a request may have in bytes. What is read from
// stdin is bounded by it.
func (t *tool) requestLimit() int {
	if n := t.global.maxRequestBytes; n > 0 {
		return n
	}
	return defaultMaxRequest
}

// readLine reads a line of at most limit bytes, without its end. A last line
// that has none comes with io.EOF.
func (t *tool) readLine(limit int) (string, error) {
	var line []byte
	for {
		part, err := t.stdin.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return "", fmt.Errorf("more than %d bytes on stdin", limit)
		case !errors.Is(err, bufio.ErrBufferFull):
			return strings.TrimRight(string(line), "\r\n"), err
		}
	}
}
