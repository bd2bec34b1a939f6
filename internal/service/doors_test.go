package service

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/wire"
)

// TestEveryMethodHasADoor walks the services as they are described, and as they are
// served.
func TestEveryMethodHasADoor(t *testing.T) {
	described := map[string]bool{}
	for _, m := range wire.Methods() {
		described[m.Path] = true
		require.NotEqual(t, shut, doors[m.Path], m.Path)
	}
	require.Greater(t, len(described), 45)
	for path := range doors {
		require.True(t, described[path], path)
	}
	for _, m := range (&Service{}).Methods() {
		require.NotEqual(t, shut, doors[m.Path], m.Path)
	}
}
