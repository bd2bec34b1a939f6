package lease

import (
	"cmp"
	"slices"
	"time"
)

// queue is a heap of tenures by when they are to be looked at.
type queue []*tenure

// unpile puts ends off so that there are no more than spread within a second.
func (q queue) unpile() {
	slices.SortFunc(q, func(a, b *tenure) int { return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.id, b.id)) })
	for i := spread; i < len(q); i++ {
		q[i].deadline = max(q[i].deadline, q[i-spread].deadline+time.Second)
	}
}

// Len is heap.Interface's.
func (q queue) Len() int { return len(q) }

// Less is heap.Interface's. The ids make an order of its own of what is due at once.
func (q queue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].id < q[j].id
}

// Swap is heap.Interface's.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	t := x.(*tenure)
	t.place = len(*q)
	*q = append(*q, t)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	n := len(*q) - 1
	t := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	return t
}
