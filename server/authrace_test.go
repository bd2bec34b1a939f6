package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
)

// trap stops the first request that comes by once it is set.
type trap struct {
	set     atomic.Bool
	caught  chan struct{}
	release chan struct{}
}

func newTrap() *trap { return &trap{caught: make(chan struct{}, 1), release: make(chan struct{})} }

func (t *trap) pass() {
	if t.set.CompareAndSwap(true, false) {
		t.caught <- struct{}{}
		<-t.release
	}
}

// pipe holds what is proposed to other members, once it is shut.
type pipe struct {
	mu   sync.Mutex
	shut bool
	held []*raftpb.Message
	send func([]*raftpb.Message)
	some chan struct{}
}

func (p *pipe) around(send func([]*raftpb.Message)) func([]*raftpb.Message) {
	p.send = send
	return func(all []*raftpb.Message) {
		p.mu.Lock()
		defer p.mu.Unlock()
		pass := slices.DeleteFunc(slices.Clone(all), func(m *raftpb.Message) bool {
			if !p.shut || m.GetType() != raftpb.MsgProp {
				return false
			}
			p.held = append(p.held, m)
			select {
			case p.some <- struct{}{}:
			default:
			}
			return true
		})
		send(pass)
	}
}

func (p *pipe) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = false
	p.send(p.held)
	p.held = nil
}

// A request is stopped when it is authorised, and not proposed yet, or proposed and
// not applied. Meanwhile another connection, and another member where there is one,
// withdraws what it was authorised by. It must end as if it had come afterwards.
func TestRaceOfRequestsAndRights(t *testing.T) {
	for _, place := range []string{"one member", "the leader", "a follower"} {
		for _, point := range []string{"before it is proposed", "on its way to the leader"} {
			if point == "on its way to the leader" && place != "a follower" {
				continue // what is proposed at the leader is in the log at once
			}
			t.Run(place+", "+point, func(t *testing.T) { race(t, place, point) })
		}
	}
}

// withdrawal is a change of the users, and what a request of alice's comes to that
// it overtakes.
type withdrawal struct {
	name   string
	change func(root somebody)
	want   string
}

var withdrawals = []withdrawal{
	{"another password", func(root somebody) {
		must[pb.AuthUserChangePasswordResponse](root, "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"})
	}, invalidToken},
	{"the user is deleted", func(root somebody) {
		must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
	}, invalidToken},
	{"the user is deleted and made again", func(root somebody) {
		must[pb.AuthUserDeleteResponse](root, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})
		root.addUser("alice", "pw", "r")
	}, invalidToken},
	{"the role is revoked", func(root somebody) {
		must[pb.AuthUserRevokeRoleResponse](root, "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "r"})
	}, permissionDenied},
	{"the permission is revoked", func(root somebody) {
		must[pb.AuthRoleRevokePermissionResponse](root, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("k")})
	}, permissionDenied},
	{"others change", func(root somebody) { root.addUser("other", "pw") }, ""},
	{"rights are no more judged", func(root somebody) {
		must[pb.AuthDisableResponse](root, "Auth/AuthDisable", &pb.AuthDisableRequest{})
	}, ""},
}

// requests are what alice may ask as long as she may write k.
var requests = map[string]func(alice somebody) error{
	"put": func(alice somebody) error { return alice.put("k", "alice") },
	"delete": func(alice somebody) error {
		_, err := ask[pb.DeleteRangeResponse](alice, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("k")})
		return err
	},
	"transaction": func(alice somebody) error {
		_, err := ask[pb.TxnResponse](alice, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{
			RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("alice")}}}}},
		}}}})
		return err
	},
}

func race(t *testing.T, place, point string) {
	configs := []*Config{authConfig(t)}
	if place != "one member" {
		configs = clusterOf(t, 3)
	}
	stop := newTrap()
	pipes := make([]*pipe, len(configs))
	for i, c := range configs {
		c.BcryptCost = 4
		c.admitted = stop.pass
		pipes[i] = &pipe{some: make(chan struct{}, 1)}
		c.sending = pipes[i].around
	}
	members := startAll(t, configs)
	at, other := 0, 0
	if place != "one member" {
		leader := leaderOf(t, members)
		at, other = leader, (leader+1)%3
		if place == "a follower" {
			at, other = (leader+1)%3, (leader+2)%3
		}
	}
	here, there := somebody{t, dial(t, members[at]), ""}, somebody{t, dial(t, members[other]), ""}
	there.addUser("root", "r", "root")
	root := there
	for _, w := range withdrawals {
		for name, request := range requests {
			t.Run(w.name+", "+name, func(t *testing.T) {
				here, there, root := here, there, root
				here.t, there.t, root.t = t, t, t
				must[pb.AuthEnableResponse](root, "Auth/AuthEnable", &pb.AuthEnableRequest{})
				root = there.login("root", "r")
				defer func() {
					_, _ = ask[pb.AuthDisableResponse](root, "Auth/AuthDisable", &pb.AuthDisableRequest{})
					for _, name := range []string{"alice", "other"} {
						_, _ = ask[pb.AuthUserDeleteResponse](there, "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: name})
					}
					_, _ = ask[pb.AuthRoleDeleteResponse](there, "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "r"})
				}()
				root.addRole("r", permission(authpb.Permission_READWRITE, "k", ""))
				root.addUser("alice", "pw", "r")
				require.NoError(t, root.put("k", "root"))
				alice := there.login("alice", "pw")
				alice.conn = here.conn
				_, err := alice.get("k")
				require.NoError(t, err, "this member has heard of her")

				done := make(chan error, 1)
				if point == "before it is proposed" {
					stop.release = make(chan struct{})
					stop.set.Store(true)
					go func() { done <- request(alice) }()
					<-stop.caught
					w.change(root)
					close(stop.release)
				} else {
					p := pipes[at]
					p.mu.Lock()
					p.shut = true
					p.mu.Unlock()
					go func() { done <- request(alice) }()
					<-p.some
					w.change(root)
					p.open()
				}
				err = <-done
				v, failed := root.login0("root", "r").get("k")
				require.NoError(t, failed)
				if w.want != "" {
					require.EqualError(t, err, w.want)
					require.Equal(t, "root", v, "nothing has changed")
				} else {
					require.NoError(t, err, "it starts over by itself")
					require.NotEqual(t, "root", v)
				}
			})
		}
	}
}

// login0 is login where there may be nothing to log in to.
func (s somebody) login0(name, password string) somebody {
	r, err := ask[pb.AuthenticateResponse](somebody{s.t, s.conn, ""}, "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		return somebody{s.t, s.conn, ""}
	}
	return somebody{s.t, s.conn, r.Token}
}

// A serializable read takes rights and data from one view: as a right is withdrawn
// before a key is written, nobody who has lost it ever sees what was written.
func TestRaceOfReadsAndRights(t *testing.T) {
	m := start(t, authConfig(t))
	defer m.Close()
	anon := somebody{t, dial(t, m), ""}
	anon.addRole("r", permission(authpb.Permission_READ, "k", ""))
	anon.addUser("alice", "pw", "r")
	root := anon.enable()
	alice := anon.login("alice", "pw")
	reads := map[string]func() (string, error){
		"range": func() (string, error) {
			r, err := ask[pb.RangeResponse](alice, "KV/Range", &pb.RangeRequest{Key: []byte("k"), Serializable: true})
			if err != nil || len(r.Kvs) == 0 {
				return "", err
			}
			return string(r.Kvs[0].Value), nil
		},
		"transaction": func() (string, error) {
			r, err := ask[pb.TxnResponse](alice, "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
				RequestRange: &pb.RangeRequest{Key: []byte("k"), Serializable: true},
			}}}})
			if err != nil {
				return "", err
			}
			if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				return string(kvs[0].Value), nil
			}
			return "", nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var seen, refused atomic.Int64
	for name, read := range reads {
		wg.Go(func() {
			for ctx.Err() == nil {
				v, err := read()
				if err != nil {
					refused.Add(1)
				} else if seen.Add(1); v != "" && v != "public" {
					t.Errorf("%s: alice has read %q", name, v)
					return
				}
			}
		})
	}
	set := func(readable bool) {
		if readable {
			must[pb.AuthRoleGrantPermissionResponse](root, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission(authpb.Permission_READ, "k", "")})
			return
		}
		must[pb.AuthRoleRevokePermissionResponse](root, "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("k")})
	}
	for round := 0; round < 50 || seen.Load() < 20 || refused.Load() < 20; round++ {
		set(false)
		require.NoError(t, root.put("k", fmt.Sprint("secret ", round)))
		require.NoError(t, root.put("k", "public"))
		set(true)
		require.Less(t, round, 5000)
	}
	cancel()
	wg.Wait()
}
