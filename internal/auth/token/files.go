package token

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// load reads the files that c names. An error names option and file.
func (c *Config) load() (*keySet, error) {
	if strings.HasPrefix(c.SignMethod, "HS") {
		return c.loadSecret()
	}
	var keys []key
	for _, path := range c.PublicKeys {
		more, err := c.loadPublic(path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	var private any
	signer := -1
	if c.PrivateKey != "" {
		k, p, err := c.loadPrivate()
		if err != nil {
			return nil, err
		}
		if private, signer = p, slices.IndexFunc(keys, k.same); signer < 0 {
			if len(keys) > 0 {
				return nil, fmt.Errorf("%s %s is not the private key of %s %s", c.option("priv-key"), c.PrivateKey, c.option("pub-key"), strings.Join(c.PublicKeys, ", "))
			}
			keys, signer = append(keys, k), 0
		}
	}
	if c.KeySet != "" {
		more, err := c.loadKeySet()
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("there are %d keys in %s, and %d at most", len(keys), strings.Join(c.paths(), ", "), maxKeys)
	}
	return newKeySet(keys, signer, private), nil
}

// leastSecret is the least size of a secret, in bytes.
const leastSecret = 16

func (c *Config) loadSecret() (*keySet, error) {
	fail := c.failure("priv-key", c.PrivateKey)
	secret, err := readFile(c.PrivateKey)
	switch {
	case err != nil:
		return nil, fail(err)
	case len(secret) == 0:
		return nil, fail(errors.New("it is empty"))
	case len(secret) < leastSecret:
		return nil, fail(fmt.Errorf("it has %d bytes; a secret of fewer than %d could be guessed", len(secret), leastSecret))
	}
	// What is public must not become what is secret.
	if block, _ := pem.Decode(secret); block != nil && (strings.HasSuffix(block.Type, "PUBLIC KEY") || block.Type == "CERTIFICATE") {
		return nil, fail(fmt.Errorf("it holds a %s, which is no secret to sign with %s", block.Type, c.SignMethod))
	}
	return newKeySet([]key{secretKey(secret, c.SignMethod)}, 0, secret), nil
}

// loadPublic reads a PEM file of public keys, or the key of its first certificate.
func (c *Config) loadPublic(path string) ([]key, error) {
	fail := c.failure("pub-key", path)
	data, err := readFile(path)
	if err != nil {
		return nil, fail(err)
	}
	var keys []key
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		public, err := parsePublic(block)
		if err != nil {
			return nil, fail(err)
		}
		k, err := publicKey(public, "", c.SignMethod)
		if err != nil {
			return nil, fail(err)
		}
		if keys = append(keys, k); block.Type == "CERTIFICATE" {
			break // what follows are those that have signed it
		}
		if len(keys) > maxKeys {
			return nil, fail(fmt.Errorf("it holds more than %d keys", maxKeys))
		}
	}
	if len(keys) == 0 {
		return nil, fail(errors.New("there is no PEM block in it"))
	}
	return keys, nil
}

func parsePublic(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("it holds a %s, not a public key", block.Type)
}

// loadPrivate reads the private key and derives the public one.
func (c *Config) loadPrivate() (k key, private crypto.Signer, err error) {
	fail := c.failure("priv-key", c.PrivateKey)
	data, err := readFile(c.PrivateKey)
	if err != nil {
		return k, nil, fail(err)
	}
	if private, err = parsePrivate(data); err != nil {
		return k, nil, fail(err)
	}
	if k, err = publicKey(private.Public(), "", c.SignMethod); err != nil {
		return k, nil, fail(err)
	}
	if err := k.signs(private); err != nil {
		return k, nil, fail(fmt.Errorf("it cannot sign with %s: %w", c.SignMethod, err))
	}
	return k, private, nil
}

func parsePrivate(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var private any
		var err error
		switch {
		case block.Type == "EC PARAMETERS":
			continue // openssl writes them before the key
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errors.New("it is encrypted, and there is no way to give its passphrase")
		case block.Type == "RSA PRIVATE KEY":
			private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			return nil, fmt.Errorf("it holds a %s, not a private key", block.Type)
		}
		if err != nil {
			// The library's words may tell of the key.
			return nil, fmt.Errorf("the %s in it cannot be parsed", block.Type)
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return nil, errors.New("it is a key of a kind that signs no tokens")
		}
		return signer, nil
	}
	return nil, errors.New("there is no PEM block in it")
}

func (c *Config) loadKeySet() ([]key, error) {
	fail := c.failure("jwks", c.KeySet)
	data, err := readFile(c.KeySet)
	if err != nil {
		return nil, fail(err)
	}
	keys, err := parseKeySet(data, c.SignMethod)
	if err != nil {
		return nil, fail(err)
	}
	return keys, nil
}

// failure puts the names of option and file before an error.
func (c *Config) failure(option, path string) func(error) error {
	return func(err error) error {
		var at *os.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("%s %s: %w", c.option(option), path, err)
	}
}

// named puts the flag before an error of load, which has the option's name.
func (c *Config) named(err error) error {
	if c.older {
		return err
	}
	return fmt.Errorf("--auth-token: %w", err)
}

// paths are the files that c names.
func (c *Config) paths() []string {
	all := slices.Clone(c.PublicKeys)
	for _, path := range []string{c.PrivateKey, c.KeySet} {
		if path != "" {
			all = append(all, path)
		}
	}
	return all
}

// look takes a digest of the files, to see when they change. A file that cannot be
// read has one too.
func (c *Config) look() [32]byte {
	h := sha256.New()
	for _, path := range c.paths() {
		data, err := readFile(path)
		fmt.Fprintf(h, "%d %t ", len(data), err == nil)
		h.Write(data)
	}
	return [32]byte(h.Sum(nil))
}

// maxFile bounds a file.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	// A pipe would keep us waiting, and cannot be read again.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, errors.New("it is larger than 1 MiB")
	}
	return b, err
}
