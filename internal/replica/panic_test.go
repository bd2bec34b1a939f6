package replica

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/internal/raft"
	"etcd.alt/internal/wal"
)

// broken is a State whose Apply panics, as an assertion in it or in the storage engine
// would.
type broken struct{ State }

func (broken) Apply([]*raftpb.Entry, func(uint64) bool, func(uint64, any, error)) ([]*raftpb.ConfChange, *raftpb.ConfState, error) {
	panic("an invariant is broken")
}
func (broken) Busy() bool           { return false }
func (broken) Sweep() (bool, error) { return false, nil }
func (broken) Durable() uint64      { return 0 }
func (broken) Flush() error         { return nil }

// panicsHere is set in the environment of the process that is to end.
const panicsHere = "ETCD_ALT_REPLICA_PANICS"

// Messages that come by post are delivered, and the loop is turned, on the goroutine of
// an HTTP handler, where net/http recovers what panics. A loop that has panicked in the
// midst of a turn must not go on: what raft has handed out to be applied is lost, and what
// it believes is not what the state has. The process ends, with the stack of the turn.
func TestAPanicInATurnEndsTheProcess(t *testing.T) {
	if os.Getenv(panicsHere) != "" {
		deliverToBroken(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=30s")
	child.Env = append(os.Environ(), panicsHere+"=1")
	var said bytes.Buffer
	child.Stdout, child.Stderr = &said, &said
	err := child.Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", said.String())
	require.Contains(t, said.String(), "panic: replica: a turn has panicked: an invariant is broken")
	require.Contains(t, said.String(), "broken.Apply(")
	require.NotContains(t, said.String(), "the member goes on")
}

// deliverToBroken delivers an entry to a replica that cannot apply it, as a handler of
// net/http would.
func deliverToBroken(t *testing.T) {
	log, err := wal.Create(wal.Options{FS: vfs.NewMem(), Dir: "log", ClusterID: 1, MemberID: 1}, wal.Position{}, nil)
	require.NoError(t, err)
	node, err := raft.New(raft.Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}})
	require.NoError(t, err)
	began := time.Now()
	// Without its own goroutines, so that every turn is made by who delivers.
	r := &Replica{appends: newQueue[*raft.Append](), applies: newQueue[*raft.Apply]()}
	r.core = NewCore(Config{
		Node: node, Log: log, State: broken{}, Settled: func() {}, Now: func() time.Duration { return time.Since(began) },
		Send: func([]*raftpb.Message) {}, RequestTicks: 50, RetryTicks: 5,
	}, (*goroutines)(r))
	func() {
		defer func() { _ = recover() }()
		err = r.Deliver(&raftpb.Message{
			Type: raftpb.MsgApp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(1),
			LogTerm: proto.Uint64(0), Index: proto.Uint64(0), Commit: proto.Uint64(1),
			Entries: []*raftpb.Entry{{Term: proto.Uint64(1), Index: proto.Uint64(1), Data: []byte("x")}},
		})
	}()
	t.Fatal("the member goes on: ", err)
}
