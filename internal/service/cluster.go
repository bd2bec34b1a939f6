package service

import (
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/rpc"
)

// memberList serves Cluster.MemberList.
func (s *Service) memberList(c *rpc.Call) {
	var r etcdserverpb.MemberListRequest
	if !decode(c, &r) {
		return
	}
	read := func() { c.Reply(s.members()) }
	if !r.Linearizable {
		read()
		return
	}
	s.linearizable(c, read, nil)
}

// members is the answer to a member list. Its header has no revision.
func (s *Service) members() *etcdserverpb.MemberListResponse {
	view := s.c.Machine.View()
	res := &etcdserverpb.MemberListResponse{Header: s.protoHeader(0)}
	for _, m := range view.Members.Members {
		res.Members = append(res.Members, &etcdserverpb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner,
		})
	}
	return res
}

// protoHeader is header as a message.
func (s *Service) protoHeader(revision int64) *etcdserverpb.ResponseHeader {
	h := s.header(revision)
	return &etcdserverpb.ResponseHeader{ClusterId: h.cluster, MemberId: h.member, Revision: h.revision, RaftTerm: h.term}
}
