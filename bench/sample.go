package main

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// sample is one run of one load against one server.
type sample struct {
	Requests int           `json:"requests"`
	Wall     time.Duration `json:"wall_ns"`
	CPU      time.Duration `json:"server_cpu_ns"`
	Mean     time.Duration `json:"mean_ns"`
	P50      time.Duration `json:"p50_ns,omitempty"` // 0: not known
	P99      time.Duration `json:"p99_ns,omitempty"`
	Others   float64       `json:"others"` // share of the machine that neither server nor client used
}

func (s sample) perRequest() float64 { return s.CPU.Seconds() / float64(s.Requests) }
func (s sample) rate() float64       { return float64(s.Requests) / s.Wall.Seconds() }
func (s sample) mean() float64       { return s.Mean.Seconds() }
func (s sample) p50() float64        { return s.P50.Seconds() }
func (s sample) p99() float64        { return s.P99.Seconds() }

// series is what one server did under one load, or why that is not known.
type series struct {
	Server  string   `json:"server"`
	Samples []sample `json:"samples,omitempty"`
	Peak    int64    `json:"peak_bytes,omitempty"` // VmHWM at the end
	Why     string   `json:"not_measured,omitempty"`
}

// row is one load and every server that had it, in the order of their turns.
type row struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Client string   `json:"client"`
	Series []series `json:"series"`
}

// figure is one number of one server that is no load: a time, a size.
type figure struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Server string    `json:"server"`
	Values []float64 `json:"values,omitempty"`
	Worst  bool      `json:"worst"` // the worst of the values counts, not their median
	Why    string    `json:"not_measured,omitempty"`
}

// results is everything that was measured.
type results struct {
	Rows    []row    `json:"rows"`
	Figures []figure `json:"figures"`
}

// spread is a median between the lowest and the highest.
type spread struct{ Mid, Low, High float64 }

// spreadOf panics if there are no values.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (mid + v[len(v)/2-1]) / 2
	}
	return spread{Mid: mid, Low: v[0], High: v[len(v)-1]}
}

// of is the spread of one metric over the samples.
func (s series) of(metric func(sample) float64) spread {
	v := make([]float64, len(s.Samples))
	for i, x := range s.Samples {
		v[i] = metric(x)
	}
	return spreadOf(v)
}

// ratio compares two servers' samples turn by turn, so that whatever disturbed
// a turn disturbed both; the ratio in the middle is that of the medians.
func ratio(a, b series, metric func(sample) float64) (spread, error) {
	for _, s := range []series{a, b} {
		if s.Why != "" {
			return spread{}, errors.New(s.Server + ": " + s.Why)
		}
	}
	n := min(len(a.Samples), len(b.Samples))
	if n == 0 {
		return spread{}, errors.New("no samples")
	}
	turns := make([]float64, n)
	for i := range turns {
		under := metric(b.Samples[i])
		if under == 0 {
			return spread{}, errors.New(b.Server + ": a sample is zero")
		}
		turns[i] = metric(a.Samples[i]) / under
	}
	r := spreadOf(turns)
	r.Mid = a.of(metric).Mid / b.of(metric).Mid
	return r, nil
}

// value is the figure's one number.
func (f figure) value() (spread, error) {
	if f.Why != "" {
		return spread{}, errors.New(f.Server + ": " + f.Why)
	}
	if len(f.Values) == 0 {
		return spread{}, errors.New(f.Server + ": no values")
	}
	s := spreadOf(f.Values)
	if f.Worst {
		s.Mid = s.High
	}
	return s, nil
}

// find returns the series of a row; one that is not there says so.
func (r results) find(id, server string) series {
	for _, row := range r.Rows {
		if row.ID != id {
			continue
		}
		for _, s := range row.Series {
			if s.Server == server {
				return s
			}
		}
	}
	return series{Server: server, Why: "not in this run"}
}

func (r results) figure(id, server string) figure {
	for _, f := range r.Figures {
		if f.ID == id && f.Server == server {
			return f
		}
	}
	return figure{ID: id, Server: server, Why: "not in this run"}
}

// micros is a metric of a server in microseconds.
func micros(s series, metric func(sample) float64) (spread, error) {
	if s.Why != "" || len(s.Samples) == 0 {
		return spread{}, errors.New(s.Server + ": " + cmp.Or(s.Why, "no samples"))
	}
	of := s.of(metric)
	return spread{of.Mid * 1e6, of.Low * 1e6, of.High * 1e6}, nil
}
