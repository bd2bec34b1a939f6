package service

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"etcd.alt/api/errs"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/auth/token"
	"etcd.alt/internal/machine"
	"etcd.alt/internal/rpc"
)

// asked is a call, or a stream, as far as it says who has made it.
type asked interface {
	Metadata(key string) (string, bool)
	Conn() *rpc.Conn
	Path() string
	Mark() any
	SetMark(any)
}

// credential is what a call shows of whoever has made it: a token, or else the name
// in a client's certificate. The zero value shows nothing.
type credential struct {
	token string
	name  string
	// memory is the connection's; nil for none.
	memory *memory
	// known is what was found at the door; nil for nothing.
	known *remembered
	// now is when the call came; zero for what lasts, which is judged anew each time.
	now time.Time
	// lasting is a token that was good when a call came that may take longer than the
	// token lives; nil for none. Its time alone may be over.
	lasting *token.Token
}

// credentialOf reads the credential of a call. The official client puts its token
// into one header, everybody else into the other. What comes through the JSON gateway
// has no certificate of its own.
func (s *Service) credentialOf(a asked) credential {
	call, _ := a.(*rpc.Call)
	if call != nil {
		if known := knownBy(call.Mark()); known != nil {
			return credential{known: known, token: known.text}
		}
	}
	c := credential{}
	if call != nil {
		c.now = s.clock.read(s.c.Now, call)
	}
	c.memory, _ = a.Conn().State().(*memory)
	if t, ok := a.Metadata("token"); ok {
		c.token = cmp.Or(strings.TrimPrefix(t, "Bearer "), emptyToken)
	} else if t, ok := a.Metadata("authorization"); ok {
		c.token = cmp.Or(strings.TrimPrefix(t, "Bearer "), emptyToken)
	}
	if c.token != "" || !s.c.ClientCertAuth {
		return c
	}
	state := a.Conn().TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return c
	}
	if _, gateway := a.Metadata("grpcgateway-accept"); !gateway {
		c.name = state.VerifiedChains[0][0].Subject.CommonName
	}
	return c
}

// emptyToken stands for one that was shown and is empty, which is none that is good.
const emptyToken = "-"

// memory is what a connection remembers of the last token that came in on it. It is
// made by NewConnState.
type memory struct{ last atomic.Pointer[remembered] }

// remembered is a token that was good in a view. It does not keep the view: connections
// may be silent for long, and there may be many views meanwhile.
type remembered struct {
	text    string
	token   *token.Token
	view    *auth.ID
	subject auth.Subject
}

// NewConnState is for rpc.Options.NewState.
func NewConnState(*rpc.Conn) any { return &memory{} }

// errBehind says that this member cannot judge a token yet: it may have been made in
// a state that has not come so far. It is an invalid one to everybody else.
var errBehind = errors.New("the token may be of a later state")

// identify says in whose name a call is in a state of the users: nobody's, where it
// shows nothing or nobody need be named. Errors: errs.InvalidAuthToken; errBehind,
// unless caughtUp says that the state is as late as the call.
func (s *Service) identify(v *auth.View, c credential, caughtUp bool) (auth.Subject, error) {
	if !v.Enabled || c.token == "" && c.name == "" {
		return auth.Subject{}, nil
	}
	if c.token == "" {
		return auth.Subject{User: c.name, Revision: v.Revision}, nil
	}
	known, err := s.judge(v, c, caughtUp)
	if err != nil {
		return auth.Subject{}, err
	}
	return known.subject, nil
}

// judge is identify for a credential that is a token.
func (s *Service) judge(v *auth.View, c credential, caughtUp bool) (*remembered, error) {
	if c.known != nil && c.known.view == v.ID() {
		return c.known, nil // it was good when the call came
	}
	now := c.now
	if now.IsZero() {
		now = s.clock.read(s.c.Now, nil)
	}
	var t *token.Token
	if c.memory != nil && c.lasting == nil {
		if last := c.memory.last.Load(); last != nil && last.text == c.token && last.token.Good(now) {
			if last.view == v.ID() {
				return last, nil
			}
			t = last.token
		}
	}
	if t == nil && c.lasting != nil && !c.lasting.Withdrawn() {
		t = c.lasting
	}
	if t == nil {
		var err error
		if t, err = s.c.Users.Tokens.Read(c.token); err != nil {
			if errors.Is(err, token.ErrUnknown) && !caughtUp {
				return nil, errBehind
			}
			return nil, errs.InvalidAuthToken
		}
		if !t.Good(now) {
			return nil, errs.InvalidAuthToken
		}
	}
	if t.Revision > v.Revision && !caughtUp {
		return nil, errBehind
	}
	u, ok := v.User(t.User)
	if !ok || !t.Vouches(token.Account{Name: u.Name, Hash: u.Hash, Changed: u.Changed}) {
		return nil, errs.InvalidAuthToken
	}
	known := &remembered{c.token, t, v.ID(), auth.Subject{User: u.Name, Revision: v.Revision}}
	if c.memory != nil && c.lasting == nil {
		c.memory.last.Store(known)
	}
	return known, nil
}

// rights are what the caller of c may do in a view, which is as late as the call: its
// door, or rightsNow, has seen to that. Errors: errs.InvalidAuthToken.
func (s *Service) rights(v *machine.View, c credential) (machine.Rights, error) {
	by := machine.Rights{Auth: v.Auth, Leases: v.Leases}
	var err error
	if c.token != "" && v.Auth.Enabled {
		known, err := s.judge(v.Auth, c, true)
		if err == nil {
			by.Subject, by.Known = known.subject, v.Auth.Rights(known.subject.User)
		}
		return by, err
	}
	by.Subject, err = s.identify(v.Auth, c, true)
	return by, err
}

// recall is what a token was found to be at the door, of this call or of one with the
// very same metadata, if that was in this view; else nil.
func recall(call *rpc.Call, v *auth.View) *remembered {
	mark := call.Mark()
	if mark == nil {
		mark = call.Memo()
	}
	if known := knownBy(mark); known != nil && known.view == v.ID() {
		return known
	}
	return nil
}

// rightsIn are what the caller of a call that has passed its door may do in a view.
func (s *Service) rightsIn(v *machine.View, a asked) (machine.Rights, error) {
	if call, unary := a.(*rpc.Call); unary {
		if known := recall(call, v.Auth); known != nil {
			return machine.Rights{Auth: v.Auth, Leases: v.Leases, Subject: known.subject, Known: v.Auth.Rights(known.subject.User)}, nil
		}
	}
	return s.rights(v, s.credentialOf(a))
}

// rightsOf are what the caller of a call may do in the published view; all, where
// nobody need be named.
func (s *Service) rightsOf(a asked) (machine.Rights, error) {
	v := s.c.Machine.View()
	if !v.Auth.Enabled {
		return machine.Rights{Auth: v.Auth, Leases: v.Leases}, nil
	}
	by, err := s.rightsIn(v, a)
	noteUser(a, by.Subject.User)
	return by, err
}

// rightsNow is rights in the published view, for callers that may wait: where the
// token may be of a later state, it does.
func (s *Service) rightsNow(ctx context.Context, c credential) (machine.Rights, error) {
	v := s.c.Machine.View()
	if _, err := s.identify(v.Auth, c, false); errors.Is(err, errBehind) {
		if err := s.waitBarrier(ctx); err != nil {
			return machine.Rights{}, err
		}
		v = s.c.Machine.View()
	}
	return s.rights(v, c)
}

// address is where a call comes from, without the port.
func address(a asked) string {
	remote := a.Conn().RemoteAddr().String()
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// neighbourhood is the addresses that are taken for one where many must share: of IPv6,
// those of a /64, of which a single host has as many as it likes (RFC 4291, 2.5.4).
func neighbourhood(a asked) string {
	text := address(a)
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Unmap().Is4() {
		return text
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}
