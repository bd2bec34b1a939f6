package password

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/blowfish" //lint:ignore SA1019 bcrypt is made of it, as the library's own is
)

// bcrypt (Provos and Mazières, "A Future-Adaptable Password Scheme", USENIX 1999) in
// slices: the library's computes for as long as the cost says, with nothing between
// it and a core. What is computed, and how it is written, is the same.

const (
	saltBytes   = 16
	digestBytes = 23
	// sliceRounds is how many of the 2^cost rounds go by between two pauses: well
	// below a millisecond.
	sliceRounds = 8
)

const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// encoding is bcrypt's own base64.
var encoding = base64.NewEncoding(alphabet).WithPadding(base64.NoPadding)

// magic is what is encrypted, over and over.
const magic = "OrpheanBeholderScryDoubt"

// written is a hash as it is stored.
func written(cost int, salt, digest []byte) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s%s", cost, encoding.EncodeToString(salt), encoding.EncodeToString(digest))
}

// generate is a new hash of a password. pause is called between slices; its error
// ends the work.
func generate(password []byte, cost int, pause func() error) ([]byte, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // it does not fail
	d, err := digest(password, cost, salt, pause)
	if err != nil {
		return nil, err
	}
	return written(cost, salt, d), nil
}

// read takes a hash apart: "$2a$10$", then salt and digest in bcrypt's base64.
func read(hash []byte) (cost int, salt, digest []byte, ok bool) {
	const version, salted, digested = 7, 22, 31
	if len(hash) != version+salted+digested {
		return 0, nil, nil, false
	}
	for _, c := range hash[version:] { // the decoder passes over line ends
		if !bytes.ContainsRune([]byte(alphabet), rune(c)) {
			return 0, nil, nil, false
		}
	}
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return 0, nil, nil, false
	}
	salt, err = encoding.DecodeString(string(hash[version : version+salted]))
	return cost, salt, hash[version+salted:], err == nil && len(salt) == saltBytes
}

// matches says whether a hash that can be read is of a password.
func matches(hash, password []byte, pause func() error) (bool, error) {
	cost, salt, want, ok := read(hash)
	if !ok {
		return false, nil
	}
	d, err := digest(password, cost, salt, pause)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare([]byte(encoding.EncodeToString(d)), want) == 1, nil
}

func digest(password []byte, cost int, salt []byte, pause func() error) ([]byte, error) {
	key := append(password[:len(password):len(password)], 0)
	c, err := blowfish.NewSaltedCipher(key, salt)
	if err != nil {
		return nil, err
	}
	for i := range uint64(1) << cost {
		blowfish.ExpandKey(key, c)
		blowfish.ExpandKey(salt, c)
		if i%sliceRounds == sliceRounds-1 {
			if err := pause(); err != nil {
				return nil, err
			}
		}
	}
	text := []byte(magic)
	for at := 0; at < len(text); at += blowfish.BlockSize {
		for range 64 {
			c.Encrypt(text[at:], text[at:])
		}
	}
	return text[:digestBytes], nil
}
