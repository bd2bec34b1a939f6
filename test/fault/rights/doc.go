// Package rights holds what clients were told while an administrator changed who
// may do what, and judges it.
//
// A right or a password holds in a Span, of which nobody knows the ends exactly:
// it may hold from when it was asked for until its end was acknowledged, and it
// must from when it was acknowledged until its end was asked for. What makes spans
// has to see to it that a change whose end nobody saw cannot come back: names of
// users and roles are not used again, and who was given something in such a change
// is deprived of it in a way that the change cannot undo.
//
// It is judged that
//
//   - no call was answered whose right or password was surely gone, or never
//     there, when it was sent: for a write in the moment that its place among the
//     revisions leaves to it, for a serializable read also before that, since its
//     member may lag;
//   - no write was made that was refused or that nobody sent, none twice, and
//     none that was acknowledged is missing;
//   - no call was refused, serializable reads aside, whose right and password
//     surely held all along, and no login.
package rights
