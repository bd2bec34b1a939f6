// Package policy is users, roles and what these may do told the plain way, to hold
// the product against: every permission is looked at for every key there can be, and
// a range is permitted if each key in it is. It is slow, obvious, and shares no code
// with what it checks.
package policy
