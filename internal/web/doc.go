// Package web is what a member answers over HTTP: health, version, and the RPCs
// as JSON. It comes in over the client port, beside gRPC, and over ports of its
// own.
package web
