package replica

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/internal/raft"
)

// Caller waits for an answer. Done is called exactly once, on whichever
// goroutine has it; it must not block. result is what State.Apply handed to its
// done; for a read barrier it is nil, and a nil error says that the state
// published by now may be read.
type Caller interface {
	Done(result any, err error)
}

// Bounds of the inbox. What is over them is refused at once, so that a flood
// costs an answer and no memory.
const (
	maxQueuedBytes     = raft.MaxEntryBytes
	maxQueuedProposals = 200_000
	maxQueuedReads     = 200_000
	// What other members send may be lost, and is sent again. There is room for the
	// largest message beside a few small ones.
	maxQueuedMessages     = 50_000
	maxQueuedMessageBytes = raft.LargestMessage + 1<<20
)

// errInboxFull is the answer to a message for which there is no room.
var errInboxFull = errors.New("replica: too many messages wait")

type proposal struct {
	id       uint64
	data     []byte
	caller   Caller
	change   bool         // of the configuration
	allowed  func() error // of a change: whether it may be now; nil: it may
	term     uint64       // in which this member must lead for it to be offered; 0 for any
	deadline int64        // tick at which it has waited long enough
}

// inbox is what waits for the loop. Everything may be put in by anybody; the
// loop takes it all.
type inbox struct {
	mu struct {
		sync.Mutex
		proposals []proposal
		bytes     int
		reads     []Caller
		messages  []*raftpb.Message
		size      int      // of messages, in bytes
		lost      []uint64 // members to whom messages were lost
		transfer  uint64   // whom to hand leadership to; 0 for nobody
		ticks     int
		now       int64 // ticks so far, as of the loop
		appended  []*raft.Append
		took      time.Duration // of the last sync of appended
		applied   []finished
		installed bool // the snapshot that was handed over
		copied    *copied
		sent      []snapshotSent
		gone      bool  // another member says that this one was removed
		broken    error // a stage has failed
		err       error // why nothing more is taken
	}
	wake chan struct{} // of capacity 1: something was put in
}

// finished is an apply task that came back from its stage.
type finished struct {
	task    *raft.Apply
	outcome outcome
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// kick wakes the loop if it sleeps.
func (b *inbox) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// propose queues p; it waits for patience ticks.
func (b *inbox) propose(p proposal, patience int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.err != nil {
		return b.mu.err
	}
	if len(b.mu.proposals) >= maxQueuedProposals || b.mu.bytes+len(p.data) > maxQueuedBytes {
		return errs.TooManyRequests
	}
	p.deadline = b.mu.now + patience
	b.mu.proposals = append(b.mu.proposals, p)
	b.mu.bytes += len(p.data)
	return nil
}

func (b *inbox) read(c Caller) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.err != nil {
		return b.mu.err
	}
	if len(b.mu.reads) >= maxQueuedReads {
		return errs.TooManyRequests
	}
	b.mu.reads = append(b.mu.reads, c)
	return nil
}

// receive queues a message of another member.
func (b *inbox) receive(m *raftpb.Message) error {
	size := proto.Size(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.err != nil {
		return b.mu.err
	}
	if len(b.mu.messages) >= maxQueuedMessages || b.mu.size+size > maxQueuedMessageBytes {
		return errInboxFull
	}
	b.mu.messages = append(b.mu.messages, m)
	b.mu.size += size
	return nil
}

// unreachable notes that messages to a member were lost.
func (b *inbox) unreachable(id uint64) {
	b.mu.Lock()
	if !slices.Contains(b.mu.lost, id) {
		b.mu.lost = append(b.mu.lost, id)
	}
	b.mu.Unlock()
	b.kick()
}

// transfer asks for a hand-over of leadership; the last one asked for counts.
func (b *inbox) transfer(to uint64) {
	b.mu.Lock()
	b.mu.transfer = to
	b.mu.Unlock()
	b.kick()
}

// toldGone notes that this member was removed, as others say.
func (b *inbox) toldGone() {
	b.mu.Lock()
	b.mu.gone = true
	b.mu.Unlock()
}

// tick notes that time has passed. Ticks that pile up count as one: a loop that
// was held up must not believe that everybody else was silent.
func (b *inbox) tick() {
	b.mu.Lock()
	b.mu.ticks = 1
	b.mu.Unlock()
	b.kick()
}

// putAppended returns tasks that were written, with the duration of their sync,
// or the error that ends the member.
func (b *inbox) putAppended(tasks []*raft.Append, took time.Duration, err error) {
	b.mu.Lock()
	if err != nil {
		b.mu.broken = err
	} else {
		b.mu.appended = append(b.mu.appended, tasks...)
		b.mu.took = took
	}
	b.mu.Unlock()
	b.kick()
}

func (b *inbox) putApplied(f finished) {
	b.mu.Lock()
	b.mu.applied = append(b.mu.applied, f)
	b.mu.Unlock()
	b.kick()
}

// snapshotSent is what came of a MsgSnap.
type snapshotSent struct {
	to uint64
	ok bool
}

func (b *inbox) putSent(s snapshotSent) {
	b.mu.Lock()
	b.mu.sent = append(b.mu.sent, s)
	b.mu.Unlock()
	b.kick()
}

// copied is what came of a copy of the state.
type copied struct {
	meta *raftpb.SnapshotMetadata
	err  error
}

func (b *inbox) putCopied(c *copied) {
	b.mu.Lock()
	b.mu.copied = c
	b.mu.Unlock()
	b.kick()
}

// putInstalled reports that the snapshot is installed, or the error that ends the
// member.
func (b *inbox) putInstalled(err error) {
	b.mu.Lock()
	b.mu.installed, b.mu.broken = err == nil, cmp.Or(b.mu.broken, err)
	b.mu.Unlock()
	b.kick()
}

// batch is what the loop took from the inbox.
type batch struct {
	proposals []proposal
	reads     []Caller
	messages  []*raftpb.Message
	lost      []uint64
	transfer  uint64
	ticks     int
	appended  []*raft.Append
	took      time.Duration
	applied   []finished
	installed bool
	copied    *copied
	sent      []snapshotSent
	gone      bool
	broken    error
}

func (b *batch) empty() bool {
	return b.broken == nil && b.transfer == 0 && !b.installed && b.copied == nil && len(b.sent)+len(b.proposals)+len(b.reads)+len(b.messages)+len(b.lost)+b.ticks+len(b.appended)+len(b.applied) == 0
}

// maxBatchBytes bounds the entries proposed, and so written and synced, at
// once.
const maxBatchBytes = 4 << 20

// take moves what waits into in, whose slices it reuses. Proposals stay where
// they are unless wanted.
func (b *inbox) take(in *batch, proposals bool) {
	clear(in.proposals)
	clear(in.reads)
	clear(in.messages)
	clear(in.appended)
	clear(in.applied)
	b.mu.Lock()
	defer b.mu.Unlock()
	in.proposals = in.proposals[:0]
	if proposals && len(b.mu.proposals) > 0 {
		if b.mu.bytes <= maxBatchBytes {
			in.proposals, b.mu.proposals = b.mu.proposals, in.proposals
			b.mu.bytes = 0
		} else {
			b.takeSome(in)
		}
	}
	in.reads, b.mu.reads = b.mu.reads, in.reads[:0]
	in.messages, b.mu.messages = b.mu.messages, in.messages[:0]
	b.mu.size = 0
	in.lost, b.mu.lost = b.mu.lost, in.lost[:0]
	in.transfer, b.mu.transfer = b.mu.transfer, 0
	in.appended, b.mu.appended = b.mu.appended, in.appended[:0]
	in.applied, b.mu.applied = b.mu.applied, in.applied[:0]
	in.sent, b.mu.sent = b.mu.sent, in.sent[:0]
	in.installed, b.mu.installed = b.mu.installed, false
	in.copied, b.mu.copied = b.mu.copied, nil
	in.ticks, b.mu.ticks = b.mu.ticks, 0
	b.mu.now += int64(in.ticks)
	in.took, in.gone, in.broken = b.mu.took, b.mu.gone, b.mu.broken
}

// takeSome moves about maxBatchBytes of proposals, at least one.
func (b *inbox) takeSome(in *batch) {
	size, n := 0, 0
	for n < len(b.mu.proposals) && (n == 0 || size+len(b.mu.proposals[n].data) <= maxBatchBytes) {
		size += len(b.mu.proposals[n].data)
		n++
	}
	in.proposals = append(in.proposals, b.mu.proposals[:n]...)
	rest := copy(b.mu.proposals, b.mu.proposals[n:])
	clear(b.mu.proposals[rest:])
	b.mu.proposals = b.mu.proposals[:rest]
	b.mu.bytes -= size
}

// expired takes out the proposals that have waited until now.
func (b *inbox) expired(now int64) (late []proposal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for ; n < len(b.mu.proposals) && b.mu.proposals[n].deadline <= now; n++ {
		b.mu.bytes -= len(b.mu.proposals[n].data)
	}
	if n == 0 {
		return nil
	}
	late = slices.Clone(b.mu.proposals[:n])
	b.mu.proposals = slices.Delete(b.mu.proposals, 0, n)
	return late
}

// close refuses everything from now on with err and returns what still waited.
func (b *inbox) close(err error) (proposals []proposal, reads []Caller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.err = err
	proposals, reads = b.mu.proposals, b.mu.reads
	b.mu.proposals, b.mu.reads, b.mu.bytes = nil, nil, 0
	return proposals, reads
}
