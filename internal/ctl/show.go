package ctl

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
)

// shown is the output of a command, in each format it has. The formats that are
// nil are not supported.
type shown struct {
	simple func(w io.Writer)
	fields func(w io.Writer)
	table  func() table
	// json returns what encoding/json is to write.
	json func() any
	// proto is the bytes of a message, without a frame.
	proto proto.Message
}

var formats = []string{"fields", "json", "protobuf", "simple", "table"}

func (t *tool) checkFormat() error {
	if !slices.Contains(formats, t.global.format) {
		return &failure{exitFormat, fmt.Errorf("unsupported output format")}
	}
	return nil
}

// show writes s to stdout in the format that was asked for. That it has none is
// said here only, when the command has done its work.
func (t *tool) show(s shown) error {
	w := bufio.NewWriter(t.stdout)
	write := s.writer(t.global.format)
	if write == nil {
		return &failure{exitFormat, fmt.Errorf("%s not supported as output format", t.global.format)}
	}
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}

func (s shown) writer(format string) func(io.Writer) error {
	switch {
	case format == "simple" && s.simple != nil:
		return func(w io.Writer) error { s.simple(w); return nil }
	case format == "fields" && s.fields != nil:
		return func(w io.Writer) error { s.fields(w); return nil }
	case format == "table" && s.table != nil:
		return func(w io.Writer) error { s.table().write(w); return nil }
	case format == "json" && s.json != nil:
		return func(w io.Writer) error {
			text, err := json.Marshal(s.json())
			if err == nil {
				_, err = fmt.Fprintf(w, "%s\n", text)
			}
			return err
		}
	case format == "protobuf" && s.proto != nil:
		return func(w io.Writer) error {
			message, err := proto.Marshal(s.proto)
			if err == nil {
				_, err = w.Write(message)
			}
			return err
		}
	}
	return nil
}
