//go:build plant_noauthrev

package auth

const plantNoAuthRevision = true
