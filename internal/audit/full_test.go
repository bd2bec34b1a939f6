package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was lost since the disk did not take it is counted, as the documentation says.
func TestLinesThatTheDiskRefusesAreCounted(t *testing.T) {
	l, err := Open("/dev/full", nil)
	require.NoError(t, err)
	for range 10 {
		l.Note(Record{RPC: "/a/b", Verdict: "OK"})
	}
	time.Sleep(2 * flushEvery) // the writer's own clock
	l.Close()
	require.EqualValues(t, 10, l.Dropped(), "ten records are in no file")
}

// After a write that the disk took half of, the next line begins a line.
func TestAHalfWrittenLineSpoilsNoOther(t *testing.T) {
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path, nil)
	require.NoError(t, err)
	// The file may have 1,000 bytes for a while: ENOSPC's twin.
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1000, Max: before.Max}))
	for i := range 20 {
		l.Note(Record{Revision: int64(i), RPC: "/a/" + strings.Repeat("b", 50), Verdict: "OK"})
	}
	time.Sleep(2 * flushEvery)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	for i := range 3 {
		l.Note(Record{Revision: int64(100 + i), RPC: "/a/b", Verdict: "OK"})
	}
	require.NoError(t, l.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.Contains(line, `"revision":100`) {
			require.NoError(t, json.Unmarshal([]byte(line), &map[string]any{}), fmt.Sprintf("%q", line))
		}
	}
}
