package mvcc

import "sort"

// queue is a first-in-first-out list in chunks, which are let go as they are
// emptied.
type queue[T any] struct {
	chunks [][]T
	head   int // in chunks[0]
}

const chunkLen = 1024

func (q *queue[T]) empty() bool { return len(q.chunks) == 0 }

func (q *queue[T]) push(x T) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == cap(q.chunks[n-1]) {
		q.chunks = append(q.chunks, make([]T, 0, chunkLen))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, x)
}

func (q *queue[T]) front() *T { return &q.chunks[0][q.head] }

// last is the element that was pushed last, nil if the queue is empty.
func (q *queue[T]) last() *T {
	if q.empty() {
		return nil
	}
	c := q.chunks[len(q.chunks)-1]
	return &c[len(c)-1]
}

// lastOf is the last element for which holds is true, nil if there is none. It
// must hold for the first ones alone. It takes logarithmic time.
func (q *queue[T]) lastOf(holds func(*T) bool) *T {
	if q.empty() || !holds(q.front()) {
		return nil
	}
	c := sort.Search(len(q.chunks)-1, func(i int) bool { return !holds(&q.chunks[i+1][0]) })
	chunk := q.chunks[c]
	if c == 0 {
		chunk = chunk[q.head:]
	}
	return &chunk[sort.Search(len(chunk)-1, func(i int) bool { return !holds(&chunk[i+1]) })]
}

func (q *queue[T]) pop() T {
	x := q.chunks[0][q.head]
	var zero T
	q.chunks[0][q.head] = zero
	q.head++
	if q.head == len(q.chunks[0]) {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		q.head = 0
	}
	return x
}
