package fencing

import (
	"fmt"
	"strconv"
	"strings"

	"etcd.alt/test/fault/outside"
)

// Tally is what was judged.
type Tally struct {
	Writes int // guarded ones
	Owners int // different ones among those who made them
	Moved  int // ownership ended with a key that was deleted
}

func (t Tally) String() string {
	return fmt.Sprintf("%d guarded writes of %d owners; ownership ended %d times", t.Writes, t.Owners, t.Moved)
}

// Judge looks at all events from before the first key under the prefix came, in
// order.
func Judge(events []outside.Event, prefix, guarded string) (Tally, error) {
	var t Tally
	queue := map[string]int64{} // when the keys were created
	last := int64(0)
	for _, e := range events {
		switch key := e.Change.Key; {
		case strings.HasPrefix(key, prefix):
			if !e.Change.Deleted {
				queue[key] = e.Created
				break
			}
			if queue[key] == oldest(queue) {
				t.Moved++
			}
			delete(queue, key)
		case key == guarded:
			token, err := strconv.ParseInt(e.Change.Value, 10, 64)
			switch {
			case err != nil || e.Change.Deleted:
				return t, fmt.Errorf("revision %d is no guarded write: %v", e.Revision, e.Change)
			case token < last:
				return t, fmt.Errorf("at revision %d an owner wrote whose token is %d, after one whose token is %d", e.Revision, token, last)
			case token != oldest(queue):
				return t, fmt.Errorf("at revision %d somebody wrote whose token is %d, and the owner's is %d", e.Revision, token, oldest(queue))
			}
			t.Writes++
			if token > last {
				t.Owners++
			}
			last = token
		}
	}
	return t, nil
}

// oldest is the token of the owner, 0 for none.
func oldest(queue map[string]int64) int64 {
	first := int64(0)
	for _, created := range queue {
		if first == 0 || created < first {
			first = created
		}
	}
	return first
}
