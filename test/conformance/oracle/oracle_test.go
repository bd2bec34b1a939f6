package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/conformance/member"
)

// TestOracle walks OPS operations (20,000 by default) from SEED (random by
// default), with a kill -9 of our member every RESTARTS operations (never by
// default). SHRINK=0 leaves out the search for a short history.
func TestOracle(t *testing.T) {
	theirs, err := member.Peer()
	require.NoError(t, err, "the peer is Debian's package etcd-server")
	binary, err := member.Build(t.TempDir())
	require.NoError(t, err)
	c := Config{
		Ours: member.Ours(binary, "--unsafe-no-fsync"), Theirs: theirs, Rows: allowed(),
		Operations: int(setting(t, "OPS", longRun)), Seed: setting(t, "SEED", rand.Uint64()), Restarts: int(setting(t, "RESTARTS", 0)),
	}
	t.Logf("OPS=%d SEED=%d RESTARTS=%d", c.Operations, c.Seed, c.Restarts)
	report, err := Walk(c)
	var m *Mismatch
	if errors.As(err, &m) {
		t.Fatalf("the answers differ at %v\nreplay: %s%s", m, command(c, m), shortened(c, m, setting(t, "SHRINK", 1) != 0))
	}
	require.NoError(t, err)
	t.Logf("%d operations in %v, %.0f a second, revision %d, served %s", report.Operations, report.Took.Round(time.Millisecond),
		float64(report.Operations)/report.Took.Seconds(), report.Revision, report.Served)
	logCounts(t, "operations", report.Kinds)
	logCounts(t, "errors, equal in both", report.Errors)
	logCounts(t, "allowed differences", report.Allowed)
	require.Empty(t, report.Missing, "allowed differences that did not occur: are their rows still needed?")
}

// command replays a mismatch. The end of a walk depends on its length, so what
// was found there needs all of it.
func command(c Config, m *Mismatch) string {
	ops := min(c.Operations, m.Index+1)
	s := fmt.Sprintf("make oracle OPS=%d SEED=%d", ops, c.Seed)
	if c.Restarts > 0 {
		s += fmt.Sprintf(" RESTARTS=%d", c.Restarts)
	}
	return s
}

// shortened is the text of a shorter history, if there is one.
func shortened(c Config, m *Mismatch, wanted bool) string {
	if !wanted || len(m.History) < 2 {
		return ""
	}
	short := Shrink(c, m)
	if len(short.History) > 50 {
		return fmt.Sprintf("\nno short history was found in time; the best has %d operations", len(short.History))
	}
	s := "\na short history that differs too:"
	for _, op := range short.History[:len(short.History)-1] {
		s += "\n  " + op.String()
	}
	return s + "\nand then " + short.Error()
}

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, name)
	return n
}

func logCounts(t *testing.T, title string, counts map[string]int) {
	t.Helper()
	var lines []string
	for name, n := range counts {
		lines = append(lines, fmt.Sprintf("%8d %s", n, name))
	}
	sort.Sort(sort.Reverse(sort.StringSlice(lines)))
	text := title + ":"
	for _, line := range lines {
		text += "\n  " + line
	}
	t.Log(text)
}
