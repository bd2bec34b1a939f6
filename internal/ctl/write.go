package ctl

import (
	"fmt"
	"io"
	"math"
	"strings"

	"etcd.alt/client"
)

// bytesText is a key or value as simple output has it.
func (t *tool) bytesText(b []byte) string {
	if !t.global.hex {
		return string(b)
	}
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// idText is an id as output in fields has it.
func (t *tool) idText(id uint64) string {
	if t.global.hex {
		return fmt.Sprintf("%x", id)
	}
	return fmt.Sprint(id)
}

// writePair writes a key and its value on two lines.
func (t *tool) writePair(w io.Writer, kv *client.KeyValue) {
	fmt.Fprintf(w, "%s\n%s\n", t.bytesText(kv.Key), t.bytesText(kv.Value))
}

// writeRows writes the rows of a table as simple output has them.
func writeRows(w io.Writer, rows [][]string) {
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, ", "))
	}
}

// fieldHeader writes a header as fields; nothing if there is none.
func (t *tool) fieldHeader(w io.Writer, h *client.ResponseHeader) {
	if h == nil {
		return
	}
	fmt.Fprintf(w, "\"ClusterID\" : %s\n\"MemberID\" : %s\n", t.idText(h.ClusterId), t.idText(h.MemberId))
	if h.Revision != 0 {
		fmt.Fprintf(w, "\"Revision\" : %d\n", h.Revision)
	}
	fmt.Fprintf(w, "\"RaftTerm\" : %d\n", h.RaftTerm)
}

// fieldPair writes a key's fields, each name after a prefix.
func (t *tool) fieldPair(w io.Writer, prefix string, kv *client.KeyValue) {
	fmt.Fprintf(w, "\"%sKey\" : %q\n", prefix, kv.Key)
	fmt.Fprintf(w, "\"%sCreateRevision\" : %d\n", prefix, kv.CreateRevision)
	fmt.Fprintf(w, "\"%sModRevision\" : %d\n", prefix, kv.ModRevision)
	fmt.Fprintf(w, "\"%sVersion\" : %d\n", prefix, kv.Version)
	fmt.Fprintf(w, "\"%sValue\" : %q\n", prefix, kv.Value)
	lease := "%d"
	if t.global.hex {
		lease = "%x"
	}
	fmt.Fprintf(w, "\"%sLease\" : "+lease+"\n", prefix, kv.Lease)
}

// size is a number of bytes with an SI unit, two digits below ten of it.
func size(n int64) string {
	if n < 10 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	e := math.Floor(math.Log(float64(n)) / math.Log(1000))
	value := math.Floor(float64(n)/math.Pow(1000, e)*10+0.5) / 10
	if value < 10 {
		return fmt.Sprintf("%.1f %s", value, units[int(e)])
	}
	return fmt.Sprintf("%.0f %s", value, units[int(e)])
}
