package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/pflag"
)

// watchInteractive does what the lines of stdin say, until they end, which is an
// error, or a signal comes.
func (t *tool) watchInteractive(ctx context.Context) error {
	c, err := t.reach(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var following sync.WaitGroup
	defer following.Wait()
	session, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	lines := t.lines(session)
	w := &watching{t: t, c: c}
	for {
		select {
		case <-session.Done():
			if ctx.Err() != nil {
				return nil // a signal
			}
			return context.Cause(session)
		case line := <-lines:
			if line.err != nil {
				return badInput("Error reading watch request line: %w", line.err)
			}
			request, err := t.parseWatchLine(line.text)
			var invalid *invalidLine
			switch {
			case errors.As(err, &invalid):
				fmt.Fprintf(t.stderr, "Invalid command %s (%s)\n", line.text, invalid.why)
			case err != nil:
				return err
			case request == nil:
				c.RequestProgress()
			default:
				follow := w.begin(session, *request)
				following.Go(func() {
					// That one watch is canceled does not end the others.
					if err := follow(); err != nil && !errors.Is(err, errWatchCanceled) {
						fail(err)
					}
				})
			}
		}
	}
}

// inputLine is a line of stdin, or why there is none.
type inputLine struct {
	text string
	err  error
}

// lines reads stdin until it ends, or ctx does and a line comes: a read cannot be
// broken off, and the process ends before that.
func (t *tool) lines(ctx context.Context) <-chan inputLine {
	out := make(chan inputLine)
	limit := writtenLonger * t.requestLimit()
	go func() {
		for {
			text, err := t.readLine(limit)
			select {
			case out <- inputLine{text, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// invalidLine is a line that is told of, and passed over.
type invalidLine struct{ why string }

func (i *invalidLine) Error() string { return i.why }

// parseWatchLine reads a line: a watch, or nil, which is the command progress. An
// error that is not an *invalidLine ends it all.
func (t *tool) parseWatchLine(line string) (*watchRequest, error) {
	args, err := splitArguments(line)
	switch {
	case err != nil:
		return nil, &invalidLine{err.Error()}
	case len(args) == 0:
		return nil, &invalidLine{"watch and progress supported"}
	case args[0] == "progress":
		return nil, nil
	case args[0] != "watch":
		return nil, &invalidLine{"only support watch"}
	case len(args) == 1 && t.environment(watchKeyVariable) == "":
		return nil, &invalidLine{"command type or key is not provided"}
	}
	set := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	set.Usage = func() {}
	flags := newWatchFlags(set)
	if err := set.Parse(args[1:]); err != nil {
		return nil, badArguments("%s", strings.TrimSpace(err.Error()))
	}
	keys, command, err := t.watchArguments(set.Args(), set.ArgsLenAtDash())
	if err != nil {
		return nil, err
	}
	request, err := flags.request(keys, command)
	if err != nil {
		return nil, &invalidLine{err.Error()}
	}
	return &request, nil
}
