package rights

import (
	"fmt"
	"math"
)

// Never is the moment of what has not happened.
const Never = math.MaxInt64 / 4

// Span is when something holds. Moments are nanoseconds since one that all share.
type Span struct {
	Asked int64 // it was asked for: it does not hold before
	Given int64 // that was acknowledged: it holds from then on; else Never
	Taken int64 // its end was asked for: it holds until then; else Never
	Gone  int64 // that was acknowledged: it does not hold from then on; else Never
}

// Open is a span that is about to be asked for.
func Open(now int64) Span { return Span{Asked: now, Given: Never, Taken: Never, Gone: Never} }

// must says whether it holds all the time between two moments.
func (s *Span) must(from, to int64) bool { return s.Given <= from && to <= s.Taken }

// Right is what a user may do under a prefix.
type Right struct {
	User, Area  string
	Read, Write bool
	Span
}

// Password is one that a user has had.
type Password struct {
	User, Text string
	Span
}

// Kind is what a call does.
type Kind int

const (
	Put   Kind = iota
	Get        // linearizable
	Stale      // a serializable read
	Login
)

// Outcome is what a caller knows of a call.
type Outcome int

const (
	Unknown  Outcome = iota // it may have had an effect, or may have one later
	Answered                // it was made
	Denied                  // the user may not
	Stranger                // the password or the token is not good
)

// Call is a call of a user.
type Call struct {
	Kind           Kind
	User, Password string // the one that the token was got with
	Area           string
	Value          string // of a Put: no other has the same
	// Since is when the login of the token was called. Lasting says that its token is
	// good for as long as its password is.
	Since   int64
	Lasting bool

	Call, Return int64 // Never where the end is unknown
	Outcome      Outcome
	Revision     int64 // of a Put that was answered
	At           string
}

// writes says whether the call needs to write, else it needs to read.
func (c *Call) writes() bool { return c.Kind == Put }

func (c *Call) String() string {
	what := [...]string{"put", "get", "serializable get", "login"}[c.Kind]
	end := [...]string{"end unknown", "answered", "denied", "taken for a stranger"}[c.Outcome]
	s := fmt.Sprintf("%s of %s (%s) %s %s at %s, called at %.6f s, %s", what, c.User, c.Password, c.Area, c.Value, c.At, seconds(c.Call), end)
	if c.Outcome != Unknown {
		s += fmt.Sprintf(" at %.6f s", seconds(c.Return))
	}
	if c.Revision != 0 {
		s += fmt.Sprintf(", revision %d", c.Revision)
	}
	return s
}

func (s Span) String() string {
	return fmt.Sprintf("asked for at %s, given at %s, taken at %s, gone at %s", moment(s.Asked), moment(s.Given), moment(s.Taken), moment(s.Gone))
}

func (r *Right) String() string {
	return fmt.Sprintf("%s in %s, read %t, write %t: %v", r.User, r.Area, r.Read, r.Write, r.Span)
}

func (p *Password) String() string { return fmt.Sprintf("%s by %s: %v", p.User, p.Text, p.Span) }

func seconds(t int64) float64 { return float64(t) / 1e9 }

func moment(t int64) string {
	if t == Never {
		return "no time"
	}
	return fmt.Sprintf("%.6f s", seconds(t))
}
