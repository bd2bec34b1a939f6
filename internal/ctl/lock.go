package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"etcd.alt/client/concurrency"
)

// errSessionExpired is a lock whose lease was lost.
var errSessionExpired = errors.New("session expired")

func (t *tool) lockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lock [options] <lockname> [exec-command arg1 arg2 ...]",
		Short: "Wait for a lock, and hold it until a signal comes or a command has ended",
		Long: `Wait for a lock, and hold it until a signal comes.

A command is run while the lock is held, with ETCD_LOCK_KEY and ETCD_LOCK_REV: the
lock's key, and the revision at which that was created, which rises with each
owner. Its options go behind --. Signals are passed on to it, and its status is
the one to exit with. If the lock is lost meanwhile, it is sent SIGTERM.`,
	}
	ttl := cmd.Flags().Int("ttl", 10, "seconds after which others get the lock from a holder that has gone silent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return badArguments("lock takes a lock name argument and an optional command to execute")
		}
		if *ttl <= 0 {
			return badArguments("--ttl must be 1 at least")
		}
		// Until there is a command, a signal only ends the context.
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(signals)
		return t.inSession(cmd.Context(), *ttl, errSessionExpired, func(ctx context.Context, s *concurrency.Session) error {
			m := concurrency.NewMutex(s, args[0])
			if err := m.Lock(ctx); err != nil {
				return err
			}
			if len(args) > 1 {
				return t.runLocked(ctx, m, args[1:], signals)
			}
			if err := t.showHeld(ctx, s, m.Key(), errSessionExpired); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}
	return cmd
}

// runLocked runs a command while a lock is held. It returns when the command has
// ended: to hold on to the lock until then is the purpose.
func (t *tool) runLocked(ctx context.Context, m *concurrency.Mutex, command []string, signals <-chan os.Signal) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.input, t.stdout, t.stderr
	cmd.Env = append(slices.Clip(t.environ), "ETCD_LOCK_KEY="+m.Key(), fmt.Sprintf("ETCD_LOCK_REV=%d", m.Revision()))
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	over := ctx.Done()
	for {
		select {
		case err := <-ended:
			return statusOf(err)
		case s := <-signals:
			// A terminal has sent it to the command, too.
			if s != os.Interrupt || !t.onTerminal() {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case <-over:
			over = nil
			if errors.Is(context.Cause(ctx), errSessionExpired) {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}
}

func (t *tool) onTerminal() bool {
	f, ok := t.input.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// statusOf makes the end of a command the status to exit with, as a shell does.
func statusOf(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return &failure{status: 128 + int(w.Signal())}
	}
	return &failure{status: exit.ExitCode()}
}
