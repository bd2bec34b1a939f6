package token

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	c, err := Parse("jwt,pub-key=a.pub,pub-key=b.pub,priv-key=a,sign-method=RS512,ttl=10m,jwks=k.json,issuer=us,audience=we,check-revision=false")
	require.NoError(t, err)
	require.Equal(t, "jwt,pub-key=a.pub,pub-key=b.pub,priv-key=a,sign-method=RS512,ttl=10m,jwks=k.json,issuer=us,audience=we,check-revision=false", c.String())
	c.text = ""
	require.Equal(t, Config{JWT: true, SignMethod: "RS512", PublicKeys: []string{"a.pub", "b.pub"}, PrivateKey: "a", KeySet: "k.json",
		TTL: 10 * time.Minute, Issuer: "us", Audience: "we", AnyRevision: true}, c)

	require.NoError(t, c.Set("jwt,sign-method=HS256,priv-key=a"))
	require.Equal(t, 5*time.Minute, c.TTL)
	require.NoError(t, c.Set("jwt,jwks=a,ttl=never"))
	require.Zero(t, c.TTL)
	require.NoError(t, c.Set("simple"))
	require.False(t, c.JWT)
	require.Equal(t, "simple", new(Config).String())
	require.Error(t, c.Set("jwt"))
	require.Equal(t, "simple", c.String())

	older, err := Older{Type: "jwt", SignMethod: "RS256", PublicKey: "a.pub", PrivateKey: "a"}.Config()
	require.NoError(t, err)
	same, err := Parse(older.String())
	require.NoError(t, err)
	older.older = false
	require.Equal(t, same, older)
	older, err = Older{Type: "simple"}.Config()
	require.NoError(t, err)
	require.False(t, older.JWT)
}

func TestParseRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                 `"" is not a kind of token`,
		"JWT":                              `"JWT" is not a kind of token: it must be simple or jwt`,
		"simple,ttl=5m":                    "simple tokens have no options",
		"jwt":                              "jwt needs a key: pub-key, priv-key or jwks",
		"jwt,":                             `option "" is not of the form name=value`,
		"jwt,pub-key":                      `option "pub-key" is not of the form name=value`,
		"jwt,pub-key=":                     `option "pub-key=" is not of the form name=value`,
		"jwt,key=a":                        `option "key" is not known`,
		"jwt,priv-key=a,priv-key=b":        "option priv-key is there twice",
		"jwt,priv-key=a":                   "sign-method is needed beside",
		"jwt,priv-key=a,sign-method=none":  `sign-method is "none"; it must be one of RS256`,
		"jwt,priv-key=a,sign-method=rs256": `sign-method is "rs256"`,
		"jwt,pub-key=a,sign-method=HS256":  "HS256 signs with the secret of priv-key alone",
		"jwt,priv-key=a,jwks=b,sign-method=HS256":                  "HS256 signs with the secret of priv-key alone",
		"jwt,jwks=a,ttl=0":                                         `ttl is "0"; it must be a duration of 1s or more, or never`,
		"jwt,jwks=a,ttl=-5m":                                       `ttl is "-5m"`,
		"jwt,jwks=a,ttl=10ms":                                      `ttl is "10ms"`,
		"jwt,jwks=a,ttl=long":                                      `ttl is "long"`,
		"jwt,jwks=a,check-revision=no":                             `check-revision is "no"; it must be true or false`,
		"jwt,sign-method=RS256" + strings.Repeat(",pub-key=a", 17): "there are 17 times pub-key, and 16 at most",
	} {
		_, err := Parse(spec)
		require.ErrorContains(t, err, want, spec)
	}
	for _, tc := range []struct {
		older Older
		want  string
	}{
		{Older{PublicKey: "a"}, "need --auth-token-type jwt"},
		{Older{Type: "simple", SignMethod: "RS256"}, "need --auth-token-type jwt"},
		{Older{Type: "opaque"}, `--auth-token-type is "opaque"; it must be simple or jwt`},
		{Older{Type: "jwt"}, "jwt needs a key: --auth-jwt-pub-key, --auth-jwt-priv-key"},
		{Older{Type: "jwt", PublicKey: "a"}, "--auth-jwt-sign-method is needed beside --auth-jwt-pub-key"},
		{Older{Type: "jwt", PublicKey: "a", SignMethod: "X"}, `--auth-jwt-sign-method is "X"`},
	} {
		_, err := tc.older.Config()
		require.ErrorContains(t, err, tc.want)
	}
}
