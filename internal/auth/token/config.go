package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is the value of --auth-token: "simple", or "jwt" and its options,
// "jwt,key=value,...". The zero value is "simple". It is a flag.Value.
type Config struct {
	JWT bool // else all else is empty

	SignMethod string        // how our tokens are signed, and those under PublicKeys
	PublicKeys []string      // PEM files of keys and certificates
	PrivateKey string        // the PEM file of the key to sign with; for HS* the secret
	KeySet     string        // a JSON file of keys, RFC 7517
	TTL        time.Duration // of our tokens; 0: they do not expire, and no token needs to
	Issuer     string        // what "iss" must be; empty for anything
	Audience   string        // what "aud" must have; empty for anything
	// AnyRevision lets a token without a fingerprint stand whatever its revision:
	// check-revision=false.
	AnyRevision bool

	text  string
	older bool // it came from the flags that have a name for each option
}

const (
	defaultTTL = 5 * time.Minute
	// never is the ttl of tokens that do not expire.
	never = "never"
	// maxKeys bounds the signatures that one token may cost.
	maxKeys = 16
)

// signMethods are the algorithms that can be asked for. "none" is not one.
var signMethods = strings.Fields("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 HS256 HS384 HS512 EdDSA")

// Parse reads a value of --auth-token. It opens no file.
func Parse(spec string) (Config, error) {
	kind, rest, more := strings.Cut(spec, ",")
	switch kind {
	case "simple":
		if more {
			return Config{}, errors.New("simple tokens have no options")
		}
		return Config{text: spec}, nil
	case "jwt":
	default:
		return Config{}, fmt.Errorf("%q is not a kind of token: it must be simple or jwt", kind)
	}
	c := Config{JWT: true, TTL: defaultTTL, text: spec}
	seen := map[string]bool{}
	for more {
		var option string
		option, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(option, "=")
		switch {
		case value == "":
			return Config{}, fmt.Errorf("option %q is not of the form name=value", option)
		case seen[name] && name != "pub-key":
			return Config{}, fmt.Errorf("option %s is there twice", name)
		}
		seen[name] = true
		if err := c.set(name, value); err != nil {
			return Config{}, err
		}
	}
	return c, c.check()
}

func (c *Config) set(name, value string) (err error) {
	switch name {
	case "sign-method":
		c.SignMethod = value
	case "pub-key":
		c.PublicKeys = append(c.PublicKeys, value)
	case "priv-key":
		c.PrivateKey = value
	case "jwks":
		c.KeySet = value
	case "issuer":
		c.Issuer = value
	case "audience":
		c.Audience = value
	case "ttl":
		c.TTL, err = parseTTL(value)
	case "check-revision":
		if value != "true" && value != "false" {
			return fmt.Errorf("check-revision is %q; it must be true or false", value)
		}
		c.AnyRevision = value == "false"
	default:
		return fmt.Errorf("option %q is not known: there are sign-method, pub-key, priv-key, ttl, jwks, issuer, audience and check-revision", name)
	}
	return err
}

func parseTTL(value string) (time.Duration, error) {
	if value == never {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("ttl is %q; it must be a duration of 1s or more, or %s for tokens that do not expire", value, never)
	}
	return d, nil
}

// check refuses options that do not make a provider.
func (c *Config) check() error {
	secret := strings.HasPrefix(c.SignMethod, "HS")
	switch {
	case c.SignMethod != "" && !slices.Contains(signMethods, c.SignMethod):
		return fmt.Errorf("%s is %q; it must be one of %s", c.option("sign-method"), c.SignMethod, strings.Join(signMethods, ", "))
	case len(c.PublicKeys) == 0 && c.PrivateKey == "" && c.KeySet == "":
		return fmt.Errorf("jwt needs a key: %s, %s or jwks", c.option("pub-key"), c.option("priv-key"))
	case c.SignMethod == "" && (len(c.PublicKeys) > 0 || c.PrivateKey != ""):
		return fmt.Errorf("%s is needed beside %s and %s", c.option("sign-method"), c.option("pub-key"), c.option("priv-key"))
	case secret && (len(c.PublicKeys) > 0 || c.KeySet != ""):
		return fmt.Errorf("%s signs with the secret of %s alone, without %s or jwks", c.SignMethod, c.option("priv-key"), c.option("pub-key"))
	case len(c.PublicKeys) > maxKeys:
		return fmt.Errorf("there are %d times %s, and %d at most", len(c.PublicKeys), c.option("pub-key"), maxKeys)
	}
	return nil
}

// option is what an option is called where it came from.
func (c *Config) option(name string) string {
	if c.older {
		return "--auth-jwt-" + name
	}
	return name
}

// Set is flag.Value's.
func (c *Config) Set(spec string) error {
	parsed, err := Parse(spec)
	if err == nil {
		*c = parsed
	}
	return err
}

// String is flag.Value's: the text that was parsed.
func (c *Config) String() string {
	if c.text == "" {
		return "simple"
	}
	return c.text
}

// Older are the flags that spelled the options out before --auth-token did:
// --auth-token-type, --auth-jwt-sign-method, --auth-jwt-pub-key and
// --auth-jwt-priv-key.
type Older struct {
	Type, SignMethod, PublicKey, PrivateKey string
}

// Config is what they mean. Errors name the flag.
func (o Older) Config() (Config, error) {
	keys := o.SignMethod != "" || o.PublicKey != "" || o.PrivateKey != ""
	switch o.Type {
	case "", "simple":
		if keys {
			return Config{}, errors.New("--auth-jwt-sign-method, --auth-jwt-pub-key and --auth-jwt-priv-key need --auth-token-type jwt")
		}
		return Config{}, nil
	case "jwt":
	default:
		return Config{}, fmt.Errorf("--auth-token-type is %q; it must be simple or jwt", o.Type)
	}
	c := Config{JWT: true, SignMethod: o.SignMethod, PrivateKey: o.PrivateKey, TTL: defaultTTL, older: true}
	c.text = "jwt,sign-method=" + o.SignMethod
	if o.PublicKey != "" {
		c.PublicKeys = []string{o.PublicKey}
		c.text += ",pub-key=" + o.PublicKey
	}
	if o.PrivateKey != "" {
		c.text += ",priv-key=" + o.PrivateKey
	}
	return c, c.check()
}
