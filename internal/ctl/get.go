package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"etcd.alt/client"
)

// getFlags are the flags of get, which a transaction has too.
type getFlags struct {
	set *pflag.FlagSet

	consistency, order, sortBy   string
	limit, rev                   int64
	prefix, fromKey              bool
	keysOnly, countOnly, valOnly bool
	minCreate, maxCreate         int64
	minMod, maxMod               int64
}

func newGetFlags(f *pflag.FlagSet) *getFlags {
	g := &getFlags{set: f}
	f.StringVar(&g.consistency, "consistency", "l", "l (linearizable) or s (serializable: what one member knows)")
	f.StringVar(&g.order, "order", "", "ASCEND or DESCEND")
	f.StringVar(&g.sortBy, "sort-by", "", "CREATE, KEY, MODIFY, VALUE or VERSION")
	f.Int64Var(&g.limit, "limit", 0, "number of keys at most (0: all)")
	f.BoolVar(&g.prefix, "prefix", false, "every key that begins with <key>")
	f.BoolVar(&g.fromKey, "from-key", false, "every key from <key> on")
	f.Int64Var(&g.rev, "rev", 0, "revision to read at (0: now)")
	f.BoolVar(&g.keysOnly, "keys-only", false, "leave the values out")
	f.BoolVar(&g.countOnly, "count-only", false, "only count, with --write-out=fields")
	f.BoolVar(&g.valOnly, "print-value-only", false, "leave the keys out, with --write-out=simple")
	f.Int64Var(&g.minCreate, "min-create-rev", 0, "lowest revision of creation (0: any)")
	f.Int64Var(&g.maxCreate, "max-create-rev", 0, "highest revision of creation (0: any)")
	f.Int64Var(&g.minMod, "min-mod-rev", 0, "lowest revision of the last change (0: any)")
	f.Int64Var(&g.maxMod, "max-mod-rev", 0, "highest revision of the last change (0: any)")
	return g
}

// request is the key and the options of the get that args and the flags
// describe.
func (g *getFlags) request(args []string) (string, []client.OpOption, error) {
	if len(args) == 0 {
		return "", nil, badArguments("get command needs one argument as key and an optional argument as range_end")
	}
	options, err := rangeOptions(args, g.prefix, g.fromKey)
	if err != nil {
		return "", nil, err
	}
	if g.keysOnly && g.countOnly {
		return "", nil, badArguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	}
	sort, err := g.sort()
	if err != nil {
		return "", nil, err
	}
	options = append(options, sort, client.WithRev(g.rev), client.WithLimit(g.limit),
		client.WithMinCreateRev(g.minCreate), client.WithMaxCreateRev(g.maxCreate),
		client.WithMinModRev(g.minMod), client.WithMaxModRev(g.maxMod))
	if g.keysOnly {
		options = append(options, client.WithKeysOnly())
	}
	if g.countOnly {
		options = append(options, client.WithCountOnly())
	}
	switch g.consistency {
	case "l":
	case "s":
		options = append(options, client.WithSerializable())
	default:
		return "", nil, &failure{exitFormat, fmt.Errorf("unknown consistency flag %q", g.consistency)}
	}
	return args[0], options, nil
}

// rangeOptions is the range that a second argument or a flag spans.
func rangeOptions(args []string, prefix, fromKey bool) ([]client.OpOption, error) {
	switch {
	case prefix && fromKey:
		return nil, badArguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")
	case len(args) > 1 && (prefix || fromKey):
		return nil, badArguments("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case prefix:
		return []client.OpOption{client.WithPrefix()}, nil
	case fromKey:
		return []client.OpOption{client.WithFromKey()}, nil
	case len(args) > 1:
		return []client.OpOption{client.WithRange(args[1])}, nil
	}
	return nil, nil
}

func (g *getFlags) sort() (client.OpOption, error) {
	orders := map[string]client.SortOrder{"": client.SortNone, "ASCEND": client.SortAscend, "DESCEND": client.SortDescend}
	order, ok := orders[strings.ToUpper(g.order)]
	if !ok {
		return nil, &failure{exitFormat, fmt.Errorf("bad sort order %v", g.order)}
	}
	targets := map[string]client.SortTarget{
		"":        client.SortByKey,
		"CREATE":  client.SortByCreateRevision,
		"KEY":     client.SortByKey,
		"MODIFY":  client.SortByModRevision,
		"VALUE":   client.SortByValue,
		"VERSION": client.SortByVersion,
	}
	target, ok := targets[strings.ToUpper(g.sortBy)]
	if !ok {
		return nil, &failure{exitFormat, fmt.Errorf("bad sort target %v", g.sortBy)}
	}
	return client.WithSort(target, order), nil
}

// check holds the flags against the format of the output.
func (g *getFlags) check(format string) error {
	switch {
	case g.valOnly && format != "simple":
		return badArguments("print-value-only is only for `--write-out=simple`")
	case g.countOnly && format != "fields":
		return badArguments("--count-only is only for `--write-out=fields`")
	}
	return nil
}

func (t *tool) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get [options] <key> [range_end]",
		Short: "Get a key, or the keys from <key> up to <range_end>",
	}
	flags := newGetFlags(cmd.Flags())
	stream := cmd.Flags().Bool("stream", false, "take the answer in parts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key, options, err := flags.request(args)
		if err != nil {
			return err
		}
		if err := flags.check(t.global.format); err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			if *stream {
				return t.getStream(ctx, c, key, options, flags.valOnly)
			}
			res, err := c.Get(ctx, key, options...)
			if err != nil {
				return err
			}
			return t.show(t.shownGet(res, flags.valOnly))
		})
	}
	return cmd
}

// getStream shows the parts of a list as they come where the format lets it,
// else the whole.
func (t *tool) getStream(ctx context.Context, c *client.Client, key string, options []client.OpOption, valuesOnly bool) error {
	whole := &client.GetResponse{}
	for part, err := range c.GetStream(ctx, key, options...) {
		if err != nil {
			return err
		}
		if t.global.format == "simple" {
			if err := t.show(t.shownGet(part, valuesOnly)); err != nil {
				return err
			}
			continue
		}
		whole.Kvs = append(whole.Kvs, part.Kvs...)
		whole.Header, whole.More, whole.Count = part.Header, part.More, part.Count
	}
	if t.global.format == "simple" {
		return nil
	}
	return t.show(t.shownGet(whole, valuesOnly))
}

func (t *tool) shownGet(r *client.GetResponse, valuesOnly bool) shown {
	return shown{
		simple: func(w io.Writer) {
			for _, kv := range r.Kvs {
				if valuesOnly {
					fmt.Fprintln(w, t.bytesText(kv.Value))
				} else {
					t.writePair(w, kv)
				}
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, kv := range r.Kvs {
				t.fieldPair(w, "", kv)
			}
			fmt.Fprintf(w, "\"More\" : %v\n\"Count\" : %d\n", r.More, r.Count)
		},
		json:  func() any { return toJSONGet(r) },
		proto: r,
	}
}
