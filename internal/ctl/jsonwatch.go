package ctl

import "etcd.alt/client"

// jsonWatch has Go's names, and leaves nothing out.
type jsonWatch struct {
	Header          jsonHeader
	Events          []jsonEvent
	CompactRevision int64
	Canceled        bool
	Created         bool
	CancelReason    string
}

type jsonEvent struct {
	Type   int32     `json:"type,omitempty"`
	Kv     *jsonPair `json:"kv,omitempty"`
	PrevKv *jsonPair `json:"prev_kv,omitempty"`
}

func toJSONWatch(r *client.WatchResponse) jsonWatch {
	res := jsonWatch{
		Events:          make([]jsonEvent, 0, len(r.Events)),
		CompactRevision: r.CompactRevision,
		Canceled:        r.Canceled,
		Created:         r.Created,
		CancelReason:    r.CancelReason,
	}
	if r.Header != nil {
		res.Header = *toJSONHeader(r.Header)
	}
	for _, e := range r.Events {
		res.Events = append(res.Events, jsonEvent{int32(e.Type), toJSONPair(e.Kv), toJSONPair(e.PrevKv)})
	}
	return res
}
