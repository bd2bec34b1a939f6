package rpc

import (
	"net"
	"os/exec"
	"regexp"
	"testing"
)

// TestH2spec runs the HTTP/2 conformance suite against the web adapter.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped by -short: h2spec is built and run")
	}
	if out, err := exec.Command("go", "tool", "-n", "h2spec").CombinedOutput(); err != nil {
		t.Skipf("h2spec does not build here: %v\n%s", err, out)
	}
	h := start(t, func(o *Options) { o.Limits.MaxStreams = 100 })
	_, port, _ := net.SplitHostPort(h.addr)
	out, err := exec.Command("go", "tool", "h2spec", "-S", "-h", "127.0.0.1", "-p", port, "-P", "/version").CombinedOutput()
	sum := regexp.MustCompile(`\d+ tests, \d+ passed, \d+ skipped, \d+ failed`).Find(out)
	if err != nil || string(sum) != "146 tests, 146 passed, 0 skipped, 0 failed" {
		t.Errorf("%v: %s\n%s", err, sum, out)
	}
}
