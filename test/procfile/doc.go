// Package procfile starts the members of the Procfile with npm's foreman, each on
// ports that are free.
package procfile
