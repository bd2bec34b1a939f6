// Package compactor decides when the history of the keyspace is given up, and
// from which revision on it is kept. It has no clock: whoever owns a Policy asks
// it, at the pace that it names, and does what it says.
package compactor
