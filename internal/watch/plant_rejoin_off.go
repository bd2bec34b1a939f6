//go:build !plant_rejoin

package watch

// plantRejoin is a bug that is planted to see whether the simulator finds it: with
// the build tag plant_rejoin, a watcher that has lagged is live again while the last
// change that was handed out is still to come for it.
const plantRejoin = false
