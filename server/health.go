package server

import (
	"context"
	"errors"
	"sync/atomic"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/service"
)

// health is the member as the metrics ports judge it. They are served from the first
// moment on, long before clients are where a majority is missing: whoever watches the
// member must be able to tell one that waits from one that hangs.
type health struct {
	service atomic.Pointer[service.Service] // nil while the data is being opened
	serving atomic.Bool                     // clients are served
}

// What a member says that is on its way.
var (
	errNotOpen    = errors.New("the data is not open yet")
	errNotServing = errors.New("clients are not served yet")
)

// HasLeader is web.Member's.
func (h *health) HasLeader() bool {
	s := h.service.Load()
	return s != nil && s.HasLeader()
}

// Alarmed is web.Member's.
func (h *health) Alarmed(t etcdserverpb.AlarmType) bool {
	s := h.service.Load()
	return s != nil && s.Alarmed(t)
}

// Learner is web.Member's.
func (h *health) Learner() bool {
	s := h.service.Load()
	return s != nil && s.Learner()
}

// ClusterVersion is web.Member's.
func (h *health) ClusterVersion() string {
	if s := h.service.Load(); s != nil {
		return s.ClusterVersion()
	}
	return ""
}

// SerializableRead is web.Member's.
func (h *health) SerializableRead() error {
	if s := h.service.Load(); s != nil {
		return s.SerializableRead()
	}
	return errNotOpen
}

// LinearizableRead is web.Member's. Before clients are served it is refused at once:
// there is nobody to ask, or too much to catch up with.
func (h *health) LinearizableRead(ctx context.Context) error {
	if !h.serving.Load() {
		return errNotServing
	}
	return h.service.Load().LinearizableRead(ctx)
}
