package ctl

import (
	"fmt"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
)

// The JSON of etcdctl is a dialect of its own: numbers are numbers, bytes are
// base64, zero fields of a message are left out, and names are those of the
// wire. These structs are what scripts know; encoding/json writes them as they
// stand.

type jsonHeader struct {
	ClusterID any    `json:"cluster_id,omitempty"`
	MemberID  any    `json:"member_id,omitempty"`
	Revision  int64  `json:"revision,omitempty"`
	RaftTerm  uint64 `json:"raft_term,omitempty"`
}

// jsonEmpty is an answer that has a header at most.
type jsonEmpty struct {
	Header *jsonHeader `json:"header,omitempty"`
}

// jsonVersion is the answer to commands about a downgrade.
type jsonVersion struct {
	Header  *jsonHeader `json:"header,omitempty"`
	Version string      `json:"version,omitempty"`
}

type jsonPair struct {
	Key            []byte `json:"key,omitempty"`
	CreateRevision int64  `json:"create_revision,omitempty"`
	ModRevision    int64  `json:"mod_revision,omitempty"`
	Version        int64  `json:"version,omitempty"`
	Value          []byte `json:"value,omitempty"`
	Lease          int64  `json:"lease,omitempty"`
}

type jsonGet struct {
	Header *jsonHeader `json:"header,omitempty"`
	Kvs    []*jsonPair `json:"kvs,omitempty"`
	More   bool        `json:"more,omitempty"`
	Count  int64       `json:"count,omitempty"`
}

type jsonPut struct {
	Header *jsonHeader `json:"header,omitempty"`
	PrevKv *jsonPair   `json:"prev_kv,omitempty"`
}

type jsonDelete struct {
	Header  *jsonHeader `json:"header,omitempty"`
	Deleted int64       `json:"deleted,omitempty"`
	PrevKvs []*jsonPair `json:"prev_kvs,omitempty"`
}

type jsonTxn struct {
	Header    *jsonHeader    `json:"header,omitempty"`
	Succeeded bool           `json:"succeeded,omitempty"`
	Responses []jsonResponse `json:"responses,omitempty"`
}

// jsonResponse has one level more than the message.
type jsonResponse struct {
	Response map[string]any // one entry: the name of the wire
}

type jsonMember struct {
	ID         any      `json:"ID,omitempty"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

type jsonMembers struct {
	Header  *jsonHeader   `json:"header,omitempty"`
	Member  *jsonMember   `json:"member,omitempty"`
	Members []*jsonMember `json:"members,omitempty"`
}

type jsonAlarm struct {
	MemberID uint64 `json:"memberID,omitempty"`
	Alarm    int32  `json:"alarm,omitempty"`
}

type jsonAlarms struct {
	Header *jsonHeader `json:"header,omitempty"`
	Alarms []jsonAlarm `json:"alarms,omitempty"`
}

type jsonDowngrade struct {
	Enabled       bool   `json:"enabled,omitempty"`
	TargetVersion string `json:"targetVersion,omitempty"`
}

type jsonStatus struct {
	Header           *jsonHeader    `json:"header,omitempty"`
	Version          string         `json:"version,omitempty"`
	DbSize           int64          `json:"dbSize,omitempty"`
	Leader           uint64         `json:"leader,omitempty"`
	RaftIndex        uint64         `json:"raftIndex,omitempty"`
	RaftTerm         uint64         `json:"raftTerm,omitempty"`
	RaftAppliedIndex uint64         `json:"raftAppliedIndex,omitempty"`
	Errors           []string       `json:"errors,omitempty"`
	DbSizeInUse      int64          `json:"dbSizeInUse,omitempty"`
	IsLearner        bool           `json:"isLearner,omitempty"`
	StorageVersion   string         `json:"storageVersion,omitempty"`
	DbSizeQuota      int64          `json:"dbSizeQuota,omitempty"`
	DowngradeInfo    *jsonDowngrade `json:"downgradeInfo,omitempty"`
}

type jsonHash struct {
	Header          *jsonHeader `json:"header,omitempty"`
	Hash            uint32      `json:"hash,omitempty"`
	CompactRevision int64       `json:"compact_revision,omitempty"`
	HashRevision    int64       `json:"hash_revision,omitempty"`
}

// number is an id that is left out if it is 0.
func number(id uint64) any {
	if id == 0 {
		return nil
	}
	return id
}

// numberOrHex is number, or a string of hex digits if --hex is given.
func (t *tool) numberOrHex(id uint64) any {
	if id != 0 && t.global.hex {
		return fmt.Sprintf("%x", id)
	}
	return number(id)
}

func toJSONHeader(h *client.ResponseHeader) *jsonHeader {
	if h == nil {
		return nil
	}
	return &jsonHeader{number(h.ClusterId), number(h.MemberId), h.Revision, h.RaftTerm}
}

func toJSONPair(kv *client.KeyValue) *jsonPair {
	if kv == nil {
		return nil
	}
	return &jsonPair{kv.Key, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Value, kv.Lease}
}

func toJSONPairs(kvs []*client.KeyValue) []*jsonPair {
	var all []*jsonPair
	for _, kv := range kvs {
		all = append(all, toJSONPair(kv))
	}
	return all
}

func toJSONGet(r *client.GetResponse) jsonGet {
	return jsonGet{toJSONHeader(r.Header), toJSONPairs(r.Kvs), r.More, r.Count}
}

func toJSONPut(r *client.PutResponse) jsonPut {
	return jsonPut{toJSONHeader(r.Header), toJSONPair(r.PrevKv)}
}

func toJSONDelete(r *client.DeleteResponse) jsonDelete {
	return jsonDelete{toJSONHeader(r.Header), r.Deleted, toJSONPairs(r.PrevKvs)}
}

func toJSONTxn(r *client.TxnResponse) jsonTxn {
	res := jsonTxn{Header: toJSONHeader(r.Header), Succeeded: r.Succeeded}
	for _, inner := range r.Responses {
		one := map[string]any{}
		switch v := inner.Response.(type) {
		case *etcdserverpb.ResponseOp_ResponseRange:
			one["response_range"] = toJSONGet(v.ResponseRange)
		case *etcdserverpb.ResponseOp_ResponsePut:
			one["response_put"] = toJSONPut(v.ResponsePut)
		case *etcdserverpb.ResponseOp_ResponseDeleteRange:
			one["response_delete_range"] = toJSONDelete(v.ResponseDeleteRange)
		case *etcdserverpb.ResponseOp_ResponseTxn:
			one["response_txn"] = toJSONTxn(v.ResponseTxn)
		}
		res.Responses = append(res.Responses, jsonResponse{one})
	}
	return res
}

// toJSONMembers is the answer to a command about members; one is the member
// that was added, or nil.
func (t *tool) toJSONMembers(h *client.ResponseHeader, one *client.Member, members []*client.Member) jsonMembers {
	res := jsonMembers{Header: toJSONHeader(h)}
	if h != nil {
		res.Header.ClusterID, res.Header.MemberID = t.numberOrHex(h.ClusterId), t.numberOrHex(h.MemberId)
	}
	if one != nil {
		res.Member = t.toJSONMember(one)
	}
	for _, m := range members {
		res.Members = append(res.Members, t.toJSONMember(m))
	}
	return res
}

func (t *tool) toJSONMember(m *client.Member) *jsonMember {
	return &jsonMember{t.numberOrHex(m.ID), m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner}
}

func toJSONAlarms(r *client.AlarmResponse) jsonAlarms {
	res := jsonAlarms{Header: toJSONHeader(r.Header)}
	for _, a := range r.Alarms {
		res.Alarms = append(res.Alarms, jsonAlarm{a.MemberID, int32(a.Alarm)})
	}
	return res
}

func toJSONStatus(r *client.StatusResponse) jsonStatus {
	s := jsonStatus{
		Header:           toJSONHeader(r.Header),
		Version:          r.Version,
		DbSize:           r.DbSize,
		Leader:           r.Leader,
		RaftIndex:        r.RaftIndex,
		RaftTerm:         r.RaftTerm,
		RaftAppliedIndex: r.RaftAppliedIndex,
		Errors:           r.Errors,
		DbSizeInUse:      r.DbSizeInUse,
		IsLearner:        r.IsLearner,
		StorageVersion:   r.StorageVersion,
		DbSizeQuota:      r.DbSizeQuota,
	}
	if d := r.DowngradeInfo; d != nil {
		s.DowngradeInfo = &jsonDowngrade{d.Enabled, d.TargetVersion}
	}
	return s
}

func toJSONHash(r *client.HashKVResponse) jsonHash {
	return jsonHash{toJSONHeader(r.Header), r.Hash, r.CompactRevision, r.HashRevision}
}
