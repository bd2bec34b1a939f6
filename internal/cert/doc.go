// Package cert makes TLS configurations from files and follows the files: a
// certificate, key, CA or CRL that is replaced on disk is used from the next
// handshake on, without a restart. Connections that stand are left alone.
//
// # Nouns
//
//   - Files: the paths, and what the settings are called that gave them.
//   - Names: whose certificates are taken, of those that are signed.
//   - SelfSigned: a pair that is made where none is given.
//   - Server, Client: the two sides of a connection, each over the same Files.
//
// # Invariants
//
//   - There is no goroutine and no timer: who begins a handshake looks at the
//     files' modification times first, a few system calls beside a signature.
//   - Files that cannot be used never take the place of those that could: the
//     last good ones stay in force, and what is wrong is logged once.
//   - A session that is resumed was begun under the files that are in force: when
//     they change, every client shows its certificate again.
//   - No bytes of a key reach a log or an error.
package cert
