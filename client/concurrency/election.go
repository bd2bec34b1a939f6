package concurrency

import (
	"context"
	"errors"
	"iter"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/client"
	"etcd.alt/internal/recipe"
)

var (
	// ErrElectionNotLeader is the error of who does not lead, or no more.
	ErrElectionNotLeader = recipe.ErrNotLeader
	// ErrElectionNoLeader is Leader's where nobody is elected.
	ErrElectionNoLeader = recipe.ErrNoLeader
	// ErrCampaignExpired is the error of a campaign whose session ended before it was
	// won.
	ErrCampaignExpired = recipe.ErrCampaignExpired
)

// Election is one that one session wins at a time. It belongs to one goroutine.
type Election struct {
	s      *Session
	name   string
	won    *recipe.Leadership // nil if it is not won
	header *client.ResponseHeader
}

// NewElection returns the election of a name, not won.
func NewElection(s *Session, name string) *Election { return &Election{s: s, name: name} }

// ResumeElection returns an election that was won before, with the Key and Rev it
// had then.
func ResumeElection(s *Session, name, key string, rev int64) *Election {
	s.use(name)
	return &Election{s: s, name: name, won: &recipe.Leadership{Name: []byte(name), Key: []byte(key), Revision: rev, Lease: int64(s.lease)}}
}

// Campaign waits until the election is won, and proclaims value. Who came first is
// first. A caller whose ctx ends is a candidate no longer; a leader whose Campaign fails
// leads on, and may or may not have said value.
func (e *Election) Campaign(ctx context.Context, value string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.s.use(e.name)
	won, header, err := recipe.Campaign(ctx, e.s.queueing(e.name), e.s.ticket(e.name, value))
	if err != nil {
		if e.won != nil && e.s.lost(e.won.Key, e.won.Revision) {
			e.s.forget(e.name)
			e.won = nil
		}
		return errors.Join(err, e.s.unuse(e.name))
	}
	if e.won != nil { // it was counted when it was won first
		e.s.forget(e.name)
	}
	e.won, e.header = won, header
	return nil
}

// Proclaim changes what the leader says.
func (e *Election) Proclaim(ctx context.Context, value string) error {
	if e.won == nil {
		return ErrElectionNotLeader
	}
	kv := e.s.client.Recipes(nil)
	err := recipe.Recall(ctx, kv, e.won)
	if err == nil {
		var header *client.ResponseHeader
		if header, err = recipe.Proclaim(ctx, kv, e.won, []byte(value)); err == nil {
			e.header = header
		}
	}
	if errors.Is(err, ErrElectionNotLeader) {
		e.won = nil
		err = errors.Join(err, e.s.unuse(e.name))
	}
	return err
}

// Resign lets the next candidate lead, whoever else of the session has won the election:
// they have won it together. Who does not lead has resigned already.
func (e *Election) Resign(ctx context.Context) error {
	if e.won == nil {
		return nil
	}
	last := e.s.forget(e.name) // before the key goes: one that is put after that is nobody's
	header, err := e.resign(ctx)
	if err == nil && last {
		// It may be there again, put by a transaction that came late.
		err = e.s.abandon(ctx, e.name)
	}
	if err != nil {
		e.s.use(e.name)
		return err
	}
	e.won, e.header = nil, header
	return nil
}

func (e *Election) resign(ctx context.Context) (*client.ResponseHeader, error) {
	kv := e.s.client.Recipes(nil)
	if err := recipe.Recall(ctx, kv, e.won); err != nil && !errors.Is(err, ErrElectionNotLeader) {
		return nil, err
	}
	return recipe.Resign(ctx, kv, e.won)
}

// Leader is the record of who leads: its value is what the leader says, its creation
// revision a fencing token.
func (e *Election) Leader(ctx context.Context) (*client.KeyValue, error) {
	kv, _, err := recipe.Leader(ctx, e.s.client.Recipes(nil), []byte(e.name))
	return kv, err
}

// Observe is the function Observe, of this election.
func (e *Election) Observe(ctx context.Context) iter.Seq2[*client.GetResponse, error] {
	return Observe(ctx, e.s.client, e.name)
}

// Observe yields who leads the election of a name, each leader after it, and each
// change of what a leader says, until ctx ends or the loop does: the only one of Kvs,
// with the header of the answer that told it. An error is the last element. Who only
// observes needs no session.
func Observe(ctx context.Context, c *client.Client, name string) iter.Seq2[*client.GetResponse, error] {
	return func(yield func(*client.GetResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stopped := false
		err := recipe.Observe(ctx, c.Recipes(nil), []byte(name), func(kv *mvccpb.KeyValue, header *etcdserverpb.ResponseHeader) error {
			if !yield(&client.GetResponse{Header: header, Kvs: []*client.KeyValue{kv}}, nil) {
				stopped = true
				return context.Canceled
			}
			return nil
		})
		if !stopped {
			yield(nil, err)
		}
	}
}

// Key is the key that stands for the leadership, "" without one.
func (e *Election) Key() string {
	if e.won == nil {
		return ""
	}
	return string(e.won.Key)
}

// Rev is the leadership's fencing token, 0 without one.
func (e *Election) Rev() int64 {
	if e.won == nil {
		return 0
	}
	return e.won.Revision
}

// Header is that of the last answer that has changed something.
func (e *Election) Header() *client.ResponseHeader { return e.header }
