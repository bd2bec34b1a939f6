package space

// Plan is what a file system of a size has to keep free, and what may be written
// ahead to it. All figures are bytes. They are fractions of the whole, so that a
// small disk is of use, up to what is ever needed: from 1 GiB on they stay the
// same, but for Low and Fine, which follow the size of the store.
type Plan struct {
	// MemTable is the size of one memtable of the store. Up to memTables of them
	// may be full and not yet in files when writes stop.
	MemTable int64
	// Segment is the size of a segment of the raft log.
	Segment int64
	// Low is where writes are refused: the memtables, a segment, and the output
	// of a compaction, whose inputs stay until it ends. That of a small store may
	// be all of it.
	Low int64
	// Fine, above Low, is where they are taken again.
	Fine int64
	// Critical is where the reserve is given up: the memtables alone.
	Critical int64
	// Reserve is the size of the reserve.
	Reserve int64
}

const (
	mib = 1 << 20

	// memTables is how many full memtables the store lets add up before it has
	// writes wait.
	memTables = 4

	mostMemTable  = 16 * mib
	leastMemTable = 1 * mib
	mostSegment   = 64 * mib
	leastSegment  = 4 * mib
	// mostCompaction is ten tables of the largest size: an output table is ended
	// where it would overlap more than ten of the level below.
	mostCompaction = 640 * mib
	mostReserve    = 32 * mib
	mostMargin     = 64 * mib
)

// PlanFor is the plan of a file system of total bytes, of which the files of a
// store take stored.
func PlanFor(total, stored int64) Plan {
	p := Plan{
		MemTable: max(min(total/64, mostMemTable), leastMemTable),
		Segment:  max(min(total/16, mostSegment), leastSegment),
		Critical: min(total/16, memTables*mostMemTable),
		Reserve:  min(total/32, mostReserve),
	}
	p.Low = p.Critical + min(total/16, mostSegment) + min(stored, mostCompaction)
	p.Fine = p.Low + min(total/16, mostMargin)
	return p
}
