package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

var (
	// ErrInvalid is what is said of every token that is not good: malformed,
	// expired, forgotten, badly signed. Why is not for the bearer to know.
	ErrInvalid = errors.New("token: not valid")
	// ErrUnknown is an ErrInvalid that may pass: the token is in order, and its
	// login may not have been applied here yet.
	ErrUnknown = fmt.Errorf("%w: its login is not known here", ErrInvalid)
	// ErrVerifyOnly is returned where there is no key to make tokens with.
	ErrVerifyOnly = errors.New("token: this member has no private key and makes no tokens")
)

// Options are what a provider is made of.
type Options struct {
	// Config is the value of --auth-token; the zero value is simple tokens.
	Config Config
	// TTL is how long a simple token lives after its last use; 0 means 300 s.
	TTL time.Duration
	// ClusterID stands in fingerprints.
	ClusterID uint64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets a line when keys change. Nil: none.
	Logger *zap.Logger
}

// Provider makes and reads one kind of token. Its methods may be called by many
// goroutines, but Applied and Disabled by one.
type Provider interface {
	// Draft begins a token; what it returns travels in the log with the login.
	// It is ErrVerifyOnly where Issue would be.
	Draft() (string, error)
	// Issue makes the token of a login that was applied. It may compute for
	// milliseconds: a signature.
	Issue(Login) (string, error)
	// Applied hears of every login in the log, whichever member it was made on, in
	// the log's order. It keeps nothing of the slice.
	Applied([]Login)
	// Disabled hears that authentication was switched off: simple tokens are
	// forgotten.
	Disabled()
	// Read says what a token is good for, or ErrInvalid. With ErrUnknown it is
	// worth asking again when everything committed by now is applied. A token that
	// is remembered costs a look-up and no memory.
	Read(token string) (*Token, error)
	// Close ends what runs in the background and waits for it. It may be called
	// more than once.
	Close()
}

// Login is a login as it was applied from the log.
type Login struct {
	User     string
	Hash     []byte // the user's stored password hash at that entry
	Revision uint64 // the auth revision at that entry
	Draft    string // what Draft returned; empty for none
	// Index is the log index that stands in a simple token. It never goes down
	// from one login to a later one.
	Index uint64
}

// New reads the keys and returns the provider that o asks for. An error names the
// option and the file at fault.
func New(o Options) (Provider, error) {
	if o.TTL <= 0 {
		o.TTL = 300 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if !o.Config.JWT {
		return newSimple(o), nil
	}
	p, err := newSigned(o)
	if err != nil {
		return nil, err // not a *signed that is nil
	}
	return p, nil
}

// Token is a good token as it is remembered. It may be kept beside a connection
// and asked on every call, by any number of goroutines.
type Token struct {
	// User is who logged in.
	User string
	// Revision is the auth revision that the token claims; 0 means none.
	Revision uint64

	text    string // the token itself; empty for a simple one
	cluster uint64
	era     *era

	begins int64        // Unix nanoseconds before which it is not good
	ends   atomic.Int64 // and from which on; 0: forgotten
	life   int64        // how far each use puts its end off; 0: not at all
	grain  int64        // and by how much more, so that few uses need to

	print       [16]byte // the fingerprint, where bound
	bound       bool
	anyRevision bool // without a fingerprint every revision will do

	passed atomic.Pointer[[]byte] // the hash that print was found to be of
}

// era is a time in which tokens are good. It ends with the key set, or for simple
// tokens when authentication is switched off.
type era struct{ over atomic.Bool }

// Good says whether the token is still good at now, which is the provider's clock.
// Using a simple token puts its end off. What is not good stays so; only Read can
// tell whether the same text is good under keys that have come since.
func (t *Token) Good(now time.Time) bool {
	n := now.UnixNano()
	if n < t.begins || t.era.over.Load() {
		return false
	}
	for {
		end := t.ends.Load()
		if n >= end {
			return false
		}
		if end-n >= t.life || t.ends.CompareAndSwap(end, n+t.life+t.grain) {
			return true
		}
	}
}

// Withdrawn says that the token would not be good even if its time were not over: its
// keys were replaced, or authentication was switched off since.
func (t *Token) Withdrawn() bool { return t.era.over.Load() }

// Account is what the store of users knows of one of them, in one view.
type Account struct {
	Name string
	Hash []byte // the stored password hash; it is not kept
	// Changed is the auth revision at which the user was made or its password
	// changed last.
	Changed uint64
}

// Vouches says whether the token is of this account as it is: made for its present
// password or, where the token does not say for which, not before it was set.
func (t *Token) Vouches(a Account) bool {
	if t.User != a.Name {
		return false
	}
	// A fingerprint alone would not tell whether the same hash was set again.
	if t.Revision < a.Changed && (t.bound || !t.anyRevision) {
		return false
	}
	if !t.bound {
		return true
	}
	if p := t.passed.Load(); p != nil && bytes.Equal(*p, a.Hash) {
		return true
	}
	now := Fingerprint(t.cluster, a.Name, a.Hash)
	if subtle.ConstantTimeCompare(now[:], t.print[:]) != 1 {
		return false
	}
	hash := bytes.Clone(a.Hash)
	t.passed.Store(&hash)
	return true
}

// Fingerprint is the first 16 bytes of SHA-256 over the cluster id (8 bytes, big
// endian), the user's name and the stored password hash.
func Fingerprint(cluster uint64, user string, hash []byte) [16]byte {
	b := make([]byte, 0, 128)
	b = binary.BigEndian.AppendUint64(b, cluster)
	b = append(b, user...)
	b = append(b, hash...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
