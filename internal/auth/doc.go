// Package auth keeps the users, their roles and what these may do, and judges by
// that. A State belongs to the state machine; a View of it is immutable and read by
// everybody, so that a request is judged in the very state that answers it.
//
// The auth revision counts the changes. Whoever is authorised in one View has its
// revision written into what is replicated, and the state machine refuses what was
// authorised under an older one (Subject.Check): between a verdict and its effect
// nothing can be withdrawn unnoticed.
package auth
