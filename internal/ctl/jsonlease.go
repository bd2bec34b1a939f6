package ctl

import "etcd.alt/client"

// The JSON of answers about leases has the header's fields among their own, and
// spells names in a way of its own.

type jsonLeaseGrant struct {
	*jsonHeader
	ID    int64
	TTL   int64
	Error string
}

type jsonKeepAlive struct {
	*jsonHeader
	ID  int64
	TTL int64
}

type jsonTimeToLive struct {
	*jsonHeader
	ID         int64    `json:"id"`
	TTL        int64    `json:"ttl"`
	GrantedTTL int64    `json:"granted-ttl"`
	Keys       [][]byte `json:"keys"`
}

type jsonLease struct {
	ID int64 `json:"id"`
}

type jsonLeases struct {
	*jsonHeader
	Leases []jsonLease `json:"leases"`
}

func toJSONLeaseGrant(r *client.LeaseGrantResponse) jsonLeaseGrant {
	return jsonLeaseGrant{toJSONHeader(r.Header), r.ID, r.TTL, r.Error}
}

func toJSONKeepAlive(r *client.LeaseKeepAliveResponse) jsonKeepAlive {
	return jsonKeepAlive{toJSONHeader(r.Header), r.ID, r.TTL}
}

func toJSONTimeToLive(r *client.LeaseTimeToLiveResponse) jsonTimeToLive {
	return jsonTimeToLive{toJSONHeader(r.Header), r.ID, r.TTL, r.GrantedTTL, r.Keys}
}

func toJSONLeases(r *client.LeaseLeasesResponse) jsonLeases {
	res := jsonLeases{toJSONHeader(r.Header), make([]jsonLease, 0, len(r.Leases))}
	for _, l := range r.Leases {
		res.Leases = append(res.Leases, jsonLease{l.ID})
	}
	return res
}
