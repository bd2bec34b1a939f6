package oracle

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"etcd.alt/conformance/member"
)

// answerWithin is far above what any operation takes; longer is a failure.
const answerWithin = 30 * time.Second

// Answer is what one side said: a message, or an error.
type Answer struct {
	Message proto.Message // nil if it is an error
	Code    codes.Code
	Text    string
	Details int // of the error's status; etcd sends none
}

func (a Answer) failed() bool { return a.Message == nil }

func (a Answer) equal(b Answer) bool {
	if a.failed() || b.failed() {
		return a.failed() && b.failed() && a.Code == b.Code && a.Text == b.Text && a.Details == b.Details
	}
	return proto.Equal(a.Message, b.Message)
}

func (a Answer) clone() Answer {
	if !a.failed() {
		a.Message = proto.Clone(a.Message)
	}
	return a
}

func (a Answer) String() string {
	if a.failed() {
		return fmt.Sprintf("error %v %q, %d details", a.Code, a.Text, a.Details)
	}
	return text(a.Message)
}

// side is one of the two members, and what is known of its identity.
type side struct {
	member *member.Member
	conn   *grpc.ClientConn
	id     identity
}

func newSide(kind member.Kind) (*side, error) {
	m, err := member.Start(kind)
	if err != nil {
		return nil, err
	}
	conn, err := m.Dial()
	if err != nil {
		m.Close()
		return nil, err
	}
	return &side{member: m, conn: conn}, nil
}

func (s *side) close() {
	s.conn.Close()
	s.member.Close()
}

// restart kills the member and starts it again on its data.
func (s *side) restart() error {
	s.conn.Close()
	s.member.Kill()
	if err := s.member.Up(); err != nil {
		return err
	}
	conn, err := s.member.Dial()
	if err != nil {
		return err
	}
	s.conn = conn
	s.id.termMayRise = true
	return nil
}

// call sends a request and returns the answer with its identity masked. An
// error is one of this side's own: no answer, or one with a foreign identity.
func (s *side) call(request proto.Message) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	path, response := route(request)
	err := s.conn.Invoke(ctx, path, request, response, grpc.WaitForReady(true))
	if err != nil {
		st := status.Convert(err)
		if st.Code() == codes.DeadlineExceeded || st.Code() == codes.Unavailable {
			return Answer{}, fmt.Errorf("%s does not answer: %w; its log ends:\n%s", s.member.Name(), err, s.member.Log())
		}
		return Answer{Code: st.Code(), Text: st.Message(), Details: len(st.Proto().GetDetails())}, nil
	}
	if err := s.id.mask(response.ProtoReflect()); err != nil {
		return Answer{}, fmt.Errorf("%s: %w", s.member.Name(), err)
	}
	return Answer{Message: response}, nil
}

// identity is what stands in one side's headers: three constants, of which only
// the term may rise, and only with a restart.
type identity struct {
	cluster, member, term uint64
	termMayRise           bool
}

// mask replaces the identity in every header of a message by values that are
// the same for both sides. What is not set stays so.
func (id *identity) mask(m protoreflect.Message) error {
	if h, ok := m.Interface().(*pb.ResponseHeader); ok {
		return id.maskHeader(h)
	}
	var failed error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() != protoreflect.MessageKind || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				if failed = id.mask(v.List().Get(i).Message()); failed != nil {
					break
				}
			}
		default:
			failed = id.mask(v.Message())
		}
		return failed == nil
	})
	return failed
}

func (id *identity) maskHeader(h *pb.ResponseHeader) error {
	if h.RaftTerm > id.term && id.termMayRise {
		id.term, id.termMayRise = h.RaftTerm, false
	}
	for _, f := range []struct {
		name   string
		value  *uint64
		known  *uint64
		masked uint64
	}{
		{"cluster_id", &h.ClusterId, &id.cluster, 1},
		{"member_id", &h.MemberId, &id.member, 2},
		{"raft_term", &h.RaftTerm, &id.term, 3},
	} {
		if *f.value == 0 {
			continue
		}
		if *f.known == 0 {
			*f.known = *f.value
		}
		if *f.value != *f.known {
			return fmt.Errorf("%s is %d in a header, was %d", f.name, *f.value, *f.known)
		}
		*f.value = f.masked
	}
	return nil
}
