// Package network stands between members that run as processes on one machine,
// and does to their connections what networks do: cuts, also of one direction,
// delay, bytes that come late, connections that are reset.
//
// Every member has a door, the address that it advertises to the others; behind
// it is the address on which it listens. Who dials says so in the head of the
// first request of a connection (X-Server-From), so each ordered pair of members
// is a link of its own. A link is about the bytes of one direction, whoever has
// dialed: what member 0 writes into a stream that member 1 has dialed goes over
// the link from 0 to 1, as does what it sends in requests of its own.
//
// Pages that members ask for without saying who they are pass as long as nothing
// is cut to or from the member that is asked.
package network
