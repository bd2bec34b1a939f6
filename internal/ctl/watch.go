package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/client"
)

// watchFlags are the flags of watch, which an interactive line has too.
type watchFlags struct {
	interactive, prefix, prevKV, progress bool
	rev                                   int64
}

func newWatchFlags(f *pflag.FlagSet) *watchFlags {
	w := &watchFlags{}
	f.BoolVarP(&w.interactive, "interactive", "i", false, "read lines from stdin: watch …, with options and arguments, and progress")
	f.BoolVar(&w.prefix, "prefix", false, "every key that begins with <key>")
	f.Int64Var(&w.rev, "rev", 0, "revision to begin with (0: what comes)")
	f.BoolVar(&w.prevKV, "prev-kv", false, "print what was there before each event")
	f.BoolVar(&w.progress, "progress-notify", false, "have the server say now and then how far the watch is")
	return w
}

// watchRequest is one watch.
type watchRequest struct {
	key     string
	options []client.OpOption
	command []string // is run for each event, if it is not empty
}

// The variables that name what is watched, instead of arguments.
const (
	watchKeyVariable = prefix + "WATCH_KEY"
	watchEndVariable = prefix + "WATCH_RANGE_END"
)

// watchArguments are the keys that args or the variables name, and the command
// behind the separator, which is before args[dash] if dash is not negative.
func (t *tool) watchArguments(args []string, dash int) (keys, command []string, err error) {
	if dash >= 0 {
		args, command = args[:dash], args[dash:]
		if len(command) == 0 {
			return nil, nil, badArguments("bad number of arguments (found separator --, but no commands)")
		}
	}
	key, end := t.environment(watchKeyVariable), t.environment(watchEndVariable)
	switch {
	case key == "" && end != "":
		return nil, nil, badArguments("%s is empty but got %s=%q", watchKeyVariable, watchEndVariable, end)
	case key != "" && len(args) > 0:
		return nil, nil, badArguments("bad number of arguments (found conflicting environment key)")
	case key != "" && end != "":
		return []string{key, end}, command, nil
	case key != "":
		return []string{key}, command, nil
	case len(args) == 0:
		return nil, nil, badArguments("bad number of arguments")
	case len(args) > 2:
		return nil, nil, badArguments("bad number of arguments: %q (a command goes behind --)", args[2:])
	}
	return args, command, nil
}

// request is the watch of keys that the flags describe.
func (w *watchFlags) request(keys, command []string) (watchRequest, error) {
	r := watchRequest{key: keys[0], options: []client.OpOption{client.WithRev(w.rev)}, command: command}
	switch {
	case w.prefix && len(keys) > 1:
		return r, badArguments("`range_end` and `--prefix` are mutually exclusive")
	case w.prefix:
		r.options = append(r.options, client.WithPrefix())
	case len(keys) > 1:
		r.options = append(r.options, client.WithRange(keys[1]))
	}
	if w.prevKV {
		r.options = append(r.options, client.WithPrevKV())
	}
	if w.progress {
		r.options = append(r.options, client.WithProgressNotify())
	}
	return r, nil
}

func (t *tool) watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
		Short: "Show the events of a key, or of the keys from <key> up to <range_end>",
		Long: `Show the events of a key, or of the keys from <key> up to <range_end>, until a
signal comes.

A command behind -- is run for each event, with ETCD_WATCH_REVISION,
ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE, the last three quoted
as in Go. ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END may name the keys instead
of arguments.`,
	}
	flags := newWatchFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if flags.interactive {
			return t.watchInteractive(cmd.Context())
		}
		keys, command, err := t.watchArguments(args, cmd.ArgsLenAtDash())
		if err != nil {
			return err
		}
		request, err := flags.request(keys, command)
		if err != nil {
			return err
		}
		c, err := t.reach(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		return (&watching{t: t, c: c}).follow(cmd.Context(), request)
	}
	return cmd
}

// watching is the watches of one run, whose output does not mix.
type watching struct {
	t      *tool
	c      *client.Client
	output sync.Mutex
}

// errWatchCanceled is a watch that the server has ended.
var errWatchCanceled = errors.New("watch is canceled by the server")

// follow shows what a watch tells, and runs its command, until the watch ends. That
// ctx ends is no error: a watch has no other end.
func (w *watching) follow(ctx context.Context, r watchRequest) error { return w.begin(ctx, r)() }

// begin begins a watch, and returns what follows it: who asks for progress next asks
// it of this watch, too.
func (w *watching) begin(ctx context.Context, r watchRequest) (follow func() error) {
	ctx, cancel := context.WithCancel(client.WithRequireLeader(ctx))
	told := w.c.Watch(ctx, r.key, r.options...)
	return func() error {
		defer cancel()
		for res := range told {
			if err := w.show(&res); err != nil {
				return err
			}
			if res.Canceled {
				return &failure{exitInterrupted, errWatchCanceled}
			}
			if len(r.command) == 0 {
				continue
			}
			for _, e := range res.Events {
				if err := w.t.runForEvent(ctx, r.command, res.Header.GetRevision(), e); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (w *watching) show(res *client.WatchResponse) error {
	w.output.Lock()
	defer w.output.Unlock()
	switch {
	case res.Canceled:
		fmt.Fprintf(w.t.stderr, "watch was canceled (%s)\n", w.t.brief(res.Err()))
	case res.IsProgressNotify():
		fmt.Fprintf(w.t.stdout, "progress notify: %d\n", res.Header.Revision)
	}
	return w.t.show(w.t.shownWatch(res))
}

// runForEvent runs a command for an event. If ctx ends meanwhile it is asked to end,
// and it is no error that it did.
func (t *tool) runForEvent(ctx context.Context, command []string, revision int64, e *client.Event) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = t.stdout, t.stderr
	cmd.Env = append(slices.Clip(t.environ),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", revision),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", e.Type),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", e.Kv.GetKey()),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", e.Kv.GetValue()))
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		fmt.Fprintf(t.stderr, "command %q error (%v)\n", command, err)
		return said()
	}
	return nil
}

func (t *tool) shownWatch(r *client.WatchResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			for _, e := range r.Events {
				fmt.Fprintln(w, e.Type)
				if e.PrevKv != nil {
					t.writePair(w, e.PrevKv)
				}
				t.writePair(w, e.Kv)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, e := range r.Events {
				fmt.Fprintf(w, "\"Type\" : %v\n", e.Type)
				if e.PrevKv != nil {
					t.fieldPair(w, "Prev", e.PrevKv)
				}
				t.fieldPair(w, "", e.Kv)
			}
		},
		json: func() any { return toJSONWatch(r) },
		proto: &etcdserverpb.WatchResponse{
			Header: r.Header, Events: r.Events, Created: r.Created,
			Canceled: r.Canceled, CompactRevision: r.CompactRevision, CancelReason: r.CancelReason,
		},
	}
}
