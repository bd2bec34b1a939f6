// Package member runs members as child processes: ours, built from this tree,
// and the peer, Debian's etcd 3.4, which stands for what etcd has always
// answered.
//
// A Member owns its process, its ports and a temporary directory; Close gives
// all of them back. The processes die with the one that started them.
package member
