//go:build !plant_noauthrev

package auth

// plantNoAuthRevision is a bug that is planted to see whether the tests find it:
// with the build tag plant_noauthrev, what was authorised under an older auth
// revision is not refused.
const plantNoAuthRevision = false
