// Package conformance proves from the outside that a member is etcd: the
// official client, Debian's etcdctl and, in package oracle, Debian's etcd stand
// against it. It is a module of its own, so that upstream's modules stay out of
// the product's.
package conformance
