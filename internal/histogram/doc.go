// Package histogram counts durations in fixed buckets, for hot paths: to observe
// one takes no lock and no memory, an addition to a bucket and one to a sum. Who
// observes from many goroutines spreads them over lanes, so that they do not
// fight over a cache line.
package histogram
