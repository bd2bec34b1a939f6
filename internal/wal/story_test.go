package wal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/internal/sim/disk"
)

// TestStories runs the scripts in testdata; -rewrite regenerates them.
func TestStories(t *testing.T) {
	for _, name := range []string{"append", "roll_release", "reset", "damage"} {
		t.Run(name, func(t *testing.T) {
			s := &story{fs: disk.New()}
			datadriven.RunTest(t, "testdata/"+name+".txt", s.run)
		})
	}
}

type story struct {
	fs  *disk.FS
	log *Log
	out strings.Builder
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	var err error
	switch d.Cmd {
	case "create":
		var index, term uint64
		d.MaybeScanArgs(t, "index", &index)
		d.MaybeScanArgs(t, "term", &term)
		s.log, err = Create(testOptions(s.fs), Position{index, term}, hard(term, 0, index))
	case "append":
		err = s.log.Append(s.batch(t, d))
	case "fill": // appends and syncs entries of 500 bytes
		for range 7 {
			e := entry(s.log.Last().Index+1, s.log.Last().Term, strings.Repeat("x", 500))
			err = errors.Join(err, s.log.Append(Batch{Entries: []*raftpb.Entry{e}}), s.log.Sync())
		}
	case "sync":
		err = s.log.Sync()
	case "prepare":
		err = s.log.Prepare()
	case "release":
		var index uint64
		d.ScanArgs(t, "index", &index)
		err = s.log.Release(index)
	case "reset":
		var index, term uint64
		d.ScanArgs(t, "index", &index)
		d.ScanArgs(t, "term", &term)
		err = s.log.Reset(Position{index, term})
	case "close":
		err = s.log.Close()
	case "crash": // loses what is unsynced; torn=n keeps the first n bytes of it
		var c disk.Crash = disk.LoseAll{}
		if d.HasArg("torn") {
			var n int64
			d.ScanArgs(t, "torn", &n)
			c = disk.KeepBytes{N: n}
		}
		s.fs = s.fs.CrashImage(c)
	case "flip":
		var segment uint64
		var at int64
		d.ScanArgs(t, "segment", &segment)
		d.ScanArgs(t, "at", &at)
		err = s.fs.Flip("/member/log/"+segmentName(segment), at, 1)
	case "delete":
		var segment uint64
		d.ScanArgs(t, "segment", &segment)
		err = s.fs.Remove("/member/log/" + segmentName(segment))
	case "open":
		s.open(d)
	case "ls":
		names, _ := s.fs.List("/member/log")
		fmt.Fprintln(&s.out, strings.Join(names, "\n"))
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	if err != nil {
		fmt.Fprintln(&s.out, "error:", err)
	}
	if s.out.Len() == 0 {
		if s.log != nil && s.log.failed == nil {
			fmt.Fprintf(&s.out, "segment %d, %d bytes, %d unsynced; last %d/%d\n",
				s.log.header.id, s.log.end, s.log.Unsynced(), s.log.last.Index, s.log.last.Term)
		} else {
			fmt.Fprintln(&s.out, "ok")
		}
	}
	return s.out.String()
}

// batch reads "index/term data" lines, and hard=(term,vote,commit), installing=(index,term); pad=n makes the first entry n bytes longer.
func (s *story) batch(t *testing.T, d *datadriven.TestData) (b Batch) {
	for line := range strings.SplitSeq(d.Input, "\n") {
		var index, term uint64
		var data string
		if n, _ := fmt.Sscanf(line, "%d/%d %s", &index, &term, &data); n >= 2 {
			b.Entries = append(b.Entries, entry(index, term, data))
		}
	}
	if d.HasArg("pad") {
		var n int
		d.ScanArgs(t, "pad", &n)
		b.Entries[0].Data = append(b.Entries[0].Data, strings.Repeat(".", n)...)
	}
	if d.HasArg("hard") {
		var term, vote, commit uint64
		d.ScanArgs(t, "hard", &term, &vote, &commit)
		b.HardState = hard(term, vote, commit)
	}
	if d.HasArg("installing") {
		var index, term uint64
		d.ScanArgs(t, "installing", &index, &term)
		b.Installing = &Installing{Position{index, term}, &raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}}}
	}
	return b
}

func (s *story) open(d *datadriven.TestData) {
	o := testOptions(s.fs)
	if d.HasArg("member") {
		o.MemberID++
	}
	l, r, err := Open(o)
	if err != nil {
		fmt.Fprintln(&s.out, "error:", err)
		return
	}
	s.log = l
	fmt.Fprintf(&s.out, "after %d/%d; term %d, vote %d, commit %d\n", r.Prev.Index, r.Prev.Term,
		r.HardState.GetTerm(), r.HardState.GetVote(), r.HardState.GetCommit())
	for i, e := range r.Entries {
		switch {
		case i < 4 || i >= len(r.Entries)-4:
			text := e.GetData()
			fmt.Fprintf(&s.out, "  %d/%d %s\n", e.GetIndex(), e.GetTerm(), text[:min(len(text), 20)])
		case i == 4:
			fmt.Fprintln(&s.out, "  ...")
		}
	}
	if r.Installing != nil {
		fmt.Fprintf(&s.out, "installing %d/%d, voters %v, learners %v\n", r.Installing.Index, r.Installing.Term,
			r.Installing.ConfState.Voters, r.Installing.ConfState.Learners)
	}
	if r.Cut != nil {
		fmt.Fprintf(&s.out, "cut %d bytes of %s from offset %d\n", r.Cut.Bytes, r.Cut.File, r.Cut.Offset)
	}
}
