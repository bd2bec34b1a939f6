package rights

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// story is a history that may have been: ann may write a/ from 10 (asked for) or 20
// (given) to 50 (taken) or 60 (gone), and read it all along; her password p is
// replaced by q between 70 and 80; both end with her between 100 and 110.
type story struct {
	policy Policy
	calls  []*Call
	events []Event
}

func ann() *story {
	s := &story{}
	s.policy.Rights = []*Right{
		{User: "ann", Area: "a/", Write: true, Span: Span{10, 20, 50, 60}},
		{User: "ann", Area: "a/", Read: true, Span: Span{0, 1, Never, Never}},
	}
	s.policy.Passwords = []*Password{
		{User: "ann", Text: "p", Span: Span{0, 1, 70, 80}},
		{User: "ann", Text: "q", Span: Span{70, 80, 100, 110}},
	}
	return s
}

// call adds a call with a password.
func (s *story) call(kind Kind, password string, from, to int64, outcome Outcome) *Call {
	c := &Call{Kind: kind, User: "ann", Password: password, Area: "a/", Call: from, Return: to, Outcome: outcome, Since: 2, At: "m0"}
	if kind == Put {
		c.Value = fmt.Sprint("v", len(s.calls))
	}
	s.calls = append(s.calls, c)
	return c
}

// made has a put be made.
func (s *story) made(c *Call, revision int64) {
	if c.Outcome == Answered {
		c.Revision = revision
	}
	s.events = append(s.events, Event{revision, c.Value})
}

// put adds a put that was answered.
func (s *story) put(from, to, revision int64) {
	s.made(s.call(Put, "p", from, to, Answered), revision)
}

func TestWhatMayBe(t *testing.T) {
	for name, tell := range map[string]func(s *story){
		"a write while its right is given":                    func(s *story) { s.put(5, 12, 2) },
		"a write while its right holds":                       func(s *story) { s.put(21, 22, 2) },
		"a write while its right is taken":                    func(s *story) { s.put(55, 65, 2) },
		"a write before":                                      func(s *story) { s.call(Put, "p", 1, 5, Denied) },
		"a write after":                                       func(s *story) { s.call(Put, "p", 61, 65, Denied) },
		"a write of unknown end":                              func(s *story) { s.call(Put, "p", 61, Never, Unknown) },
		"a write of unknown end that was made late":           func(s *story) { s.made(s.call(Put, "p", 40, Never, Unknown), 2) },
		"a refusal while the right is given":                  func(s *story) { s.call(Put, "p", 15, 30, Denied) },
		"a refusal while the right is taken":                  func(s *story) { s.call(Put, "p", 30, 51, Denied) },
		"a read":                                              func(s *story) { s.call(Get, "p", 30, 31, Answered) },
		"a read by the new password":                          func(s *story) { s.call(Get, "q", 75, 90, Answered) },
		"a read by the old one, while it changes":             func(s *story) { s.call(Get, "p", 75, 90, Answered) },
		"a read at a member that does not know of the change": func(s *story) { s.call(Stale, "p", 200, 201, Answered) },
		"a refusal at a member that does not know of a right": func(s *story) { s.call(Stale, "p", 30, 31, Denied) },
		"a stranger":                                          func(s *story) { s.call(Get, "p", 81, 82, Stranger) },
		"a token that a member has forgotten":                 func(s *story) { s.call(Get, "p", 30, 31, Stranger) },
		"a login":                                             func(s *story) { s.call(Login, "q", 85, 90, Answered) },
		"a login by the old password":                         func(s *story) { s.call(Login, "p", 85, 90, Stranger) },
		"a lasting token that ends with its password":         func(s *story) { s.call(Get, "p", 65, 71, Stranger).Lasting = true },
		"writes in the order of their revisions":              func(s *story) { s.put(21, 30, 2); s.put(22, 31, 3) },
		"writes beside each other, the other way round":       func(s *story) { s.put(21, 30, 3); s.put(22, 31, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			s := ann()
			tell(s)
			_, err := s.policy.Judge(s.calls, s.events)
			require.NoError(t, err)
		})
	}
}

func TestWhatCannotBe(t *testing.T) {
	for name, tell := range map[string]func(s *story) error{
		"a write before its right": func(s *story) error { s.put(1, 9, 2); return errNoRight },
		"a write after its right":  func(s *story) error { s.put(61, 65, 2); return errNoRight },
		"a write of unknown end, sent after its right": func(s *story) error {
			s.made(s.call(Put, "p", 61, Never, Unknown), 2)
			return errNoRight
		},
		"a write of unknown end that was made after its right, by its revision": func(s *story) error {
			s.made(s.call(Put, "p", 40, Never, Unknown), 3)
			s.policy.Rights = append(s.policy.Rights, &Right{User: "bob", Area: "a/", Write: true, Span: Span{0, 1, Never, Never}})
			s.policy.Passwords = append(s.policy.Passwords, &Password{User: "bob", Text: "p", Span: Span{0, 1, Never, Never}})
			bob := s.call(Put, "p", 61, 66, Answered)
			bob.User = "bob"
			s.made(bob, 2)
			return errNoRight
		},
		"a write that was made before its right, by its revision": func(s *story) error {
			s.made(s.call(Put, "p", 5, Never, Unknown), 2)
			s.policy.Rights = append(s.policy.Rights, &Right{User: "bob", Area: "a/", Write: true, Span: Span{0, 1, Never, Never}})
			s.policy.Passwords = append(s.policy.Passwords, &Password{User: "bob", Text: "p", Span: Span{0, 1, Never, Never}})
			bob := s.call(Put, "p", 6, 9, Answered)
			bob.User = "bob"
			s.made(bob, 3)
			return errNoRight
		},
		"a write in an area of others": func(s *story) error {
			c := s.call(Put, "p", 21, 22, Answered)
			c.Area = "b/"
			s.made(c, 2)
			return errNoRight
		},
		"a write with a right to read": func(s *story) error {
			s.policy.Rights[0].Read, s.policy.Rights[0].Write = true, false
			s.put(21, 22, 2)
			return errNoRight
		},
		"a write by a password that is gone": func(s *story) error {
			s.policy.Rights[0].Span = Span{0, 1, Never, Never}
			s.put(81, 82, 2)
			return errNoRight
		},
		"a write of a user who is gone": func(s *story) error {
			s.policy.Rights[0].Span = Span{0, 1, Never, Never}
			s.made(s.call(Put, "q", 111, 112, Answered), 2)
			return errNoRight
		},
		"a right and a password that never held together": func(s *story) error {
			s.made(s.call(Put, "q", 55, 90, Answered), 2)
			return errNoRight
		},
		"a serializable read before there was a right": func(s *story) error {
			s.policy.Rights[1].Asked = 10
			s.call(Stale, "p", 5, 9, Answered)
			return errNoRight
		},
		"a read by a password that is gone": func(s *story) error { s.call(Get, "p", 81, 90, Answered); return errNoRight },
		"a login by a password that is gone": func(s *story) error {
			s.call(Login, "p", 81, 90, Answered)
			return errNoRight
		},
		"a refusal of a write that has its right": func(s *story) error { s.call(Put, "p", 21, 30, Denied); return errRefused },
		"a refusal of a read that has its right":  func(s *story) error { s.call(Get, "q", 85, 90, Denied); return errRefused },
		"a login that is refused":                 func(s *story) error { s.call(Login, "q", 85, 90, Stranger); return errStranger },
		"a lasting token that is lost": func(s *story) error {
			s.call(Get, "p", 30, 40, Stranger).Lasting = true
			return errLost
		},
		"a user that there never was": func(s *story) error { s.call(Get, "x", 30, 40, Answered); return errNobody },
		"an order that goes back": func(s *story) error {
			s.put(30, 31, 2)
			s.put(21, 22, 3)
			return errBackwards
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := ann()
			want := tell(s)
			_, err := s.policy.Judge(s.calls, s.events)
			require.ErrorIs(t, err, want)
		})
	}
	for name, tell := range map[string]func(s *story){
		"a write that was refused was made": func(s *story) { s.made(s.call(Put, "p", 61, 65, Denied), 2) },
		"is of nobody":                      func(s *story) { s.events = append(s.events, Event{2, "x"}) },
		"an acknowledged write is lost":     func(s *story) { s.call(Put, "p", 21, 22, Answered).Revision = 2 },
		"a write was made twice":            func(s *story) { s.put(21, 22, 2); s.events = append(s.events, Event{3, "v0"}) },
		"a write was made at revision 3":    func(s *story) { s.put(21, 22, 3); s.calls[0].Revision = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			s := ann()
			tell(s)
			_, err := s.policy.Judge(s.calls, s.events)
			require.ErrorContains(t, err, name)
		})
	}
}

// What had to come out as it did is counted: a run without it has shown nothing.
func TestTally(t *testing.T) {
	s := ann()
	s.put(21, 22, 2)
	s.put(15, 22, 3)
	s.call(Put, "p", 61, 65, Denied)
	s.call(Put, "p", 55, 65, Denied)
	s.call(Get, "p", 81, 82, Stranger)
	s.made(s.call(Put, "p", 30, Never, Unknown), 4)
	tally, err := s.policy.Judge(s.calls, s.events)
	require.NoError(t, err)
	require.Equal(t, Tally{Answered: 3, Sure: 1, Refused: 3, Rightly: 2, Late: 1}, tally)
}
