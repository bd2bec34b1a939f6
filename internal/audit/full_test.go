package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	require.Error(t, l.Close())
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
	require.Eventually(t, func() bool { return l.Dropped() > 0 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	var later []string
	require.Eventually(t, func() bool { // when the writer has opened the file again
		l.Note(Record{Revision: 100, RPC: "/a/b", Verdict: "OK"})
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		later = slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool {
			return !strings.Contains(line, `"revision":100`) || !strings.HasSuffix(line, "\n")
		})
		return len(later) > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, l.Close())
	for _, line := range later {
		require.NoError(t, json.Unmarshal([]byte(line), &map[string]any{}), fmt.Sprintf("%q", line))
	}
}

// A long key does not hide those behind it.
func TestLongKeysHideNoOthers(t *testing.T) {
	for _, long := range []int{longestKey, longestKey + 1, 1 << 20} {
		var r Record
		for range 40 {
			r.AddKeys([]byte(strings.Repeat("ä", long/2)), []byte(strings.Repeat("z", long)))
		}
		r.AddKeys([]byte("what is taken"), nil)
		line := r.appendTo(nil)
		require.Contains(t, string(line), `"what is taken"`)
		require.NotContains(t, string(line), "base64", "text that was cut is text")
		require.Less(t, len(line), 2*mostBytes+mostKeys*2*shortKey)
		require.Equal(t, long/2*2 > longestKey, r.Keys[0].Long > 0)
		require.Equal(t, long > longestKey, r.Keys[0].LongEnd > 0)
		require.Zero(t, r.More)
	}
}

func TestAPipeThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := Open(path, nil)
	require.ErrorContains(t, err, "nobody reads this pipe")
}

// A pipe that is open and that nobody reads holds nobody up.
func TestAPipeThatIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer reader.Close()
	l, err := Open(path, nil)
	require.NoError(t, err)
	for range 3000 {
		l.Note(Record{RPC: "/a/" + strings.Repeat("b", 100), Verdict: "OK"})
	}
	_ = l.Close() // returns
	require.NotZero(t, l.Dropped())
}
