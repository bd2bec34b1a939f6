// Package client talks to the members of a cluster.
//
//	c, err := client.New(ctx, client.Config{Endpoints: []string{"127.0.0.1:2379"}})
//	_, err = c.Put(ctx, "key", "value")
//	res, err := c.Get(ctx, "key", client.WithPrefix())
//
// A Client is for concurrent use. It keeps one connection to each of its
// endpoints, made when it is needed and made again when it is lost, and spreads
// calls over those that stand: an endpoint that is down costs nothing but the
// attempts to reach it. A call waits for a connection as long as its context
// lets it, so give calls a deadline.
//
// Errors that a member has answered are found with errors.Is and the table of
// package errs:
//
//	if errors.Is(err, errs.Compacted) { ... }
//
// A call that its context has ended is found with context.DeadlineExceeded or
// context.Canceled, whoever noticed first; a write may have been made then.
//
// # What is sent twice
//
// Nothing that may have changed something. A call that only reads is sent again
// until its context ends when a connection was lost or a member could not
// answer (code Unavailable). A write is sent again only where it certainly was
// not made:
//
//   - it never left this process, because no connection was there; the call
//     waits for one;
//   - the peer has said on the level of HTTP/2 that it did not look at it
//     (REFUSED_STREAM, or a GOAWAY that names an earlier stream), once;
//   - errs.NoLeader and errs.ProposalDropped: the member had nobody to propose
//     it to, so it is in nobody's log;
//   - errs.NotSupportedForLearner, with several endpoints: a learner refuses
//     before it looks;
//   - errs.InvalidAuthToken, errs.AuthOldRevision and errs.UserEmpty, after a
//     new login, where the Config names a user: permission is judged before
//     anything is changed.
//
// Everything else is returned: a lost connection, a time-out, a member that
// stopped, too many requests. The caller knows whether the write may be made
// twice; a transaction that compares a revision may always be.
package client
