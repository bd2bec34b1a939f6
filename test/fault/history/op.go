package history

import (
	"fmt"
	"math"
	"strings"
)

// Kind is what an operation does.
type Kind int

const (
	Put    Kind = iota // puts Value, and asks for what was there before
	Delete             // deletes the key, and asks for what was there before
	Swap               // puts Value if the key's modification is Expected, 0 for none; else reads the key
	Get                // linearizable
	Stale              // serializable
)

// Outcome is what a client knows of an operation when it goes on.
type Outcome int

const (
	Unknown  Outcome = iota // it may have had an effect, or may have one later
	Refused                 // it has none, and never will
	Answered                // it was made
)

// KV is a key as a client sees it. The zero Value of a Version above 0 is an
// empty value.
type KV struct {
	Key, Value           string
	Create, Mod, Version int64
}

// Never is the Return of an operation whose end nobody saw.
const Never = math.MaxInt64 / 4

// Op is one operation of a client.
type Op struct {
	Client   int
	Kind     Kind
	Key      string
	Prefix   bool   // a read is of all keys that begin with Key
	Value    string // of a Put or Swap; no two operations have the same
	Expected int64

	// Call and Return are nanoseconds since a moment that all operations share.
	Call, Return int64
	Outcome      Outcome

	// Of an operation that was answered:
	Revision  int64  // of the answer
	Succeeded bool   // a Swap has put; a Delete has found the key
	Found     []KV   // what was read, or what was there before
	Member    uint64 // who has answered
	Life      int    // which of its lives; 0 if that is not certain
}

// reads says that the operation changes nothing, whatever comes of it.
func (o *Op) reads() bool { return o.Kind == Get || o.Kind == Stale }

// changes says that the answer tells of a change.
func (o *Op) changes() bool {
	return o.Outcome == Answered && (o.Kind == Put || o.Succeeded)
}

// covers says that the operation is about a key.
func (o *Op) covers(key string) bool {
	return key == o.Key || o.Prefix && strings.HasPrefix(key, o.Key)
}

// change is what the operation does where it has an effect.
func (o *Op) change() Change {
	if o.Kind == Delete {
		return Change{Key: o.Key, Deleted: true}
	}
	return Change{Key: o.Key, Value: o.Value}
}

func (o *Op) String() string {
	what := [...]string{"put", "delete", "swap", "get", "serializable get"}[o.Kind]
	s := fmt.Sprintf("client %d, %s %s", o.Client, what, o.Key)
	if o.Prefix {
		s += "*"
	}
	if o.Value != "" {
		s += " " + o.Value
	}
	if o.Kind == Swap {
		s += fmt.Sprintf(" if its modification is %d", o.Expected)
	}
	s += fmt.Sprintf(", called at %.6f s", float64(o.Call)/1e9)
	switch o.Outcome {
	case Unknown:
		return s + ", end unknown"
	case Refused:
		return s + ", refused"
	}
	s += fmt.Sprintf(", answered at %.6f s by %x with revision %d", float64(o.Return)/1e9, o.Member, o.Revision)
	if o.Kind == Swap || o.Kind == Delete {
		s += fmt.Sprintf(" (%t)", o.Succeeded)
	}
	for _, kv := range o.Found {
		s += fmt.Sprintf(" %s=%s(create %d, mod %d, version %d)", kv.Key, kv.Value, kv.Create, kv.Mod, kv.Version)
	}
	return s
}

// Change is what a revision did.
type Change struct {
	Key, Value string
	Deleted    bool
}

func (c Change) String() string {
	if c.Deleted {
		return "delete " + c.Key
	}
	return "put " + c.Key + " " + c.Value
}
