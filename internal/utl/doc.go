// Package utl is etcdutl: the commands that work on the files of members and on
// snapshots, without a cluster.
package utl
