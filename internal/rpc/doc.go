// Package rpc is the RPC engine: a gRPC-over-HTTP/2 server made for many small
// calls. It knows nothing of etcd.
//
// # Nouns
//
//   - Server: methods, limits, listeners; owns every connection and goroutine.
//   - Conn: one client connection. One goroutine (routineConn) reads its frames
//     and runs the inline handlers of complete calls in place; replies gather
//     in the connection's out-buffer and leave in one write when everything
//     read so far has been handled.
//   - Call: one RPC. An inline handler answers it before it returns, or keeps
//     it (Keep) and answers later from any goroutine.
//   - Stream: a Call whose handler has a goroutine of its own, with Recv and
//     Send under flow control; also for slow unary calls.
//   - LocalCall: a call from inside the process, on behalf of an HTTP request;
//     its handler cannot tell it from one that came over the wire.
//   - Batch: calls answered together by another goroutine, each connection
//     flushed once.
//
// # Invariants
//
//   - Only a connection's writer (routineWrite) blocks on its socket. Everyone
//     else appends to the out-buffer and tries one non-blocking write; what does
//     not fit is the writer's. A TLS connection is always written by its writer.
//   - Exactly one of reply, failure, deadline, reset and loss decides a call:
//     Call.answered is set once, under Conn.mu.
//   - What a peer can make a connection hold is bounded: see Limits. Replies
//     waiting beyond Limits.WriteBuffer stop new handlers from running; bytes
//     waiting for the socket beyond it stop the reading. Streams are bounded one
//     by one, so that some left unread do not stop the other calls.
//   - The connection's receive window is credited when a message has been
//     handled; bytes of a message still incomplete count against
//     Limits.PartialBytes instead, so that several large messages that arrive
//     interleaved cannot lock each other out.
//   - Control frames (PING and SETTINGS acks, RST_STREAM, WINDOW_UPDATE) leave
//     before any queued DATA.
//
// # Locks
//
// There is one lock per connection, Conn.mu. Code whose name ends in Locked
// runs under it. No handler and no callback runs under it, except the
// marshalling of a small reply, and Stream.Room's, which only hands over. Server.mu is never taken inside Conn.mu.
package rpc
