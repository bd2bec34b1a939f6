package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/test/fault/history"
	"etcd.alt/test/smalldisk"
)

// small is the member with the small disk.
const small = 0

// TestADiskThatFills has a member's disk of 32 MiB fill up, once while it follows
// and once while it leads. It refuses and then stops, in order; the others go on;
// with a larger disk it comes back and has everything.
func TestADiskThatFills(t *testing.T) {
	if os.Getenv("FAULT_MINUTES") == "" {
		t.Skip("It writes some hundreds of MiB to memory, and runs only with FAULT_MINUTES set (make fault).")
	}
	smalldisk.Run(t, 32, func(t *testing.T, disk string) {
		seed := seed(t)
		s := settingsOfRuns
		s.args[small] = []string{"--data-dir", filepath.Join(disk, "data")}
		r := newRun(start(t, s), seed)
		for _, leads := range []bool{false, true} {
			r.epoch(func(time.Time) { r.fill(disk, leads) }, 0)
		}
		t.Logf("faults\n%s", r.table())
	})
}

// fill fills the small disk until its member ends, and gives it a larger one.
func (r *run) fill(disk string, leads bool) {
	t, c := r.c.t, r.c
	t.Helper()
	r.await("leadership is where it is wanted", func() bool {
		if leads == (c.leader() == small) {
			return true
		}
		moveLeader(r)
		return false
	})
	r.brought[map[bool]string{false: "disk full of a follower", true: "disk full of the leader"}[leads]]++
	narrow(t, disk, 32<<20)
	ended := func() bool {
		select {
		case <-c.hosts[small].Exited():
			return true
		default:
			return false
		}
	}
	refused := r.refusals()
	const enough = 300 // half of them would fill the disk
	deadline := time.Now().Add(time.Minute)
	for n := 0; !ended(); n++ {
		require.True(t, time.Now().Before(deadline), "the member goes on with more than its disk can hold")
		if n > enough {
			r.sleep(50, 100) // one whose store has failed may take 10 s to end
		}
		o := &history.Op{Client: workers, Kind: history.Put, Key: fmt.Sprintf("bulk/%d", n), Value: "bulk" + r.record.value()}
		r.record.do(c.asks[1+n%2], o, 5*time.Second)
	}
	c.kill(small) // it is down
	log := c.hosts[small].Log()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	t.Logf("leader: %t; %d writes were refused before it ended; its last words: %s", leads, r.refusals()-refused, strings.Join(lines[max(0, len(lines)-3):], "\n"))
	require.EqualError(t, c.hosts[small].Err(), "exit status 1")
	require.NotContains(t, log, "panic", "the member ended in disorder")
	require.NotContains(t, log, "goroutine ", "the member ended in disorder")
	r.await("the others go on", func() bool {
		o := &history.Op{Client: workers, Kind: history.Put, Key: r.record.prefix + "0", Value: r.record.value()}
		return r.record.do(c.asks[1], o, 5*time.Second)
	})
	// It may be sent the state.
	smalldisk.Resize(t, disk, smalldisk.Used(t, disk)+(512<<20))
	require.NoError(t, os.RemoveAll(filepath.Join(disk, "others")))
}

// narrow has others take what is free of the disk, but for so many bytes.
func narrow(t *testing.T, disk string, left int64) {
	t.Helper()
	more := smalldisk.Free(t, disk) - left
	if more <= 0 {
		return
	}
	others, err := os.Create(filepath.Join(disk, "others"))
	require.NoError(t, err)
	defer others.Close()
	require.NoError(t, syscall.Fallocate(int(others.Fd()), 0, 0, more))
}

// refusals counts what was refused in the epoch.
func (r *run) refusals() int {
	r.record.mu.Lock()
	defer r.record.mu.Unlock()
	n := 0
	for _, o := range r.record.mu.ops {
		if o.Outcome == history.Refused {
			n++
		}
	}
	return n
}
