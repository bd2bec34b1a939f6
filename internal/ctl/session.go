package ctl

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/client/concurrency"
)

// inSession runs do in a session of so many seconds, and then gives up what was got
// in it, whatever has ended do. The context of do ends with the session, too; lost is
// the error then.
func (t *tool) inSession(ctx context.Context, ttl int, lost error, do func(ctx context.Context, s *concurrency.Session) error) error {
	c, s, err := t.openSession(ctx, ttl)
	if err != nil {
		return err
	}
	defer c.Close()
	inside, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-s.Done():
			end(lost)
		case <-inside.Done():
		}
	})
	err = do(inside, s)
	end(nil)
	watching.Wait()
	if errors.Is(context.Cause(inside), lost) {
		return lost
	}
	// The signal that has ended ctx is what the session is to be closed for.
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.global.commandTimeout)
	defer cancel()
	closed := s.Close(short)
	switch {
	case errors.Is(closed, errs.LeaseNotFound):
		return lost // and nobody has told yet
	case err != nil:
		if closed != nil {
			t.log.Warn("what the session holds goes when its lease ends", zap.Error(closed))
		}
		return err
	}
	return closed
}

// openSession makes a session within the limit of a short command, and the client that
// it is of, which the caller closes.
func (t *tool) openSession(ctx context.Context, ttl int) (*client.Client, *concurrency.Session, error) {
	short, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	c, err := t.reachWithin(ctx, short)
	if err != nil {
		return nil, nil, err
	}
	s, err := concurrency.NewSession(short, c, concurrency.WithTTL(ttl))
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, s, nil
}

// showHeld shows the key that stands for what a session has got.
func (t *tool) showHeld(ctx context.Context, s *concurrency.Session, key string, lost error) error {
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	res, err := s.Client().Get(ctx, key)
	switch {
	case err != nil:
		return err
	case len(res.Kvs) == 0:
		return lost
	}
	return t.show(t.shownGet(res, false))
}
