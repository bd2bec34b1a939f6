package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func lines(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		one := map[string]any{}
		require.NoError(t, json.Unmarshal(s.Bytes(), &one), s.Text())
		all = append(all, one)
	}
	return all
}

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path, nil)
	require.NoError(t, err)
	r := Record{Time: time.Unix(1, 2), User: "al\"ice\n\x01", Address: "::1", RPC: "/a/b", Lease: 7, Names: []string{"x", "y"}, Revision: 9, Verdict: "OK"}
	r.AddKeys([]byte("k\\"), nil)
	r.AddKeys([]byte("a"), []byte("\x00"))
	r.AddKeys([]byte{0xff}, []byte{0xfe, 1})
	l.Note(r)
	l.Note(Record{Time: time.Unix(1, 0), Address: "h", RPC: "/c/d", Verdict: "Canceled"})
	require.NoError(t, l.Close())
	got := lines(t, path)
	require.Equal(t, map[string]any{
		"time": "1970-01-01T00:00:01.000000002Z", "user": "al\"ice\n\x01", "address": "::1", "rpc": "/a/b",
		"keys": []any{
			map[string]any{"key": "k\\"}, map[string]any{"key": "a", "range_end": "\x00"},
			map[string]any{"key_base64": "/w==", "range_end_base64": "/gE="},
		},
		"lease": 7.0, "names": []any{"x", "y"}, "revision": 9.0, "verdict": "OK",
	}, got[0])
	require.Equal(t, map[string]any{"time": "1970-01-01T00:00:01Z", "address": "h", "rpc": "/c/d", "revision": 0.0, "verdict": "Canceled"}, got[1])
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAnOldFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	for i := range 3 {
		l, err := Open(path, nil)
		require.NoError(t, err)
		l.Note(Record{Revision: int64(i)})
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
	}
	require.Len(t, lines(t, path), 3)
	_, err := Open(filepath.Join(path, "not a directory"), nil)
	require.Error(t, err)
}

// Whoever rotates logs moves the file away; the next lines come into a new one.
func TestTheFileIsMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	l, err := Open(path, nil)
	require.NoError(t, err)
	l.Note(Record{Revision: 1})
	require.Eventually(t, func() bool { return len(lines(t, path)) == 1 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.Rename(path, path+".1"))
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, 10*time.Second, 10*time.Millisecond)
	l.Note(Record{Revision: 2})
	require.NoError(t, l.Close())
	require.Len(t, lines(t, path+".1"), 1)
	require.Len(t, lines(t, path), 1)
}

func TestNobodyWaits(t *testing.T) {
	l := &Log{records: make(chan Record, 2)} // whose writer stands still
	for range 5 {
		l.Note(Record{})
	}
	require.EqualValues(t, 3, l.Dropped())
}

func TestManyKeysAreCounted(t *testing.T) {
	var r Record
	for i := range 300 {
		r.AddKeys(fmt.Append(nil, i), nil)
	}
	require.Equal(t, []int{mostKeys, 200}, []int{len(r.Keys), r.More})
}
