package token

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A secret that anybody guesses is no secret: the file's bytes are the key of HS512.
func TestAShortSecretIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("\n"), 0o600))
	c, err := Parse("jwt,sign-method=HS512,priv-key=" + path)
	require.NoError(t, err)
	p, err := New(Options{Config: c})
	if err == nil {
		p.Close()
	}
	require.Error(t, err)
}
