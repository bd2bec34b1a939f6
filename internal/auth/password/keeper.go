package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
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

	hash    func(password []byte, cost int, pause func() error) ([]byte, error)
	compare func(hash, password []byte, pause func() error) (bool, error)

	mu struct {
		sync.Mutex
		line    line
		running int
		budget  float64   // nanoseconds that may be spent; less than none where some were lent
		at      time.Time // when budget was that
	}
	stop chan struct{} // closed by Close
}

// New returns a Keeper. It has no goroutine.
func New(o Options) *Keeper {
	o = o.withDefaults()
	k := &Keeper{
		options: o,
		pace:    o.Share * float64(runtime.GOMAXPROCS(0)),
		dummy:   dummy(o.Cost),
		hash:    generate,
		compare: matches,
		stop:    make(chan struct{}),
	}
	k.mu.budget, k.mu.at = float64(burst), time.Now()
	return k
}

// dummy is a hash of random bytes, not of any password.
func dummy(cost int) []byte {
	var random [saltBytes + digestBytes]byte
	rand.Read(random[:]) // it does not fail
	return written(cost, random[:saltBytes], random[saltBytes:])
}

// Hash returns the bcrypt hash of a user's new password. user and address say whose
// turn it is, nothing else. The error is ErrTooLong, ErrBusy, ErrClosed or ctx's.
func (k *Keeper) Hash(ctx context.Context, user, address, password string) (hash []byte, err error) {
	if len(password) > MaxLength {
		return nil, ErrTooLong
	}
	if err := k.turn(ctx, user, address); err != nil {
		return nil, err
	}
	r := k.begin(ctx)
	defer r.end()
	return k.hash([]byte(password), k.options.Cost, r.pause)
}

// Compare says whether a password is the one whose hash lookup returns. lookup is
// called when the caller's turn has come; its error is returned. A nil hash means that
// there is no such user, and takes as long as one. So does a hash that cannot be read;
// any other takes the time of its own cost, whatever Options.Cost is. Other errors are
// ErrBusy, ErrClosed and ctx's, and tell nothing of either.
func (k *Keeper) Compare(ctx context.Context, user, address string, lookup func() (hash []byte, err error), password string) (bool, error) {
	if err := k.turn(ctx, user, address); err != nil {
		return false, err
	}
	r := k.begin(ctx)
	defer r.end()
	hash, err := lookup()
	r.from = time.Now() // to look it up was no computing
	if err != nil {
		return false, err
	}
	// bcrypt itself would pass over what comes after.
	fits := len(password) <= MaxLength
	if !fits {
		password = password[:MaxLength]
	}
	if !k.Comparable(hash) {
		fits, hash = false, k.dummy
	}
	same, err := k.compare(hash, []byte(password), r.pause)
	return same && fits, err
}

// mostCost is the cost of hashes that come from elsewhere, at most: two seconds, or so.
// One of cost 31 would take a day.
const mostCost = 15

// Comparable says whether a hash is one that passwords are compared with. None fits
// any other.
func (k *Keeper) Comparable(hash []byte) bool {
	cost, _, _, ok := read(hash)
	return ok && cost <= max(mostCost, k.options.Cost)
}

// run is a computation that is under way.
type run struct {
	k    *Keeper
	ctx  context.Context
	from time.Time // since when nothing was charged
}

func (k *Keeper) begin(ctx context.Context) *run { return &run{k, ctx, time.Now()} }

// pause charges what was computed since the last pause, and waits until it is earned:
// where no time was saved up, a run takes all the time that its share lets it have,
// and never a core for long. It returns why the run is to end.
func (r *run) pause() error {
	select {
	case <-r.k.stop:
		return ErrClosed
	default:
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	lent := r.k.charge(time.Since(r.from))
	if lent == 0 {
		runtime.Gosched()
		r.from = time.Now()
		return nil
	}
	rest := time.NewTimer(lent)
	defer rest.Stop()
	select {
	case <-rest.C:
		r.from = time.Now()
		return nil
	case <-r.k.stop:
		return ErrClosed
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *run) end() {
	r.k.charge(time.Since(r.from))
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	r.k.ended()
}

// charge takes time from the budget, and returns how long it takes until that is
// earned. The time that passed is what is charged: where others keep the CPU busy it
// is more than what was used of it.
func (k *Keeper) charge(took time.Duration) (lent time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	earned := float64(now.Sub(k.mu.at)) * k.pace
	// A run that stood still with the whole machine owes no more than was saved up.
	k.mu.budget, k.mu.at = max(min(float64(burst), k.mu.budget+earned)-float64(took), -float64(burst)), now
	return time.Duration(max(0, -k.mu.budget) / k.pace)
}

// turn waits until the caller may compute; ended must follow.
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
		k.ended() // its turn had come meanwhile
	}
	return ctx.Err()
}

func (k *Keeper) enter(user, address string) (*waiter, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed() {
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

func (k *Keeper) ended() {
	k.mu.running--
	k.advance()
}

// advance gives turns to those who may have them.
func (k *Keeper) advance() {
	for k.mu.line.len() > 0 && k.mu.running < k.options.Parallel && !k.closed() {
		k.mu.running++
		k.mu.line.pop().turn <- nil
	}
}

func (k *Keeper) closed() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

// Close refuses those who wait and those who come with ErrClosed, and ends the runs
// that are under way with it. It may be called more than once.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed() {
		return
	}
	close(k.stop)
	for k.mu.line.len() > 0 {
		k.mu.line.pop().turn <- ErrClosed
	}
}
