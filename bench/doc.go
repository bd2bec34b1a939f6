// Command bench measures our member beside another etcd binary and beside a
// plain grpc-go server that does nothing (bench/echo), and prints one table.
//
//	go run ./bench -peer $(which etcd)
//
// All servers share a machine with the client that drives them, so requests per
// second are the machine's. What carries over is the CPU time of the server's
// process for each request, and above all the ratio of two servers in one run.
//
// The servers take turns, A B C A B C; a sample lasts until the server has used
// two seconds of CPU, because the kernel counts ticks of 10 ms. Medians are
// printed with the lowest and the highest sample. A second echo, identical to
// the first, shows how far two ratios must lie apart to differ at all.
//
// Begin reading at run in main.go, then rows.go. docs/benchmarks.md says what
// each row means.
package main
