package service

import (
	"net"
	"net/url"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/member"
	"etcd.alt/internal/rpc"
)

// memberList serves Cluster.MemberList.
func (s *Service) memberList(c *rpc.Call) {
	var r etcdserverpb.MemberListRequest
	if !decode(c, &r) {
		return
	}
	read := func() { c.Reply(&etcdserverpb.MemberListResponse{Header: s.protoHeader(0), Members: s.members()}) }
	if !r.Linearizable {
		read()
		return
	}
	s.linearizable(c, read, nil)
}

// memberAdd serves Cluster.MemberAdd. The URLs are looked at before the caller is.
func (s *Service) memberAdd(c *rpc.Call) {
	var r etcdserverpb.MemberAddRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		fail(c, err)
		return
	}
	s.afterBarrier(c, func() { s.addMember(c, urls, r.IsLearner) })
}

func (s *Service) addMember(c *rpc.Call, urls []string, learner bool) {
	by, err := s.rightsOf(c)
	if err == nil {
		err = by.Root()
	}
	if err != nil {
		fail(c, err)
		return
	}
	var allowed func() error
	if !learner {
		allowed = s.mayAddVoter
	}
	added := member.Member{ID: member.ID(urls, member.LaterSalt(time.Now().Unix())), PeerURLs: urls, Learner: learner}
	change, err := member.Add(added)
	s.proposeChange(c, change, err, allowed, func() {
		c.Reply(&etcdserverpb.MemberAddResponse{Header: s.protoHeader(0), Member: message(added), Members: s.members()})
	})
}

// memberRemove serves Cluster.MemberRemove.
func (s *Service) memberRemove(c *rpc.Call) {
	var r etcdserverpb.MemberRemoveRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	allowed := func() error { return s.mayRemove(r.ID) }
	if err := allowed(); err != nil {
		fail(c, err)
		return
	}
	if r.ID == s.c.MemberID && s.Leads() {
		s.c.Replica.GiveAway() // so that the others need not miss a leader first
	}
	s.proposeChange(c, member.Remove(r.ID), nil, allowed, func() {
		c.Reply(&etcdserverpb.MemberRemoveResponse{Header: s.protoHeader(0), Members: s.members()})
	})
}

// memberUpdate serves Cluster.MemberUpdate.
func (s *Service) memberUpdate(c *rpc.Call) {
	var r etcdserverpb.MemberUpdateRequest
	if !decoded(c, r.UnmarshalVT(c.Payload())) {
		return
	}
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		fail(c, err)
		return
	}
	change, err := member.Update(r.ID, urls)
	s.proposeChange(c, change, err, nil, func() {
		c.Reply(&etcdserverpb.MemberUpdateResponse{Header: s.protoHeader(0), Members: s.members()})
	})
}

// members are the members as clients see them.
func (s *Service) members() []*etcdserverpb.Member {
	var all []*etcdserverpb.Member
	for _, m := range s.c.Machine.View().Members.Members {
		all = append(all, message(m))
	}
	return all
}

// Members are the members as other members see them.
func (s *Service) Members() []member.Member { return s.c.Machine.View().Members.Members }

func message(m member.Member) *etcdserverpb.Member {
	return &etcdserverpb.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner}
}

// proposeChange sends a change of the configuration through the log, unless err
// says that there is none, or allowed, where it is not nil, that it may not be when the
// changes before it are applied. reply answers c when it is applied.
func (s *Service) proposeChange(c *rpc.Call, change *raftpb.ConfChange, err error, allowed func() error, reply func()) {
	if err == nil {
		s.pending.Add(1)
		if err = s.offerChange(change, allowed, &changed{s, c.Keep(), reply}); err == nil {
			return
		}
		s.pending.Add(-1)
	}
	fail(c, err)
}

func (s *Service) offerChange(change *raftpb.ConfChange, allowed func() error, caller interface{ Done(any, error) }) error {
	id := s.newID()
	change.Id = proto.Uint64(id)
	data, err := proto.Marshal(change)
	if err != nil {
		return err
	}
	return s.c.Replica.ProposeChange(id, data, allowed, caller)
}

// changed is a call that waits for its change to be applied.
type changed struct {
	service *Service
	call    *rpc.Call
	reply   func()
}

// Done is replica.Caller's.
func (w *changed) Done(_ any, err error) {
	w.service.pending.Add(-1)
	if err != nil {
		if cameToNothing(err) {
			w.service.failed.Add(1)
		}
		fail(w.call, err)
	} else {
		w.reply()
	}
	w.service.c.Answers.add(w.call)
}

// peerURLs checks the peer URLs of a request, and sorts them.
func peerURLs(given []string) ([]string, error) {
	if len(given) == 0 {
		return nil, errs.MemberBadURLs
	}
	for _, g := range given {
		u, err := url.Parse(g)
		if err != nil {
			return nil, errs.MemberBadURLs
		}
		_, _, err = net.SplitHostPort(u.Host)
		if u.Scheme != "http" && u.Scheme != "https" || err != nil || u.Path != "" {
			return nil, errs.MemberBadURLs
		}
	}
	urls := slices.Clone(given)
	slices.Sort(urls)
	return slices.Compact(urls), nil
}

// protoHeader is header as a message.
func (s *Service) protoHeader(revision int64) *etcdserverpb.ResponseHeader {
	h := s.header(revision)
	return &etcdserverpb.ResponseHeader{ClusterId: h.cluster, MemberId: h.member, Revision: h.revision, RaftTerm: h.term}
}
