package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"etcd.alt/api/version"
)

// Main runs a member until a signal stops it, and returns the status to exit
// with: 0 after a clean stop, 1 after an error, 2 for a command line that
// cannot be read.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	c, warnings, err := Parse(args, environ, stdout)
	var usage *UsageError
	switch {
	case errors.Is(err, ErrHelp):
		return 0
	case errors.Is(err, ErrVersion):
		fmt.Fprint(stdout, version.Text())
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%v\nRun 'etcd --help' for usage.\n", err)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "etcd: %v\n", err)
		return 1
	}
	logger, err := NewLogger(c)
	if err != nil {
		fmt.Fprintf(stderr, "etcd: %v\n", err)
		return 1
	}
	defer logger.Sync()
	for _, w := range warnings {
		logger.Warn(w)
	}
	if err := run(c, logger); err != nil {
		logger.Error("the member has stopped", zap.Error(err))
		return 1
	}
	return 0
}

// run starts a member and stops it on the first signal. A second signal ends
// the process at once.
func run(c *Config, logger *zap.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.UnsafeNoFsync {
		logger.Warn("--unsafe-no-fsync is set: a power cut may lose acknowledged writes")
	}
	garbage := startCollector()
	m, err := Start(ctx, c, logger)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	following, unfollow := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() { garbage.follow(following) })
	defer follower.Wait()
	defer unfollow()
	select {
	case <-ctx.Done():
		stop()
		logger.Info("stopping")
		if err := m.Close(); err != nil {
			return err
		}
		logger.Info("stopped")
		return nil
	case err := <-m.Failed():
		if errors.Is(err, errRemoved) {
			logger.Warn("this member was removed from the cluster and stops for good", zap.Error(err))
			return closeWithin(m, failedCloseTimeout)
		}
		// Said at once: what has failed may keep Close from coming back.
		logger.Error("the member cannot go on", zap.Error(err))
		return errors.Join(err, closeWithin(m, failedCloseTimeout))
	}
}

// failedCloseTimeout is how long a member that has failed may take to close. Its
// storage engine may hold its own locks for ever; the log has everything.
const failedCloseTimeout = 2 * drainTimeout

// closeWithin closes a member, or gives up: the process is about to end.
func closeWithin(m *Member, limit time.Duration) error {
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(limit):
		return fmt.Errorf("the member did not close within %v", limit)
	}
}
