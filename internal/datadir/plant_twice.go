//go:build plant_twice

package datadir

const plantTwice = true
