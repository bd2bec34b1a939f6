// Package audit writes down who has asked for what, and what became of it: a file of
// JSON, a line for each request. Nobody waits for it: what comes faster than the disk
// takes it is dropped, and counted.
//
// What a line has: "time" (RFC 3339, UTC), "user" (none where rights are not judged, or
// nobody was named), "address", "rpc", "keys" (each "key" and, for a range, "range_end";
// "key_base64" and "range_end_base64" where they are not text), "more" (how many keys
// beyond the first hundred), "lease", "names" (of users and roles, as the request has
// them), "revision" (the keyspace's as the request ended) and "verdict" (the gRPC code).
// Values, passwords and tokens are in none of them.
package audit
