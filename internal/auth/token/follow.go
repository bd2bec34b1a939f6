package token

import (
	"time"

	"go.uber.org/zap"
)

// followInterval is how soon a change of the key files is seen.
const followInterval = time.Second

// routineFollow looks at the files until Close. It does so unasked: who uses a
// token must not wait for a disk, and a key that was taken away must not verify
// once more because nobody had asked for long.
func (p *signed) routineFollow() {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.look()
		}
	}
}

// look puts the keys in force that the files hold now. Files that cannot be used
// leave the last good ones in force.
func (p *signed) look() {
	p.follow.Lock()
	defer p.follow.Unlock()
	seen := p.config.look()
	if seen == p.follow.seen { // those in force
		p.follow.complaint = ""
		return
	}
	set, err := p.config.load()
	if err != nil {
		if err = p.config.named(err); err.Error() != p.follow.complaint {
			p.follow.complaint = err.Error()
			p.logger.Error("the keys of tokens have changed and cannot be used; the last good ones stay in force", zap.Error(err))
		}
		return
	}
	p.follow.seen, p.follow.complaint = seen, ""
	old := p.set.Load()
	if set.same(old) {
		return
	}
	p.set.Store(set)
	old.era.over.Store(true) // after that: who finds it over finds the new set
	p.logger.Info("the keys of tokens have changed and are in force", zap.Strings("files", p.config.paths()))
}
