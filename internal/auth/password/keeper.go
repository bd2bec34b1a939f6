package password

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

var (
	// ErrBusy is returned when too many wait already.
	ErrBusy = errors.New("password: too many logins and password changes are waiting")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("password: closed")
	// ErrTooLong is returned for a password that bcrypt would cut off.
	ErrTooLong = fmt.Errorf("password: it is longer than %d bytes, the most that bcrypt takes", MaxLength)
)

const (
	// MaxLength is the most bytes of a password that count in a bcrypt hash.
	MaxLength = 72
	// MinCost and MaxCost bound Options.Cost; each step doubles the time.
	MinCost, MaxCost = 4, 31
	// DefaultCost is upstream's too.
	DefaultCost = 10
)

// burst is how much CPU time can be saved up.
const burst = time.Second

// Options are what a Keeper goes by. The zero value is usable.
type Options struct {
	Cost     int     // of new hashes, MinCost to MaxCost; 0: DefaultCost
	Parallel int     // most that compute at once; 0: a quarter of GOMAXPROCS, at least 1
	Share    float64 // of GOMAXPROCS × elapsed time that may be spent; 0: 0.10
	Queue    int     // most that wait; 0: 64
}

func (o Options) withDefaults() Options {
	if o.Cost == 0 {
		o.Cost = DefaultCost
	}
	if o.Parallel == 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/4)
	}
	if o.Share == 0 {
		o.Share = 0.10
	}
	if o.Queue == 0 {
		o.Queue = 64
	}
	return o
}

// Keeper hashes and compares in turns. Its methods block, for seconds where many
// wait: their callers are goroutines that may.
type Keeper struct {
	options Options
	pace    float64 // nanoseconds of CPU time earned in each
	dummy   []byte  // what unknown users are compared with; no password fits it

	hash    func(password []byte, cost int) ([]byte, error)
	compare func(hash, password []byte) error

	mu struct {
		sync.Mutex
		line    line
		running int
		budget  float64     // nanoseconds that may be spent; less than none after a long run
		at      time.Time   // when budget was that
		typical float64     // nanoseconds that the last run took
		timer   *time.Timer // set while only the budget holds up the line
		closed  bool
	}
}

// New returns a Keeper. It has no goroutine; Close ends its timer.
func New(o Options) *Keeper {
	o = o.withDefaults()
	k := &Keeper{
		options: o,
		pace:    o.Share * float64(runtime.GOMAXPROCS(0)),
		dummy:   dummy(o.Cost),
		hash:    bcrypt.GenerateFromPassword,
		compare: bcrypt.CompareHashAndPassword,
	}
	k.mu.budget, k.mu.at = float64(burst), time.Now()
	return k
}

// dummy is a hash of random bytes, not of any password.
func dummy(cost int) []byte {
	var random [16 + 23]byte
	rand.Read(random[:]) // it does not fail
	encode := base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)
	return fmt.Appendf(nil, "$2a$%02d$%s%s", cost, encode.EncodeToString(random[:16]), encode.EncodeToString(random[16:]))
}

// Hash returns the bcrypt hash of a user's new password. user and address say whose
// turn it is, nothing else. The error is ErrTooLong, ErrBusy, ErrClosed or ctx's;
// a hash that was begun is not cut short.
func (k *Keeper) Hash(ctx context.Context, user, address, password string) (hash []byte, err error) {
	if len(password) > MaxLength {
		return nil, ErrTooLong
	}
	if err := k.turn(ctx, user, address); err != nil {
		return nil, err
	}
	defer k.end(time.Now())
	return k.hash([]byte(password), k.options.Cost)
}

// Compare says whether hash is of password. A nil hash means that there is no such
// user, and takes as long as one. So does a hash that cannot be read; any other takes
// the time of its own cost, whatever Options.Cost is. The error is ErrBusy, ErrClosed
// or ctx's, and tells nothing of either.
func (k *Keeper) Compare(ctx context.Context, user, address string, hash []byte, password string) (bool, error) {
	if err := k.turn(ctx, user, address); err != nil {
		return false, err
	}
	defer k.end(time.Now())
	// bcrypt itself would pass over what comes after.
	fits := len(password) <= MaxLength
	if !fits {
		password = password[:MaxLength]
	}
	if _, err := bcrypt.Cost(hash); err != nil {
		fits, hash = false, k.dummy
	}
	return k.compare(hash, []byte(password)) == nil && fits, nil
}

// turn waits until the caller may compute; end must follow.
func (k *Keeper) turn(ctx context.Context, user, address string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := k.enter(user, address)
	if err != nil {
		return err
	}
	select {
	case err := <-w.turn:
		return err
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.mu.line.remove(w) && <-w.turn == nil {
		k.ended(0) // its turn had come meanwhile
	}
	return ctx.Err()
}

func (k *Keeper) enter(user, address string) (*waiter, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return nil, ErrClosed
	}
	if k.mu.line.len() >= k.options.Queue {
		out := k.mu.line.displaced(user, address)
		if out == nil {
			return nil, ErrBusy
		}
		k.mu.line.remove(out)
		out.turn <- ErrBusy
	}
	w := k.mu.line.push(user, address)
	k.advance()
	return w, nil
}

// end gives the turn back that began at start.
func (k *Keeper) end(start time.Time) {
	took := time.Since(start)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.typical = float64(took)
	k.ended(took)
}

func (k *Keeper) ended(took time.Duration) {
	k.mu.running--
	// What advance took was a guess. The time that passed is what is charged: where
	// others keep the CPU busy it is more than what was used of it.
	k.mu.budget -= float64(took)
	k.advance()
}

// advance gives turns to those who may have them. Runs that are under way are
// counted with what the last one took.
func (k *Keeper) advance() {
	if k.mu.closed {
		return
	}
	now := time.Now()
	earned := float64(now.Sub(k.mu.at)) * k.pace
	k.mu.budget, k.mu.at = min(float64(burst), k.mu.budget+earned), now
	for k.mu.line.len() > 0 && k.mu.running < k.options.Parallel {
		if missing := float64(k.mu.running)*k.mu.typical - k.mu.budget; missing >= 0 {
			k.wake(time.Duration(missing / k.pace))
			return
		}
		k.mu.running++
		k.mu.line.pop().turn <- nil
	}
}

// wake lets advance look again, when there is something to spend.
func (k *Keeper) wake(in time.Duration) {
	in += time.Millisecond
	if k.mu.timer == nil {
		k.mu.timer = time.AfterFunc(in, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.advance()
		})
		return
	}
	k.mu.timer.Reset(in)
}

// Close refuses those who wait and those who come with ErrClosed. Runs that are
// under way are their callers' and go on. It may be called more than once.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
	if k.mu.timer != nil {
		k.mu.timer.Stop()
	}
	for k.mu.line.len() > 0 {
		k.mu.line.pop().turn <- ErrClosed
	}
}
