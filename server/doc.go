// Package server wires a member: configuration in, rooms built bottom up and
// taken down in reverse. It decides nothing that a room could decide.
//
// config.go holds the one table of settings; from a row of it come the flag,
// the environment variable, the key of the configuration file, the default, the
// help text and the check.
package server
