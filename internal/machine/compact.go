package machine

import (
	"fmt"

	"etcd.alt/api/etcdserverpb"
)

// sweepVersions is how many versions one Sweep takes: about a millisecond of
// work, for which an entry may have to wait.
const sweepVersions = 500

// sweep is a compaction that is not swept yet, and for which somebody waits.
type sweep struct {
	revision int64
	done     chan struct{}
}

// compact gives up history. Readers are refused it as soon as the batch is
// published; the space comes back by and by.
func (m *Machine) compact(r *etcdserverpb.CompactionRequest, mine bool, res *Result) error {
	if err := m.keys.Compact(r.Revision); err != nil {
		return err
	}
	if mine {
		s := sweep{r.Revision, make(chan struct{})}
		m.sweeps = append(m.sweeps, s)
		res.Swept = s.done
	}
	return nil
}

// SweepDue says whether Sweep would find something to do. It is called as Sweep
// is.
func (m *Machine) SweepDue() bool { return len(m.sweeps) > 0 || m.keys.SweepDue() }

// Sweep takes away some of what compactions have made garbage, and reports
// whether there is more to do now: what a reader still stands on is left until
// it is asked again. It must not be called beside Apply.
func (m *Machine) Sweep() (more bool, err error) {
	if !m.SweepDue() {
		return false, nil
	}
	before := m.keys.Swept()
	b := m.store.NewBatch()
	defer b.Discard()
	if more, err = m.keys.Sweep(b, sweepVersions); err != nil {
		return false, fmt.Errorf("machine: sweep: %w", err)
	}
	if b.Len() > 0 {
		if err := b.Commit(); err != nil {
			return false, fmt.Errorf("machine: sweep: %w", err)
		}
	}
	after := m.keys.Swept()
	m.tally.SweptRecords += after.Records - before.Records
	m.tally.SweptCompactions += after.Compactions - before.Compactions
	for len(m.sweeps) > 0 && m.sweeps[0].revision <= m.keys.SweptTo() {
		close(m.sweeps[0].done)
		m.sweeps = m.sweeps[1:]
	}
	if !m.keys.SweepDue() {
		m.publish(m.View().Applied) // readers need not hold on to what is gone
	}
	return more, nil
}
