// Package concurrency is locks and elections among clients.
//
//	s, err := concurrency.NewSession(ctx, c, concurrency.WithTTL(10))
//	defer s.Close(ctx)
//	m := concurrency.NewMutex(s, "locks/printer")
//	err = m.Lock(ctx)
//	defer m.Unlock(ctx)
//
// A Session is a lease that is kept alive. What is held is held with it: when its
// process dies, or is cut off for longer than the TTL, others get what it had. It has
// one key for a name: all its locks and elections of that name are one. Others
// may get it before the process knows, whose clock may have stood still: who guards
// something with a lock gives whatever it guards the lock's Revision, a fencing
// token, and has that refuse what comes with a lower one.
package concurrency
