package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// load is something to do to servers.
type load struct {
	id, name, client string
	run              runner
	fixed            int // requests of a sample; 0: as many as the CPU goal takes
	least            int // requests that a sample has in any case
}

// runner makes n requests of a server. turn counts the rounds, so that a load
// over many keys does not repeat itself.
type runner func(ctx context.Context, s *server, turn, n int) (sample, error)

// meter takes samples.
type meter struct {
	turns    int
	goal     time.Duration // server CPU of a sample
	patience time.Duration // what is left of the time to wait for a quiet machine
	progress io.Writer
}

// row gives the load to every server in turn, again and again. A server that
// fails is left out from then on, and the row says why.
func (m *meter) row(ctx context.Context, l load, servers []*server) row {
	out := row{ID: l.id, Name: l.name, Client: l.client}
	size := make([]int, len(servers))
	for i, s := range servers {
		out.Series = append(out.Series, series{Server: s.Name})
		n, err := m.size(ctx, l, s)
		size[i] = n
		if err != nil {
			out.Series[i].Why = err.Error()
		}
	}
	for turn := 1; turn <= m.turns; turn++ {
		for i, s := range servers {
			to := &out.Series[i]
			if to.Why != "" {
				continue
			}
			x, err := m.sample(ctx, l, s, turn, size[i])
			for err == nil && l.fixed == 0 && x.CPU < m.goal { // it got faster as it went
				size[i] = scale(size[i], m.goal, x.CPU)
				x, err = m.sample(ctx, l, s, turn, size[i])
			}
			if err != nil {
				to.Why, to.Samples = err.Error(), nil
				continue
			}
			to.Samples = append(to.Samples, x)
			fmt.Fprintf(m.progress, "%s, %s: %s, turn %d: %.1f us of CPU, %.0f/s\n", l.name, l.client, s.Name, turn, x.perRequest()*1e6, x.rate())
		}
	}
	for i, s := range servers {
		if out.Series[i].Why == "" && s.running() == nil {
			s.memory()
			out.Series[i].Peak = s.peak
		}
	}
	for _, s := range out.Series {
		if s.Why != "" {
			fmt.Fprintf(m.progress, "%s, %s: %s not measured: %s\n", l.name, l.client, s.Server, strings.TrimSpace(s.Why))
		}
	}
	return out
}

// size warms the server up and finds how many requests make a sample.
func (m *meter) size(ctx context.Context, l load, s *server) (int, error) {
	if l.fixed > 0 {
		_, err := m.sample(ctx, l, s, 0, max(1, l.fixed/10))
		return l.fixed, err
	}
	const enough = 20 * tick
	for n := 2000; ; n *= 4 {
		x, err := m.sample(ctx, l, s, 0, n)
		if err != nil {
			return 0, err
		}
		if x.CPU >= min(enough, m.goal) {
			return max(l.least, scale(n, m.goal, x.CPU)), nil
		}
	}
}

// scale is how many requests use goal, and some to spare, where n used cpu.
func scale(n int, goal, cpu time.Duration) int {
	return int(1.25 * float64(n) * float64(goal) / float64(max(cpu, tick)))
}

// sample runs the load once and adds what the server and the machine spent.
func (m *meter) sample(ctx context.Context, l load, s *server, turn, n int) (sample, error) {
	if err := ctx.Err(); err != nil {
		return sample{}, err
	}
	if err := s.running(); err != nil {
		return sample{}, err
	}
	m.quiet(ctx)
	before, err := spentNow(s)
	if err != nil {
		return sample{}, err
	}
	x, err := l.run(ctx, s, turn, n)
	if err != nil {
		return sample{}, err
	}
	after, err := spentNow(s)
	if err != nil {
		return sample{}, err
	}
	x.CPU = after.server - before.server
	x.Others = share(after.machine-before.machine-x.CPU-(after.own-before.own), after.at.Sub(before.at))
	return x, nil
}

// quiet waits while other processes, servers that still tidy up among them, use
// more than a little of the machine; over all samples no longer than patience.
func (m *meter) quiet(ctx context.Context) {
	const look, little = 100 * time.Millisecond, 0.15
	for told := false; m.patience > 0 && ctx.Err() == nil; {
		before, err := machineCPU()
		time.Sleep(look)
		after, err2 := machineCPU()
		if err != nil || err2 != nil || share(after-before, look) <= little {
			return
		}
		m.patience -= look
		if !told {
			told = true
			fmt.Fprintln(m.progress, "waiting for a quiet machine")
		}
	}
}

// share is how much of all cores some CPU time is.
func share(cpu, wall time.Duration) float64 {
	return max(0, cpu.Seconds()/(wall.Seconds()*float64(runtime.NumCPU())))
}

// spent is the CPU time used up to a moment: by a server, by us and our
// clients, by all.
type spent struct {
	at                   time.Time
	server, own, machine time.Duration
}

func spentNow(s *server) (spent, error) {
	p := spent{at: time.Now(), own: ownCPU()}
	var err error
	if p.server, err = s.cpu(); err != nil {
		return p, err
	}
	p.machine, err = machineCPU()
	return p, err
}
