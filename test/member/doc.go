// Package member runs the etcd of this tree as a process of its own, for tests
// that need the real one: its end by a signal, its descriptors, its ports.
package member
