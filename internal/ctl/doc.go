// Package ctl is etcdctl: the commands that talk to a cluster through package
// client.
//
// Main reads the command line; each command has a file of its own with its
// flags, its calls and, as one shown, its output in every format it has.
// Whatever goes wrong is returned up to Main as an error, which knows its exit
// status; only Main and the commands that go on after a failure write to stderr.
package ctl
