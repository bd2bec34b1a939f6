package service

import (
	"sync"

	"etcd.alt/api/errs"
	"etcd.alt/internal/auth"
	"etcd.alt/internal/watch"
)

// stands are the watchers of one stream as they stand on its caller's rights, for
// longer than a call. Rights may go while a watcher is being made, so that the lock
// is held over both.
type stands struct {
	s   *Service
	who credential
	hub *watch.Stream

	mu sync.Mutex
	// user is the caller's, who was made in the auth revision made; "" as long as
	// nobody had to be named.
	user string
	made uint64
	// rights are the caller's as they were looked at last.
	rights *auth.Rights
}

// stand has the watchers of a stream stand on the rights of whoever shows a
// credential. end is called when the stream is.
func (s *Service) stand(who credential, hub *watch.Stream) *stands {
	st := &stands{s: s, who: who, hub: hub}
	u := s.c.Users
	u.mu.Lock()
	u.mu.standing[st] = struct{}{}
	u.mu.Unlock()
	return st
}

func (st *stands) end() {
	u := st.s.c.Users
	u.mu.Lock()
	delete(u.mu.standing, st)
	u.mu.Unlock()
}

// create makes a watcher, if the caller may read what it watches. refused is the hub's
// reason against it, which the client was told.
func (st *stands) create(r watch.Request) (refused, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	users := st.s.c.Users.now.Load()
	st.recheckLocked(users) // whoever goes through the streams may not have come by yet
	by, err := st.subjectLocked(users)
	if err == nil {
		key := r.Key
		if len(key) == 0 {
			key = []byte{0} // the first of all
		}
		err = users.Check(by, auth.Read, key, r.End)
	}
	if err != nil {
		return nil, err
	}
	return st.hub.Create(r), nil
}

// subjectLocked is in whose name the stream is. A token is looked at when rights are
// judged first, and for each watcher that is made; what stands outlives it.
func (st *stands) subjectLocked(users *auth.View) (auth.Subject, error) {
	by, err := st.s.identify(users, st.who, true)
	if err != nil {
		return auth.Subject{}, err
	}
	if u, ok := users.User(by.User); ok {
		st.user, st.made, st.rights = u.Name, u.Made, users.Rights(u.Name)
	} else {
		st.rights = nil // rights are not judged: the next state that judges them looks
	}
	return by, nil
}

// recheck ends the watchers that a new state of the users does not allow. A user who
// has gone takes his rights along, also if another of his name has come. It costs next
// to nothing where there are no watchers, or the user's roles are what they were.
func (st *stands) recheck(users *auth.View) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.recheckLocked(users)
}

func (st *stands) recheckLocked(users *auth.View) {
	if !users.Enabled {
		return
	}
	by, err := auth.Subject{User: st.user, Revision: users.Revision}, error(nil)
	if u, ok := users.User(st.user); ok && u.Made == st.made {
		now := users.Rights(st.user)
		if st.rights != nil && st.rights.Equal(now) {
			return
		}
		st.rights = now
	} else if st.user != "" {
		err = errs.PermissionDenied
	}
	judged := st.user != ""
	st.hub.Review(func(key, end []byte) string {
		if !judged {
			by, err = st.subjectLocked(users)
			judged = true
		}
		why := err
		if why == nil {
			why = users.Check(by, auth.Read, key, end)
		}
		if why == nil {
			return ""
		}
		return reasonOf(why)
	})
}

// reasonOf is an error as the reason that a watcher is refused, or ends.
func reasonOf(err error) string { return toStatus(err).Error() }
