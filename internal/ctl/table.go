package ctl

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is rows of cells under a header, drawn with lines: the header centred
// and in upper case, the cells to the right.
type table struct {
	header []string
	rows   [][]string
}

func (t table) write(w io.Writer) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	rule := func(left, middle, right string) {
		var parts []string
		for _, n := range widths {
			parts = append(parts, strings.Repeat("─", n+2))
		}
		fmt.Fprintln(w, left+strings.Join(parts, middle)+right)
	}
	line := func(cells []string, align func(cell string, width int) string) {
		var parts []string
		for i, cell := range cells {
			parts = append(parts, " "+align(cell, widths[i])+" ")
		}
		fmt.Fprintln(w, "│"+strings.Join(parts, "│")+"│")
	}
	rule("┌", "┬", "┐")
	line(t.header, func(cell string, width int) string {
		free := width - utf8.RuneCountInString(cell)
		return strings.Repeat(" ", free/2) + strings.ToUpper(cell) + strings.Repeat(" ", free-free/2)
	})
	rule("├", "┼", "┤")
	for _, row := range t.rows {
		line(row, func(cell string, width int) string {
			return strings.Repeat(" ", width-utf8.RuneCountInString(cell)) + cell
		})
	}
	rule("└", "┴", "┘")
}
