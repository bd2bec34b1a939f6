package space

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Options say what is watched.
type Options struct {
	FS vfs.FS
	// Data is the data directory, which has the reserve, and Log the directory of
	// the raft log, on the same file system or another.
	Data, Log string
	Logger    *zap.Logger // nil: silent
}

// amplification is how often a byte that is let in may be written: to the log, to
// a table, and once more by a compaction.
const amplification = 3

// retryLooks is the pause after the reserve could not be written.
const retryLooks = 240

// Watch says whether there is room for writes. Look belongs to its owner; the
// other methods may be called by anybody.
type Watch struct {
	o       Options
	logger  *zap.Logger
	reserve reserve
	data    room  // what the last Look has found at the data directory
	retryAt int64 // the look before which the reserve is not tried again
	looks   int64
	told    bool // the log says that space is low
	blind   bool // the log says that it cannot be measured

	low       atomic.Bool
	allowance atomic.Int64           // bytes that may be written until the next Look
	trouble   atomic.Pointer[string] // what Trouble says
}

// New returns a Watch that has not looked yet and lets everything in.
func New(o Options) *Watch {
	w := &Watch{o: o, logger: o.Logger, reserve: reserve{fs: o.FS, path: o.FS.PathJoin(o.Data, ReserveFile)}}
	if w.logger == nil {
		w.logger = zap.NewNop()
	}
	w.allowance.Store(math.MaxInt64)
	if err := w.reserve.find(); err != nil {
		w.logger.Warn("the reserve cannot be looked at", zap.String("path", w.reserve.path), zap.Error(err))
	}
	return w
}

// Admit says whether bytes more may be written on a client's behalf. It never
// waits, and costs two atomic operations.
func (w *Watch) Admit(bytes int64) bool {
	if w.low.Load() {
		return false
	}
	if w.allowance.Add(-amplification*bytes) >= 0 {
		return true
	}
	w.low.Store(true) // until the next Look has seen what became of what was let in
	return false
}

// AdmitFiles says whether files of so many bytes may be written as they are,
// beside the store. They are counted until the next Look. A no is theirs alone:
// writes are taken as before.
func (w *Watch) AdmitFiles(bytes int64) bool {
	for {
		left := w.allowance.Load()
		if w.low.Load() || left < bytes {
			return false
		}
		if w.allowance.CompareAndSwap(left, left-bytes) {
			return true
		}
	}
}

// Low says that nothing is admitted now.
func (w *Watch) Low() bool { return w.low.Load() }

// RoomToRewrite says that the last Look has found room for all of a store of
// stored bytes to be written anew, beside the memtables. It belongs to the owner.
func (w *Watch) RoomToRewrite(stored int64) bool {
	return stored <= mostCompaction && w.data.free >= stored+w.data.plan.Critical
}

// Trouble is what an operator should know: "" while there is room.
func (w *Watch) Trouble() string {
	if t := w.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// room is what a Look has found at one of the places.
type room struct {
	path string
	free int64
	plan Plan
}

// margin is what is free beyond what is needed.
func (r *room) margin() int64 { return r.free - r.plan.Fine }

// Look measures what is free, decides whether writes are taken until the next
// Look, and gives the reserve up if space is very short. stored is what the files
// of the store take, 0 as long as it is not open.
func (w *Watch) Look(stored int64) {
	w.looks++
	data, okData := w.measure(w.o.Data, stored)
	if okData {
		data.free += w.giveUp(data)
	}
	log, okLog := w.measure(w.o.Log, 0)
	var rooms []room
	if okData {
		rooms = append(rooms, data)
	}
	if okLog {
		rooms = append(rooms, log)
	}
	w.decide(rooms)
	w.data = data
}

// measure asks for the free bytes of the file system that path is on, or will be
// on when it is made.
func (w *Watch) measure(path string, stored int64) (room, bool) {
	u, err := Usage(w.o.FS, path)
	if err == nil && u.TotalBytes == 0 {
		err = errors.New("the file system does not say how large it is")
	}
	if err != nil {
		if !w.blind {
			w.logger.Warn("the free space of the disk cannot be watched", zap.String("path", path), zap.Error(err))
			w.blind = true
		}
		return room{}, false
	}
	total := min(u.TotalBytes, math.MaxInt64/4)
	return room{path: path, free: int64(min(u.AvailBytes, total)), plan: PlanFor(int64(total), stored)}, true
}

// Usage is how full the file system is that path is on, or will be on when it is
// made.
func Usage(disk vfs.FS, path string) (vfs.DiskUsage, error) {
	for {
		u, err := disk.GetDiskUsage(path)
		above := disk.PathDir(path)
		if !errors.Is(err, fs.ErrNotExist) || above == path {
			return u, err
		}
		path = above
	}
}

// decide takes the verdict, by what is shortest: low below Low, and then until
// there is Fine everywhere. What cannot be measured counts as fine.
func (w *Watch) decide(rooms []room) {
	low := w.low.Load()
	burst := low && !w.told
	var short *room
	allowance := int64(math.MaxInt64)
	for i := range rooms {
		r := &rooms[i]
		need := r.plan.Low
		if low {
			need = r.plan.Fine
		}
		if r.free < need && (short == nil || r.margin() < short.margin()) {
			short = r
		}
		allowance = min(allowance, r.free-r.plan.Low)
	}
	switch {
	case short != nil:
		s := fmt.Sprintf("disk space low: %d bytes are free for %s; puts are refused below %d and taken again at %d",
			short.free, short.path, short.plan.Low, short.plan.Fine)
		w.trouble.Store(&s)
		w.low.Store(true)
		if !w.told {
			w.logger.Warn("disk space is low: puts are refused until space is given back", short.fields()...)
		}
		w.told = true
		return
	case w.told:
		w.logger.Info("disk space is back: puts are taken again", fieldsOf(rooms)...)
	case burst:
		w.logger.Warn("puts were refused for a moment: they came faster than free space is looked at", fieldsOf(rooms)...)
	}
	w.told = false
	w.trouble.Store(nil)
	w.allowance.Store(allowance)
	w.low.Store(false)
}

func (r *room) fields() []zap.Field {
	return []zap.Field{zap.String("path", r.path), zap.Int64("free-bytes", r.free),
		zap.Int64("refused-below-bytes", r.plan.Low), zap.Int64("taken-again-at-bytes", r.plan.Fine)}
}

// fieldsOf are those of the room with the least to spare.
func fieldsOf(rooms []room) []zap.Field {
	var least *room
	for i := range rooms {
		if least == nil || rooms[i].margin() < least.margin() {
			least = &rooms[i]
		}
	}
	if least == nil {
		return nil
	}
	return least.fields()
}

// giveUp removes the reserve if space is that short, and returns the bytes that
// this has given.
func (w *Watch) giveUp(data room) int64 {
	if w.reserve.size == 0 || data.free >= data.plan.Critical {
		return 0
	}
	size := w.reserve.size
	if err := w.reserve.giveUp(); err != nil {
		w.failed("the reserve cannot be given up", err)
		return 0
	}
	w.logger.Warn("disk space is very low: the reserve was given up", append(data.fields(), zap.Int64("reserve-bytes", size))...)
	return size
}

// KeepReserve writes a step of the reserve if some of it is missing and the last
// Look has found room for all of that. It waits for the disk. Like Look it
// belongs to the owner.
func (w *Watch) KeepReserve() {
	plan := w.data.plan
	missing := plan.Reserve - w.reserve.size
	if missing <= 0 || w.data.free < plan.Fine+missing || w.looks < w.retryAt {
		return
	}
	if err := w.reserve.grow(plan.Reserve); err != nil {
		w.failed("the reserve cannot be written", err)
	}
}

func (w *Watch) failed(what string, err error) {
	if w.looks < w.retryAt {
		return
	}
	w.retryAt = w.looks + retryLooks
	w.logger.Warn(what, zap.String("path", w.reserve.path), zap.Error(err))
}
