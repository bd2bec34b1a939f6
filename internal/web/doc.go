// Package web is what a member answers over HTTP: health and version. It comes
// in over the client port, beside gRPC, and over ports of its own.
package web
