package service

import (
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"etcd.alt/api/electionpb"
	"etcd.alt/api/errs"
	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
	"etcd.alt/internal/audit"
	"etcd.alt/internal/rpc"
	"etcd.alt/internal/watch"
)

// auditing is the mark of a call of which a record is written when it ends.
type auditing struct {
	known *remembered // what was found at the door

	mu     sync.Mutex // a call may end while it is being looked at
	record audit.Record
}

// beginAudit marks a call, where records are written of such calls.
func (s *Service) beginAudit(d door, a asked) {
	if s.c.Audit == nil || d == open && a.Path() != authenticatePath {
		return
	}
	m := &auditing{}
	m.record = audit.Record{Time: time.Now(), Address: address(a), RPC: a.Path()}
	a.SetMark(m)
}

// knownBy is what was found at the door of a call with that mark.
func knownBy(mark any) *remembered {
	switch m := mark.(type) {
	case *remembered:
		return m
	case *auditing:
		return m.known
	}
	return nil
}

// know leaves with a call what was found at its door.
func know(a asked, known *remembered) {
	m, ok := a.Mark().(*auditing)
	if !ok {
		if call, unary := a.(*rpc.Call); unary {
			call.SetMark(known)
			call.SetMemo(known)
		}
		return
	}
	m.known = known
	m.mu.Lock()
	m.record.User = known.subject.User
	m.mu.Unlock()
}

// noteCaller notes the name that a call comes with, where that is no token's.
func noteCaller(a asked, who credential) {
	if m, ok := a.Mark().(*auditing); ok && who.name != "" {
		m.mu.Lock()
		m.record.User = who.name
		m.mu.Unlock()
	}
}

// noteUser notes who the caller of a call is, where that was found.
func noteUser(a asked, user string) {
	if m, ok := a.Mark().(*auditing); ok && user != "" {
		m.mu.Lock()
		m.record.User = user
		m.mu.Unlock()
	}
}

// audited notes what a request is about. It is true.
func audited(a asked, r any) bool {
	if m, ok := a.Mark().(*auditing); ok {
		m.mu.Lock()
		describe(&m.record, r)
		m.mu.Unlock()
	}
	return true
}

// auditWatch notes a watcher that was made, or refused.
func (s *Service) auditWatch(a asked, r *pb.WatchCreateRequest, err error) {
	m, ok := a.Mark().(*auditing)
	if !ok {
		return
	}
	one := audit.Record{Time: time.Now(), Address: address(a), RPC: a.Path()}
	m.mu.Lock()
	one.User = m.record.User
	m.mu.Unlock()
	one.AddKeys(r.Key, r.RangeEnd)
	code := codes.OK
	switch {
	case errors.Is(err, watch.ErrRefused):
		code = codes.FailedPrecondition
	case err != nil:
		code, _ = errs.Status(err)
	}
	s.finish(&one, code)
}

// Ended is for rpc.Options.Ended.
func (s *Service) Ended(_ string, mark any, code codes.Code) {
	if m, ok := mark.(*auditing); ok {
		m.mu.Lock()
		one := m.record
		m.mu.Unlock()
		s.finish(&one, code)
	}
}

func (s *Service) finish(r *audit.Record, code codes.Code) {
	r.Revision, r.Verdict = s.c.Machine.View().Keys.Revision, code.String()
	s.c.Audit.Note(*r)
}

// describe says what a request is about; never values, passwords, tokens.
func describe(to *audit.Record, r any) {
	names := to.AddNames
	switch r := r.(type) {
	case *pb.RangeRequest:
		to.AddKeys(r.GetKey(), r.GetRangeEnd())
	case *pb.PutRequest:
		to.AddKeys(r.GetKey(), nil)
		to.Lease = r.GetLease()
	case *pb.DeleteRangeRequest:
		to.AddKeys(r.GetKey(), r.GetRangeEnd())
	case *pb.TxnRequest:
		describeTxn(to, r)
	case *pb.LeaseGrantRequest:
		to.Lease = r.GetID()
	case *pb.LeaseRevokeRequest:
		to.Lease = r.GetID()
	case *pb.LeaseTimeToLiveRequest:
		to.Lease = r.GetID()
	case *lockpb.LockRequest:
		to.AddKeys(r.GetName(), nil)
		to.Lease = r.GetLease()
	case *lockpb.UnlockRequest:
		to.AddKeys(r.GetKey(), nil)
	case *electionpb.CampaignRequest:
		to.AddKeys(r.GetName(), nil)
		to.Lease = r.GetLease()
	case *electionpb.ProclaimRequest:
		to.AddKeys(r.GetLeader().GetKey(), nil)
	case *electionpb.LeaderRequest:
		to.AddKeys(r.GetName(), nil)
	case *electionpb.ResignRequest:
		to.AddKeys(r.GetLeader().GetKey(), nil)
	case *pb.AuthenticateRequest:
		names(r.GetName())
	case *pb.AuthUserAddRequest:
		names(r.GetName())
	case *pb.AuthUserGetRequest:
		names(r.GetName())
	case *pb.AuthUserChangePasswordRequest:
		names(r.GetName())
	case *pb.AuthRoleGetRequest:
		names(r.GetRole())
	case *pb.AuthUserDeleteRequest:
		if r != nil {
			names(r.Name)
		}
	case *pb.AuthUserGrantRoleRequest:
		if r != nil {
			names(r.User, r.Role)
		}
	case *pb.AuthUserRevokeRoleRequest:
		if r != nil {
			names(r.Name, r.Role)
		}
	case *pb.AuthRoleAddRequest:
		if r != nil {
			names(r.Name)
		}
	case *pb.AuthRoleDeleteRequest:
		if r != nil {
			names(r.Role)
		}
	case *pb.AuthRoleGrantPermissionRequest:
		if r != nil {
			names(r.Name)
			to.AddKeys(r.Perm.GetKey(), r.Perm.GetRangeEnd())
		}
	case *pb.AuthRoleRevokePermissionRequest:
		if r != nil {
			names(r.Role)
			to.AddKeys(r.Key, r.RangeEnd)
		}
	}
}

func describeTxn(to *audit.Record, r *pb.TxnRequest) {
	for _, c := range r.Compare {
		to.AddKeys(c.Key, c.RangeEnd)
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			switch op := op.GetRequest().(type) {
			case *pb.RequestOp_RequestRange:
				describe(to, op.RequestRange)
			case *pb.RequestOp_RequestPut:
				describe(to, op.RequestPut)
			case *pb.RequestOp_RequestDeleteRange:
				describe(to, op.RequestDeleteRange)
			case *pb.RequestOp_RequestTxn:
				if op.RequestTxn != nil {
					describeTxn(to, op.RequestTxn)
				}
			}
		}
	}
}
