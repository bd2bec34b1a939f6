package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// h2load says how h2load is to call: one method, one request over and over.
type h2load struct {
	method  string // path of the URL
	body    string // file with the framed request
	conns   int
	streams int // open at a time on each connection
	reply   int // least bytes of a reply; less is an error dressed up as 200

	headers map[string][]string // more of them, for the servers of some names
}

// frame is a message as it lies in the body of a gRPC request.
func frame(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...), nil
}

// run is a runner.
func (h h2load) run(ctx context.Context, s *server, _, n int) (sample, error) {
	n = max(n, h.conns)
	args := []string{"-t1",
		"-n", strconv.Itoa(n), "-c", strconv.Itoa(h.conns), "-m", strconv.Itoa(h.streams), "-d", h.body,
		"-H", "content-type: application/grpc", "-H", "te: trailers"}
	for _, header := range h.headers[s.Name] {
		args = append(args, "-H", header)
	}
	cmd := exec.CommandContext(ctx, "h2load", append(args, "http://"+s.addr+h.method)...)
	cmd.SysProcAttr = childAttr()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("h2load: %w", err)
	}
	r, err := parseH2load(string(out))
	if err != nil {
		return sample{}, err
	}
	if r.succeeded != n || r.data < int64(n)*int64(h.reply) {
		return sample{}, fmt.Errorf("h2load: %d of %d requests succeeded, with %d bytes of replies", r.succeeded, n, r.data)
	}
	return sample{Requests: n, Wall: r.wall, Mean: r.mean}, nil
}

// h2result is what we use of h2load's report.
type h2result struct {
	wall      time.Duration
	succeeded int
	data      int64 // bytes in DATA frames
	mean      time.Duration
}

var (
	h2Finished  = regexp.MustCompile(`(?m)^finished in ([0-9.]+[a-z]+), `)
	h2Succeeded = regexp.MustCompile(`(?m)^requests: .* (\d+) succeeded,`)
	h2Data      = regexp.MustCompile(`(?m)^traffic: .* \((\d+)\) data$`)
	h2Request   = regexp.MustCompile(`(?m)^time for request: +\S+ +\S+ +(\S+) `)
)

// parseH2load reads the report h2load prints.
func parseH2load(out string) (h2result, error) {
	field := func(re *regexp.Regexp) string {
		if m := re.FindStringSubmatch(out); m != nil {
			return m[1]
		}
		return ""
	}
	var r h2result
	var err [4]error
	r.wall, err[0] = time.ParseDuration(field(h2Finished))
	r.succeeded, err[1] = strconv.Atoi(field(h2Succeeded))
	r.data, err[2] = strconv.ParseInt(field(h2Data), 10, 64)
	r.mean, err[3] = time.ParseDuration(field(h2Request))
	for _, e := range err {
		if e != nil {
			return h2result{}, fmt.Errorf("h2load's report is not understood (%w): %s", e, strings.TrimSpace(out))
		}
	}
	return r, nil
}
