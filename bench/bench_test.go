package main

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/mvccpb"
)

func TestStatCountsUserAndSystemTime(t *testing.T) {
	got, err := parseStat([]byte("71 (a (b) c) S 1 71 71 0 -1 4194560 10 0 0 0 150 25 7 8 20 0 9 0 100 1000 200\n"))
	require.NoError(t, err)
	require.Equal(t, 1750*time.Millisecond, got)

	for _, bad := range []string{"", "71 (a) S 1", "71 (a) S 1 71 71 0 -1 4194560 10 0 0 0 x 25"} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestStatusGivesMemory(t *testing.T) {
	got, err := parseStatus([]byte("Name:\tetcd\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"))
	require.NoError(t, err)
	require.Equal(t, memory{Resident: 1 << 20, Peak: 2 << 20}, got)

	_, err = parseStatus([]byte("Name:\tetcd\nState:\tZ (zombie)\n"))
	require.Error(t, err)
}

func TestMachineTimeLeavesIdleOut(t *testing.T) {
	got, err := parseMachine([]byte("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1 2 4\n"))
	require.NoError(t, err)
	require.Equal(t, 63*tick, got)

	_, err = parseMachine([]byte("intr 5\n"))
	require.Error(t, err)
}

const h2loadReport = `starting benchmark...
spawning thread #0: 10 total client(s). 2000 total requests
Application protocol: h2c
progress: 10% done
progress: 100% done

finished in 1.29s, 15503.88 req/s, 5.12MB/s
requests: 20000 total, 20000 started, 20000 done, 19999 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 6.61MB (6929010) total, 547.04KB (560170) headers (space savings 94.12%), 5.74MB (6020000) data
                     min         max         mean         sd        +/- sd
time for request:      310us     24.51ms     10.53ms      2.01ms    70.12%
time for connect:      150us      1.81ms       930us       400us    60.00%
time to 1st byte:     1.60ms     12.10ms      7.10ms      3.00ms    60.00%
req/s           :    1550.50     1600.10     1570.20       12.20    60.00%
`

func TestH2loadReportIsUnderstood(t *testing.T) {
	got, err := parseH2load(h2loadReport)
	require.NoError(t, err)
	require.Equal(t, h2result{wall: 1290 * time.Millisecond, succeeded: 19999, data: 6020000, mean: 10530 * time.Microsecond}, got)

	for _, without := range []string{"finished in", "requests:", "traffic:", "time for request:"} {
		_, err := parseH2load(strings.ReplaceAll(h2loadReport, without, "?"))
		require.Error(t, err, without)
	}
}

func TestFrame(t *testing.T) {
	got, err := frame(&etcdserverpb.RangeRequest{Key: []byte("ab")})
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 0, 4, 0x0a, 2, 'a', 'b'}, got)
}

func TestLatencies(t *testing.T) {
	var took []time.Duration
	for i := 100; i > 0; i-- {
		took = append(took, time.Duration(i))
	}
	mean, p50, p99 := latencies(took)
	require.Equal(t, []time.Duration{50, 50, 99}, []time.Duration{mean, p50, p99})

	mean, p50, p99 = latencies(nil)
	require.Equal(t, []time.Duration{0, 0, 0}, []time.Duration{mean, p50, p99})
}

func TestKeys(t *testing.T) {
	require.Len(t, key(1), 32)
	require.NotEqual(t, key(1)[:8], key(2)[:8])
	require.Len(t, value(1), valueBytes)
	require.NotEqual(t, value(1), value(2))
	seen := map[int]bool{}
	for i := range 1000 {
		k := pick(1, i, 10)
		require.True(t, k >= 0 && k < 10)
		seen[k] = true
	}
	require.Len(t, seen, 10)
}

func TestSpread(t *testing.T) {
	require.Equal(t, spread{Mid: 2, Low: 1, High: 9}, spreadOf([]float64{9, 1, 2}))
	require.Equal(t, spread{Mid: 2.5, Low: 1, High: 9}, spreadOf([]float64{9, 3, 1, 2}))
	require.Equal(t, spread{Mid: 7, Low: 7, High: 7}, spreadOf([]float64{7}))
}

// cpus is a series whose samples used so many microseconds for each request.
func cpus(server string, us ...int) series {
	s := series{Server: server}
	for _, n := range us {
		s.Samples = append(s.Samples, sample{Requests: 1000, CPU: time.Duration(n) * time.Millisecond})
	}
	return s
}

func TestRatioOfTurnsAndMedians(t *testing.T) {
	got, err := ratio(cpus("a", 10, 20, 12), cpus("b", 40, 50, 40), sample.perRequest)
	require.NoError(t, err)
	require.InDelta(t, 0.30, got.Mid, 1e-9)
	require.InDelta(t, 0.25, got.Low, 1e-9)
	require.InDelta(t, 0.40, got.High, 1e-9)

	for _, bad := range []series{cpus("b"), cpus("b", 0, 0, 0), {Server: "b", Why: "it ended"}} {
		_, err := ratio(cpus("a", 10, 20, 12), bad, sample.perRequest)
		require.Error(t, err)
	}
}

func TestWorstFigure(t *testing.T) {
	v, err := figure{Values: []float64{1, 9, 2}, Worst: true}.value()
	require.NoError(t, err)
	require.Equal(t, spread{Mid: 9, Low: 1, High: 9}, v)

	_, err = figure{Why: "it ended"}.value()
	require.ErrorContains(t, err, "it ended")
}

func TestScaleLeavesRoom(t *testing.T) {
	require.Equal(t, 12_500, scale(1000, 2*time.Second, 200*time.Millisecond))
	require.Equal(t, 250_000, scale(1000, 2*time.Second, 0), "no tick seen counts as one")
}

func TestShareOfTheMachine(t *testing.T) {
	require.InDelta(t, 1, share(time.Duration(runtime.NumCPU())*time.Second, time.Second), 1e-9)
	require.Zero(t, share(-tick, time.Second), "clocks that do not agree")
}

func TestJudge(t *testing.T) {
	at := func(name string, mid, low, high float64, err error) limit {
		return limit{name, func(results) (spread, error) { return spread{mid, low, high}, err }, 0.4, "x"}
	}
	lines, ok := judge([]limit{at("in", 0.3, 0.2, 0.5, nil), at("at", 0.4, 0.4, 0.4, nil)}, results{})
	require.True(t, ok)
	require.Equal(t, held, lines[0].Verdict)
	require.Equal(t, held, lines[1].Verdict)

	lines, ok = judge([]limit{
		at("in", 0.3, 0.2, 0.5, nil), at("over", 0.5, 0.45, 0.6, nil), at("near", 0.41, 0.39, 0.5, nil), at("none", 0, 0, 0, errors.New("no peer")),
	}, results{})
	require.False(t, ok)
	require.Equal(t, held, lines[0].Verdict)
	require.Equal(t, missed, lines[1].Verdict)
	require.Equal(t, missed+", not by every sample", lines[2].Verdict)
	require.Equal(t, missed+": not measured: no peer", lines[3].Verdict)
	require.Zero(t, lines[3].Value)
}

func TestBudgetOfNothingIsMissed(t *testing.T) {
	b := &suite{options: options{keys: 1_000_000}, peer: kind{Name: "etcd"}}
	lines, ok := judge(b.limits(), results{})
	require.False(t, ok)
	require.Len(t, lines, 35)
	for _, l := range lines {
		require.Contains(t, l.Verdict, "not in this run", l.Name)
	}
}

func TestBudgetFindsItsRows(t *testing.T) {
	b := &suite{options: options{keys: 1_000_000}, peer: kind{Name: "etcd 3.4.23"}}
	var r results
	for _, id := range []string{getSerializable, getLinearizable, putSynced, oneGet, onePut, clusterPut, clusterOnePut, authGet, watchEvents, leaseKeepAlive, getMany, putMany} {
		one := row{ID: id}
		for _, name := range []string{ourName, signedName, echoName, b.peer.Name} {
			s := series{Server: name}
			us := time.Microsecond
			if name != ourName && name != signedName {
				us *= 10
			}
			s.Samples = []sample{{Requests: 1, Wall: us, CPU: us, Mean: us}}
			one.Series = append(one.Series, s)
		}
		r.Rows = append(r.Rows, one)
	}
	for _, id := range []string{authFloodReads, authFloodLogin, authNames, watchSlower, watchLater, watchDeafMemory, watchDeafP99, leaseStall, wipedP99, wipedRate, pageMany, pagesMany, listsMany, deafClients, probesMany, longestMany, countMany, residentMany, restartClean, restartKill} {
		r.Figures = append(r.Figures, figure{ID: id, Server: ourName, Values: []float64{0.1}}, figure{ID: id, Server: b.peer.Name, Values: []float64{999}})
	}
	lines, ok := judge(b.limits(), r)
	require.True(t, ok, "%+v", lines)
}

func TestTable(t *testing.T) {
	r := results{
		Rows: []row{{Name: "get", ID: "get", Client: "h2load 1x1", Series: []series{
			{Server: ourName, Samples: []sample{{Requests: 1000, Wall: time.Second, CPU: 5 * time.Millisecond, Mean: time.Millisecond}}},
			{Server: "etcd", Samples: []sample{{Requests: 1000, Wall: time.Second, CPU: 50 * time.Millisecond, Mean: 4 * time.Millisecond}}},
			{Server: "echo", Why: "it ended"},
		}}},
		Figures: []figure{{ID: "page", Name: "page", Unit: "ms", Server: ourName, Values: []float64{1, 2, 3}}, {ID: "page", Unit: "ms", Server: "etcd", Values: []float64{500}}},
	}
	var out strings.Builder
	r.write(&out)
	for _, want := range []string{
		"get (h2load 1x1)\n", "  echo  not measured: it ended\n", "1,000", " 0.10 ", " 0.25 ", "2 (1..3) ms", "500 ms", "0.004",
	} {
		require.Contains(t, out.String(), want)
	}
}

func TestNumbers(t *testing.T) {
	require.Equal(t, "1,234,567", thousands(1234567))
	require.Equal(t, "123", thousands(123))
	require.Equal(t, none, known(0))
	require.Equal(t, "0.35", known(0.351))
	require.Equal(t, "35", known(35.1))
}

func TestOptions(t *testing.T) {
	o, err := parse(nil)
	require.NoError(t, err)
	require.Equal(t, []int{3, 100_000, 5}, []int{o.samples, o.keys, o.kills})
	require.Equal(t, 2*time.Second, o.goal)

	o, err = parse([]string{"-quick", "-keys", "2000"})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2000, 500}, []int{o.samples, o.keys, o.scaled(10_000)})
}

// A row of watchers fails where an event was lost, or told twice, or a stream ended.
func TestLostEventsAreMissed(t *testing.T) {
	for _, tc := range []struct {
		told, puts int
		why        string
	}{
		{told: 20, puts: 20},
		{told: 19, puts: 20, why: "told 19 events of 20 puts"},
		{told: 21, puts: 20, why: "told 21 events of 20 puts"},
		{told: -1, puts: 20, why: "the member ends"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var first atomic.Bool
		fake := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			for range 2 {
				if err := stream.RecvMsg(&etcdserverpb.WatchRequest{}); err != nil {
					return err
				}
				if err := stream.SendMsg(&etcdserverpb.WatchResponse{Created: true}); err != nil {
					return err
				}
			}
			if tc.told < 0 {
				return status.Error(codes.Unavailable, tc.why)
			}
			if first.CompareAndSwap(false, true) {
				e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k")}}
				if err := stream.SendMsg(&etcdserverpb.WatchResponse{Events: slices.Repeat([]*mvccpb.Event{e}, tc.told)}); err != nil {
					return err
				}
			}
			<-stream.Context().Done()
			return nil
		}))
		go fake.Serve(l)
		end, err := watchMany(t.Context(), &server{addr: l.Addr().String()}, 3, 2)
		if err == nil { // a stream may have ended before the last was opened
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err = end(ctx, int64(tc.puts))
			cancel()
		}
		if tc.why == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, tc.why)
		}
		fake.Stop()
	}
}
