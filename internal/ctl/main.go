package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// tool is one run of etcdctl.
type tool struct {
	stdin   *bufio.Reader
	input   io.Reader // what stdin reads
	stdout  io.Writer
	stderr  io.Writer
	environ []string
	log     *zap.Logger
	level   zap.AtomicLevel
	global  globalFlags
}

// Main runs etcdctl and returns the status to exit with.
func Main(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tool{
		stdin: bufio.NewReader(stdin), input: stdin, stdout: stdout, stderr: stderr,
		environ: environ, level: zap.NewAtomicLevelAt(zap.WarnLevel),
	}
	t.log = newLogger(stderr, t.level)
	root := t.root()
	root.SetArgs(args)
	return t.report(root.ExecuteContext(ctx))
}

// newLogger writes lines of JSON.
func newLogger(w io.Writer, level zapcore.LevelEnabler) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(c), zapcore.Lock(zapcore.AddSync(w)), level))
}

// root is the tree of commands.
func (t *tool) root() *cobra.Command {
	// A command may be cut down to a prefix that no other has. This is a
	// variable of the library, and nothing else in the process uses it.
	cobra.EnablePrefixMatching = true
	root := &cobra.Command{
		Use:           "etcdctl",
		Short:         "etcdctl talks to an etcd cluster.",
		SilenceErrors: true,
		SilenceUsage:  true,
		// completionCommand refuses a shell it does not know.
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.readEnvironment(cmd.Root().PersistentFlags()); err != nil {
				return err
			}
			if t.global.debug {
				t.level.SetLevel(zap.DebugLevel)
				t.dumpSettings(cmd.Root().PersistentFlags())
			}
			return nil
		},
	}
	root.SetIn(t.input)
	root.SetOut(t.stdout)
	root.SetErr(t.stderr)
	root.SetUsageFunc(usage)
	root.SetHelpFunc(help)
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd.CommandPath(), err} })
	t.global.register(root.PersistentFlags())
	root.AddCommand(
		t.getCommand(), t.putCommand(), t.delCommand(), t.txnCommand(), t.compactionCommand(),
		t.watchCommand(), t.leaseCommand(), t.lockCommand(), t.electCommand(),
		t.memberCommand(), t.moveLeaderCommand(), t.endpointCommand(), t.alarmCommand(), t.defragCommand(), t.downgradeCommand(),
		t.authCommand(), t.userCommand(), t.roleCommand(),
		t.versionCommand(), t.optionsCommand(), t.completionCommand(),
	)
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use + " <subcommand>",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{cmd.CommandPath(), fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
			}
			return cmd.Help()
		},
	}
	g.AddCommand(commands...)
	return g
}

// The statuses that etcdctl exits with.
const (
	exitError       = 1
	exitConnection  = 2
	exitInput       = 3
	exitFormat      = 4
	exitInterrupted = 5
	exitArguments   = 128
)

// failure is an error with its exit status.
type failure struct {
	status int
	err    error // nil if all has been said
}

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// said ends a command whose failures have been written to stderr.
func said() error { return &failure{status: exitError} }

func badArguments(format string, a ...any) error {
	return &failure{exitArguments, fmt.Errorf(format, a...)}
}

func badInput(format string, a ...any) error { return &failure{exitInput, fmt.Errorf(format, a...)} }

// usageError is a command line that cannot be read.
type usageError struct {
	command string
	err     error
}

func (u *usageError) Error() string { return u.err.Error() }

// report writes err to stderr and returns its status.
func (t *tool) report(err error) int {
	if err == nil {
		return 0
	}
	status := exitError
	var f *failure
	if errors.As(err, &f) {
		if status = f.status; f.err == nil {
			return status
		}
	}
	fmt.Fprintf(t.stderr, "Error: %s\n", t.brief(err))
	var u *usageError
	switch {
	case errors.As(err, &u):
		fmt.Fprintf(t.stderr, "Run '%s --help' for usage.\n", u.command)
	case strings.HasPrefix(err.Error(), "unknown command "):
		fmt.Fprintln(t.stderr, "Run 'etcdctl --help' for usage.")
	}
	return status
}

// brief is what is printed of an error. Why a call had no answer in time is
// logged instead: scripts know the bare text.
func (t *tool) brief(err error) string {
	for _, ended := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, ended) {
			if err.Error() != ended.Error() {
				t.log.Warn("no answer", zap.Error(err))
			}
			return ended.Error()
		}
	}
	return err.Error()
}
