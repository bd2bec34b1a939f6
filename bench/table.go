package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// none stands where there is no figure.
const none = "-"

// table is lines of cells; the first left columns are aligned to the left, the
// rest to the right.
type table struct {
	left  int
	lines [][]string
}

func (t *table) add(cells ...string) { t.lines = append(t.lines, cells) }

// write gives every column the width of its widest cell. A line of one cell is
// text, and widens nothing.
func (t *table) write(w io.Writer) {
	var width []int
	for _, line := range t.lines {
		for i, c := range line {
			if len(width) == i {
				width = append(width, 0)
			}
			if len(line) > 1 {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
	}
	for _, line := range t.lines {
		var out strings.Builder
		for i, c := range line {
			pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(c)))
			if i >= t.left {
				c = pad + c
			} else {
				c += pad
			}
			if i > 0 {
				out.WriteString("  ")
			}
			out.WriteString(c)
		}
		fmt.Fprintln(w, strings.TrimRight(out.String(), " "))
	}
}

// write prints everything measured, and our ratios to the others.
func (r results) write(w io.Writer) {
	r.writeRows(w)
	if len(r.Figures) > 0 {
		fmt.Fprintln(w)
		r.writeFigures(w)
	}
}

func (r results) writeRows(w io.Writer) {
	rows := table{left: 2}
	rows.add("", "", "CPU us/request", "requests/s", "mean ms", "p50 ms", "p99 ms", "peak MB", "ours: CPU x", "mean x", "others")
	for _, row := range r.Rows {
		rows.add(row.Name + " (" + row.Client + ")")
		us := r.find(row.ID, ourName)
		for _, s := range row.Series {
			if s.Why != "" {
				rows.add("  " + s.Server + "  not measured: " + s.Why)
				continue
			}
			cpu, mean := none, none
			if s.Server != ourName {
				cpu, mean = times(ratio(us, s, sample.perRequest)), times(ratio(us, s, sample.mean))
			}
			rows.add("  "+s.Server, "", ranged(s.of(sample.perRequest), 1e6, "%.1f"), thousands(s.of(sample.rate).Mid),
				known(s.of(sample.mean).Mid*1e3), known(s.of(sample.p50).Mid*1e3), known(s.of(sample.p99).Mid*1e3),
				known(megabytes(s.Peak)), cpu, mean, fmt.Sprintf("%.0f%%", 100*s.of(func(x sample) float64 { return x.Others }).High))
		}
	}
	rows.write(w)
}

// writeFigures puts the servers of each figure below each other.
func (r results) writeFigures(w io.Writer) {
	t := table{left: 2}
	t.add("", "", "", "ours: x")
	last := ""
	for _, f := range r.Figures {
		if f.ID != last {
			t.add(f.Name)
			last = f.ID
		}
		v, err := f.value()
		if err != nil {
			t.add("  " + f.Server + "  not measured: " + f.Why)
			continue
		}
		over := none
		if us, err := r.figure(f.ID, ourName).value(); err == nil && f.Server != ourName && v.Mid > 0 {
			over = fmt.Sprintf("%.3g", us.Mid/v.Mid)
		}
		t.add("  "+f.Server, "", ranged(v, 1, "%.3g")+" "+f.Unit, over)
	}
	t.write(w)
}

// ranged prints the median and, if they differ, the lowest and the highest.
func ranged(s spread, scale float64, format string) string {
	mid, low, high := fmt.Sprintf(format, s.Mid*scale), fmt.Sprintf(format, s.Low*scale), fmt.Sprintf(format, s.High*scale)
	if low == high {
		return mid
	}
	return mid + " (" + low + ".." + high + ")"
}

// times prints a ratio.
func times(s spread, err error) string {
	if err != nil {
		return none
	}
	return ranged(s, 1, "%.2f")
}

// known prints a figure of which 0 means that it is not known.
func known(v float64) string {
	switch {
	case v == 0:
		return none
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// thousands prints a whole number in groups of three digits.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
