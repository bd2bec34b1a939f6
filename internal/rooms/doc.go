// Package rooms holds the floor plan: which package may import which. It has no
// code but its test, which reads the imports as they are.
package rooms
