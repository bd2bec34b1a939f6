// Package mixed runs clusters of which some members are this program and some an
// upstream etcd 3.7, whose binary ETCD_PEER names, and holds them to one state:
// each side leads for a while, members are killed, stand still, and are replaced,
// and after every thousandth revision all must have the same hash.
package mixed
