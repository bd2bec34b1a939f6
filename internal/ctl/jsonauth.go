package ctl

import "etcd.alt/client"

type jsonAuthStatus struct {
	Header       *jsonHeader `json:"header,omitempty"`
	Enabled      bool        `json:"enabled,omitempty"`
	AuthRevision uint64      `json:"authRevision,omitempty"`
}

type jsonUsers struct {
	Header *jsonHeader `json:"header,omitempty"`
	Users  []string    `json:"users,omitempty"`
}

// jsonRoles are a user's, or all.
type jsonRoles struct {
	Header *jsonHeader `json:"header,omitempty"`
	Roles  []string    `json:"roles,omitempty"`
}

type jsonPermission struct {
	PermType int32  `json:"permType,omitempty"`
	Key      []byte `json:"key,omitempty"`
	RangeEnd []byte `json:"range_end,omitempty"`
}

type jsonRole struct {
	Header *jsonHeader      `json:"header,omitempty"`
	Perm   []jsonPermission `json:"perm,omitempty"`
}

func toJSONRole(r *client.AuthRoleGetResponse) jsonRole {
	res := jsonRole{Header: toJSONHeader(r.Header)}
	for _, p := range r.Perm {
		res.Perm = append(res.Perm, jsonPermission{int32(p.PermType), p.Key, p.RangeEnd})
	}
	return res
}
