package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"etcd.alt/api/authpb"
	"etcd.alt/internal/store"
)

// The records: one of the state's own, and one for each user and role. A user's is
// the auth revisions of User.Made and Changed, then an authpb.User; a role's is an
// authpb.Role.
const (
	metaRecord = 'm'
	userRecord = 'u'
	roleRecord = 'r'
)

func userKey(name string) []byte { return append([]byte{userRecord}, name...) }

func roleKey(name string) []byte { return append([]byte{roleRecord}, name...) }

// errRecord is a record that is not what it should be.
var errRecord = errors.New("the record is damaged")

// Load reads the state in a store.
func Load(from *store.Store) (*State, error) {
	s := newState()
	records := from.Space(store.SpaceAuth, nil)
	defer records.Close()
	for records.Next() {
		key := string(records.Key())
		value, err := records.Value()
		if err == nil {
			err = s.load(key, value)
		}
		if err != nil {
			return nil, fmt.Errorf("auth: record %q: %w", key, err)
		}
	}
	if err := records.Close(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return s, nil
}

func (s *State) load(key string, value []byte) error {
	switch {
	case key == "":
		return errRecord
	case key[0] == metaRecord:
		if len(key) != 1 || len(value) != 17 || value[0] > 1 {
			return errRecord
		}
		s.enabled = value[0] == 1
		s.revision, s.disabled = binary.BigEndian.Uint64(value[1:]), binary.BigEndian.Uint64(value[9:])
	case key[0] == userRecord:
		if len(value) < 16 {
			return errRecord
		}
		var stored authpb.User
		if err := stored.UnmarshalVT(value[16:]); err != nil {
			return err
		}
		u := &User{
			Name: string(stored.Name), Hash: stored.Password, NoPassword: stored.Options.GetNoPassword(), Roles: stored.Roles,
			Made: binary.BigEndian.Uint64(value), Changed: binary.BigEndian.Uint64(value[8:]),
		}
		if u.Name != key[1:] || !slices.IsSorted(u.Roles) {
			return errRecord
		}
		s.putUser(u)
	case key[0] == roleRecord:
		var stored authpb.Role
		if err := stored.UnmarshalVT(value); err != nil {
			return err
		}
		if string(stored.Name) != key[1:] {
			return errRecord
		}
		s.putRole(&Role{Name: key[1:], Permissions: stored.KeyPermission})
	default:
		return errRecord
	}
	return nil
}

// changed counts a change.
func (s *State) changed(b *store.Batch) {
	s.revision++
	s.view = nil
	s.writeMeta(b)
}

func (s *State) writeMeta(b *store.Batch) {
	value := make([]byte, 1, 17)
	if s.enabled {
		value[0] = 1
	}
	value = binary.BigEndian.AppendUint64(value, s.revision)
	b.Set(store.SpaceAuth, []byte{metaRecord}, binary.BigEndian.AppendUint64(value, s.disabled))
}

// setUser puts a user in, whose strings may lie in memory that is used again.
func (s *State) setUser(b *store.Batch, u *User) {
	u.Name = strings.Clone(u.Name)
	u.Roles = slices.Clone(u.Roles) // those there are may be in views
	for i, role := range u.Roles {
		u.Roles[i] = strings.Clone(role)
	}
	s.putUser(u)
	stored := &authpb.User{Name: []byte(u.Name), Password: u.Hash, Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword}}
	value := binary.BigEndian.AppendUint64(nil, u.Made)
	value = binary.BigEndian.AppendUint64(value, u.Changed)
	b.Set(store.SpaceAuth, userKey(u.Name), append(value, encoded(stored)...))
}

// setRole puts a role in, whose name may lie in memory that is used again.
func (s *State) setRole(b *store.Batch, r *Role) {
	r.Name = strings.Clone(r.Name)
	s.putRole(r)
	b.Set(store.SpaceAuth, roleKey(r.Name), encoded(&authpb.Role{Name: []byte(r.Name), KeyPermission: r.Permissions}))
}

// perRecord is what a record takes beside its strings, about.
const perRecord = 128

func (u *User) size() int {
	n := perRecord + len(u.Name) + len(u.Hash)
	for _, role := range u.Roles {
		n += len(role) + 16
	}
	return n
}

func (r *Role) size() int {
	n := perRecord + len(r.Name)
	for _, p := range r.Permissions {
		n += 2*perRecord + 2*len(p.Key) + len(p.RangeEnd) // once more as it is looked up
	}
	return n
}

func (s *State) putUser(u *User) {
	if old, ok := s.users.Set(u.Name, u); ok {
		s.bytes -= old.size()
	}
	s.bytes += u.size()
}

func (s *State) putRole(r *Role) {
	if old, ok := s.roles.Set(r.Name, r); ok {
		s.bytes -= old.size()
	}
	s.bytes += r.size()
}

func encoded(m interface{ MarshalVT() ([]byte, error) }) []byte {
	b, err := m.MarshalVT()
	if err != nil {
		panic(err) // messages of bytes and numbers have no reason to fail
	}
	return b
}
