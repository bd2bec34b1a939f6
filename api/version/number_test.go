package version

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{"3.7": "3.7.0", "3.7.1": "3.7.0", "10.0.22": "10.0.0"} {
		n, ok := Parse(text)
		require.True(t, ok, text)
		require.Equal(t, want, n.String())
	}
	for _, text := range []string{"", "3", "3.", "3.7.1.2", "v3.7", "3.07", "-3.7", "3.7.1-rc.0", "3.70000", "not_decided"} {
		_, ok := Parse(text)
		require.False(t, ok, text)
	}
	require.True(t, Number{3, 6}.Less(Number{3, 7}))
	require.True(t, Number{2, 9}.Less(Number{3, 0}))
	require.False(t, Number{3, 7}.Less(Number{3, 7}))
}
