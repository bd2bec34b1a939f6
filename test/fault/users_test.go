package fault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
	"etcd.alt/test/fault/rights"
)

// TestUsersUnderFaults has users log in and work while administrators change users,
// passwords, roles and rights, and faults come and go. Whatever a user was answered he
// had a right to, and he was refused nothing that he had.
func TestUsersUnderFaults(t *testing.T) {
	length := partOfRun(t)
	if os.Getenv("FAULT_CLIENT") != "" {
		t.Skip("There is nothing in it that another client would do otherwise.")
	}
	t.Parallel()
	for name, token := range map[string]func(t *testing.T) string{
		"simple": func(*testing.T) string { return "simple" },
		"jwt":    signed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := settingsOfRuns
			flag := token(t)
			for i := range s.args {
				s.args[i] = []string{"--auth-token", flag, "--bcrypt-cost", "4"}
			}
			c := start(t, s)
			doors := c.appoint(root)
			r := newRun(c, seed(t))
			r.record = &record{c: c, began: r.began}
			st := newStage(r, doors, name == "jwt")
			c.story = func() string { return r.story() + st.story() }
			defer func() { t.Logf("%v\n%s", st.tally, r.table()) }()
			end := time.Now().Add(length)
			for first := true; first || time.Now().Before(end); first = false {
				r.epochs++
				st.round(r.epochs)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// root is the administrator, and his password.
const root = "root"

// signed is the value of --auth-token for tokens that are signed.
func signed(t *testing.T) string {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return "jwt,sign-method=EdDSA,ttl=2h,priv-key=" + path
}

// appoint makes an administrator, who has the same password, switches authentication
// on, and has the cluster's clients be his. It returns clients of each member who are
// nobody.
func (c *cluster) appoint(name string) [size]*client.Client {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	_, err := c.anywhere.UserAdd(ctx, name, name)
	require.NoError(t, err)
	_, err = c.anywhere.RoleAdd(ctx, "root")
	require.NoError(t, err)
	_, err = c.anywhere.UserGrantRole(ctx, name, "root")
	require.NoError(t, err)
	_, err = c.anywhere.AuthEnable(ctx)
	require.NoError(t, err)
	nobodies := c.at
	log := func(config *client.Config) { config.Username, config.Password = name, name }
	for i, h := range c.hosts {
		c.at[i] = connect(t, []string{h.Address()}, log, quickly)
		c.asks[i] = own{c.at[i]}
	}
	c.anywhere = connect(t, []string{c.hosts[0].Address(), c.hosts[1].Address(), c.hosts[2].Address()}, log)
	c.asks[size] = own{c.anywhere}
	c.awaitServing(time.Minute)
	return nobodies
}

// stage is where administrators and users act.
type stage struct {
	r     *run
	doors [size]*client.Client // of those who show tokens
	// lasting says that tokens are good for as long as their passwords are.
	lasting  bool
	first    int64  // the revision that the keyspace had before
	revision uint64 // that of the users
	tally    rights.Tally

	mu struct {
		sync.Mutex
		policy rights.Policy
		people []*person
		news   news
		calls  []*rights.Call
		// changed counts the changes of users and roles that were acknowledged, unsure
		// those whose end nobody saw, named the names that were given.
		changed, unsure, named int
	}
}

func newStage(r *run, doors [size]*client.Client, lasting bool) *stage {
	s := &stage{r: r, doors: doors, lasting: lasting}
	res, err := r.c.anywhere.Put(r.c.t.Context(), "first", "")
	require.NoError(r.c.t, err)
	s.first = res.Header.Revision
	users, err := r.c.anywhere.AuthStatus(r.c.t.Context())
	require.NoError(r.c.t, err)
	s.revision = users.AuthRevision
	return s
}

// draws is a source of its own for one who acts.
func (s *stage) draws() *mathrand.Rand { return mathrand.New(mathrand.NewPCG(s.r.rng.Uint64(), 0)) }

func (s *stage) now() int64 { return s.r.record.now() }

const (
	administrators = 2
	visitors       = 10
)

// round has all act while a storm lasts, heals the cluster, and judges. In every fourth
// round a member is sent the state, in every fourth one is replaced.
func (s *stage) round(n int) {
	c := s.r.c
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	var acting sync.WaitGroup
	defer acting.Wait()
	defer cancel()
	for i := range administrators {
		a := &administrator{s: s, number: i, rng: s.draws()}
		acting.Go(func() { a.routineAdminister(ctx) })
	}
	for range visitors {
		v := &visitor{s: s, rng: s.draws(), tokens: map[*rights.Password]token{}}
		acting.Go(func() { v.routineVisit(ctx) })
	}
	until := time.Now().Add(epochLength)
	switch n % cycle {
	case 2:
		s.r.lag()
	case 0:
		s.r.replace()
	}
	s.r.storm(until)
	c.heal()
	c.awaitServing(time.Minute)
	s.r.sleep(1000, 1100) // for those who could do nothing
	cancel()
	acting.Wait()
	s.judge()
}

// judge judges all that was told since the beginning, and compares the members.
func (s *stage) judge() {
	t, c := s.r.c.t, s.r.c
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	users := c.agreed(ctx)
	s.mu.Lock() // nobody else is there any more
	defer s.mu.Unlock()
	var events []rights.Event
	for _, e := range c.since(s.first) {
		if strings.HasPrefix(e.Change.Key, "area") {
			events = append(events, rights.Event{Revision: e.Revision, Value: e.Change.Value})
		}
	}
	var err error
	s.tally, err = s.mu.policy.Judge(s.mu.calls, events)
	require.NoError(t, err)
	require.Positive(t, s.tally.Sure)
	require.Positive(t, s.tally.Rightly)
	least := s.revision + uint64(s.mu.changed)
	require.GreaterOrEqual(t, users.Revision, least, "an acknowledged change of users is lost")
	require.LessOrEqual(t, users.Revision, least+uint64(s.mu.unsure), "users were changed that nobody has changed")
	s.compare(ctx)
	s.r.answered, s.r.refused = s.tally.Answered, s.tally.Refused
	t.Logf("round %d: %v; %d changes of users, %d of unknown end", s.r.epochs, s.tally, s.mu.changed, s.mu.unsure)
}

// compare looks whether all members have the same hash.
func (s *stage) compare(ctx context.Context) {
	t, c := s.r.c.t, s.r.c
	t.Helper()
	now, err := c.anywhere.Get(ctx, "x")
	require.NoError(t, err)
	hashes := map[uint32]int{}
	for i, h := range c.hosts {
		_, err := c.at[i].Get(ctx, "x")
		require.NoError(t, err)
		res, err := c.at[i].HashKV(ctx, h.Address(), now.Header.Revision)
		require.NoError(t, err)
		hashes[res.Hash]++
	}
	require.Len(t, hashes, 1, "members have different hashes: %v", hashes)
}

// everybody is the users and roles of a cluster.
type everybody struct {
	Enabled  bool
	Revision uint64
	Users    map[string][]string // their roles
	Roles    map[string]string   // what they may do
}

// agreed waits until all members have the same users and roles.
func (c *cluster) agreed(ctx context.Context) everybody {
	c.t.Helper()
	var all [size]everybody
	c.persist(ctx, "members do not agree on users", func(ctx context.Context) error {
		for i := range size {
			var err error
			if all[i], err = c.users(ctx, i); err != nil {
				return err
			}
			if !reflect.DeepEqual(all[0], all[i]) {
				return fmt.Errorf("%s has %+v, %s has %+v", name(0), all[0], name(i), all[i])
			}
		}
		return nil
	})
	return all[0]
}

// users asks a member for all users and roles.
func (c *cluster) users(ctx context.Context, i int) (everybody, error) {
	all := everybody{Users: map[string][]string{}, Roles: map[string]string{}}
	status, err := c.at[i].AuthStatus(ctx)
	if err != nil {
		return all, err
	}
	all.Enabled, all.Revision = status.Enabled, status.AuthRevision
	users, err := c.at[i].UserList(ctx)
	if err != nil {
		return all, err
	}
	for _, user := range users.Users {
		res, err := c.at[i].UserGet(ctx, user)
		if err != nil {
			return all, err
		}
		all.Users[user] = res.Roles
	}
	roles, err := c.at[i].RoleList(ctx)
	if err != nil {
		return all, err
	}
	for _, role := range roles.Roles {
		res, err := c.at[i].RoleGet(ctx, role)
		if err != nil {
			return all, err
		}
		all.Roles[role] = fmt.Sprint(res.Perm)
	}
	return all, nil
}

// story is what all were told.
func (s *stage) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, one := range s.mu.policy.Passwords {
		fmt.Fprintln(&b, one)
	}
	for _, one := range s.mu.policy.Rights {
		fmt.Fprintln(&b, one)
	}
	for _, one := range s.mu.calls {
		fmt.Fprintln(&b, one)
	}
	return b.String()
}
