package raft

import "fmt"

// discard drops what the library logs, but a panic stays a panic: the library
// calls it when its own invariants are broken.
type discard struct{}

func (discard) Debug(...any)            {}
func (discard) Debugf(string, ...any)   {}
func (discard) Error(...any)            {}
func (discard) Errorf(string, ...any)   {}
func (discard) Info(...any)             {}
func (discard) Infof(string, ...any)    {}
func (discard) Warning(...any)          {}
func (discard) Warningf(string, ...any) {}
func (discard) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (discard) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (discard) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (discard) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
