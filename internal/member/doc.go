// Package member is who belongs to the cluster: ids, members, the cluster's
// version.
//
// A View is immutable and published with the rest of the state. The state
// machine makes the next one by a pure function of the present one and a
// replicated request, and writes what changed into the same batch of the store.
package member
