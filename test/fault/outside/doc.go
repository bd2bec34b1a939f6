// Package outside is what a run says to a client that is a program of its own,
// written over another client library: a request on each line of its standard
// input, as JSON, and a reply on each line of its standard output, in any order.
// The program ends when its input does. Its arguments are lists of endpoints,
// with commas between them; a request names the list that it is for.
package outside
