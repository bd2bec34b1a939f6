package watch

import (
	"fmt"
	"testing"
)

// drop is a sink that takes everything.
type drop struct{ bytes int }

func (d *drop) Header() Header { return Header{Cluster: 1 << 63, Member: 1 << 62, Term: 3} }

func (d *drop) Offer(messages []byte, _ int) bool {
	d.bytes += len(messages)
	return true
}

func (d *drop) Push([]byte)      {}
func (d *drop) Room(func()) bool { return true }
func (d *drop) Flush()           {}
func (d *drop) End(error)        {}

// BenchmarkManyWatchersOfAKey hands one change at a time to 10 streams of 100
// watchers each, and reports the time for each event that is delivered.
func BenchmarkManyWatchersOfAKey(b *testing.B) {
	r := newRig(b)
	for range 10 {
		s := r.hub.Open(&drop{}, 1<<20)
		for range 100 {
			s.Create(key("key"))
		}
	}
	r.update.Put([]byte("key"), make([]byte, 256), 0)
	r.update.End()
	r.publish()
	changes := r.update.Changes()
	b.ReportAllocs()
	for b.Loop() {
		changes[0].Revision.Main++
		r.hub.handOut(changes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}

// BenchmarkOneWatcherOfMany hands a change to the one of 100,000 watchers, of as many
// ranges, that wants it.
func BenchmarkOneWatcherOfMany(b *testing.B) {
	r := newRig(b)
	s := r.hub.Open(&drop{}, 1<<20)
	for i := range 100_000 {
		s.Create(Request{Key: fmt.Appendf(nil, "%06d", i), End: fmt.Appendf(nil, "%06d", i+1)})
	}
	r.update.Put([]byte("050000/x"), make([]byte, 256), 0)
	r.update.End()
	r.publish()
	changes := r.update.Changes()
	b.ReportAllocs()
	for b.Loop() {
		changes[0].Revision.Main++
		r.hub.handOut(changes)
	}
}
