package ctl

import (
	"bufio"
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
)

func TestWatchLinesAreRead(t *testing.T) {
	run := &tool{}
	for line, want := range map[string]watchRequest{
		`watch k`:                         {key: "k"},
		`  watch "a b" 'c d'`:             {key: "a b", options: []client.OpOption{client.WithRange("c d")}},
		`watch --prefix k --rev=7`:        {key: "k", options: []client.OpOption{client.WithPrefix(), client.WithRev(7)}},
		`watch k -i --prev-kv`:            {key: "k", options: []client.OpOption{client.WithPrevKV()}},
		`watch k --progress-notify`:       {key: "k", options: []client.OpOption{client.WithProgressNotify()}},
		`watch k -- echo --prefix "a  b"`: {key: "k", command: []string{"echo", "--prefix", "a  b"}},
		`watch k l -- x`:                  {key: "k", options: []client.OpOption{client.WithRange("l")}, command: []string{"x"}},
	} {
		got, err := run.parseWatchLine(line)
		require.NoError(t, err, line)
		require.Equal(t, want.key, got.key, line)
		require.Equal(t, want.command, got.command, line)
		// Options are functions: what they make of an operation is compared.
		options := append([]client.OpOption{client.WithRev(0)}, want.options...)
		require.Equal(t, client.OpGet("k", options...), client.OpGet("k", got.options...), line)
	}
	progress, err := run.parseWatchLine("progress")
	require.NoError(t, err)
	require.Nil(t, progress)
}

func TestWatchLinesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		line, key, end string // of the variables
		passed         bool   // over
		text           string
	}{
		{"", "", "", true, "watch and progress supported"},
		{"bogus x", "", "", true, "only support watch"},
		{"watch", "", "", true, "command type or key is not provided"},
		{"watch a b --prefix", "", "", true, "`range_end` and `--prefix` are mutually exclusive"},
		{`watch 'a`, "", "", true, "a single quote is not closed"},
		{"watch --rev 4", "", "", false, "bad number of arguments"},
		{"watch a --", "", "", false, "bad number of arguments (found separator --, but no commands)"},
		{"watch a --bogus", "", "", false, "unknown flag: --bogus"},
		{"watch a b c", "", "", false, `bad number of arguments: ["c"] (a command goes behind --)`},
		{"watch a", "k", "", false, "bad number of arguments (found conflicting environment key)"},
		{"watch a", "", "l", false, `ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END="l"`},
		{"watch --prefix", "k", "l", true, "`range_end` and `--prefix` are mutually exclusive"},
	} {
		run := &tool{environ: []string{watchKeyVariable + "=" + tc.key, watchEndVariable + "=" + tc.end}}
		_, err := run.parseWatchLine(tc.line)
		require.EqualError(t, err, tc.text, tc.line)
		if tc.passed {
			require.IsType(t, &invalidLine{}, err, tc.line)
		} else {
			require.Equal(t, exitArguments, err.(*failure).status, tc.line)
		}
	}
}

func TestVariablesNameWhatIsWatched(t *testing.T) {
	run := &tool{environ: []string{watchKeyVariable + "=k", watchEndVariable + "=l"}}
	keys, command, err := run.watchArguments([]string{"echo"}, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"k", "l"}, keys)
	require.Equal(t, []string{"echo"}, command)
}

func TestLinesAreBounded(t *testing.T) {
	run := &tool{stdin: bufio.NewReader(strings.NewReader("one\n" + strings.Repeat("x", 100_000))), global: globalFlags{maxRequestBytes: 1000}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := run.lines(ctx)
	require.Equal(t, inputLine{"one", nil}, <-lines)
	require.ErrorContains(t, (<-lines).err, "more than 8000 bytes")
}

func TestProgressAndEndOfAWatchAreSaid(t *testing.T) {
	var out, bad bytes.Buffer
	run := &tool{stdout: &out, stderr: &bad, global: globalFlags{format: "json"}}
	w := &watching{t: run}
	require.NoError(t, w.show(&client.WatchResponse{Header: header(105)}))
	require.Equal(t, "progress notify: 105\n"+`{"Header":{`+ids+`,"revision":105,"raft_term":2},"Events":[],"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}`+"\n", out.String())
	require.Empty(t, bad.String())
}

// A watch that was never made ends as one that the server has ended.
func TestAWatchThatEnds(t *testing.T) {
	var out, bad bytes.Buffer
	run := &tool{stdout: &out, stderr: &bad, global: globalFlags{format: "simple"}}
	c, err := client.New(t.Context(), client.Config{Endpoints: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	err = (&watching{t: run, c: c}).follow(t.Context(), watchRequest{key: "k"})
	require.ErrorIs(t, err, errWatchCanceled)
	require.Equal(t, exitInterrupted, err.(*failure).status)
	require.Equal(t, "watch was canceled ("+client.ErrClosed.Error()+")\n", bad.String())
	require.Empty(t, out.String())
}
