// Package lifetime judges when leases have ended, from what clients were told who
// granted and renewed them and looked after their keys.
//
// An answer to a renewal promises its TTL from when it was asked for, at the
// earliest: the key is there as long, and whoever looks meanwhile sees it; nor does
// anybody renew a lease that is gone. What ended, stays so. Of a lease that nobody
// keeps, the key goes within a bound after its time has passed, if nothing
// disturbs the cluster.
package lifetime
