// Package service is the interface of the wire over the rooms below: a request
// is decoded, checked, passed on, and its answer encoded. One file per service.
//
// A read is answered on the connection's own goroutine when it needs neither a
// barrier nor the disk; when it needs a barrier, on the goroutine that releases
// it; when it may need the disk, by a bounded pool of workers. A write is put
// into the inbox of package replica and answered by whoever applies it. No call
// has a goroutine of its own.
package service
