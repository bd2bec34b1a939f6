// Package mixed runs clusters of which some members are this program and some an
// upstream etcd 3.7, whose binary ETCD_PEER names, and holds them to one state:
// each side leads for a while, members are killed, stand still, and are replaced,
// while keys, leases, users and roles change through any of them, with
// authentication on and off. After every thousandth revision all must have the
// same hash, and after each round, and each single change of users or leases that
// nobody else works beside, the same leases with their keys, and the same users,
// roles and auth revision.
package mixed
