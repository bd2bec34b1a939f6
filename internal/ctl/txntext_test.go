package ctl

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
)

func TestComparisonsAreRead(t *testing.T) {
	for line, want := range map[string]client.Cmp{
		`value("k") = "v"`:            client.Compare(client.Value("k"), "=", "v"),
		`val("k") != "v w"`:           client.Compare(client.Value("k"), "!=", "v w"),
		`value(k) = v`:                client.Compare(client.Value("k"), "=", "v"),
		`value("a \"b\" )") = "\x00"`: client.Compare(client.Value(`a "b" )`), "=", "\x00"),
		`value("k") = ""`:             client.Compare(client.Value("k"), "=", ""),
		`ver("k") > "0"`:              client.Compare(client.Version("k"), ">", 0),
		`version("k")<5`:              client.Compare(client.Version("k"), "<", 5),
		`c("k") = 1`:                  client.Compare(client.CreateRevision("k"), "=", 1),
		`create("k") = -1`:            client.Compare(client.CreateRevision("k"), "=", -1),
		`m("k") = 1`:                  client.Compare(client.ModRevision("k"), "=", 1),
		`mod ( "k" ) != 1`:            client.Compare(client.ModRevision("k"), "!=", 1),
		`lease("k") = 5315a200511fc8`: client.Compare(client.LeaseValue("k"), "=", int64(0x5315a200511fc8)),
		`lease("k") = 0`:              client.Compare(client.LeaseValue("k"), "=", 0),
	} {
		got, err := parseCompare(line)
		require.NoError(t, err, line)
		require.Equal(t, want, got, line)
	}
	for line, want := range map[string]string{
		`bogus("a") = "1"`:   `malformed comparison: bogus("a") = "1" (unknown target bogus)`,
		`value("a") ~ "1"`:   `malformed comparison: value("a") ~ "1"`,
		`garbage`:            `malformed comparison: garbage`,
		`("a") = 1`:          `malformed comparison: ("a") = 1`,
		`value("a" = 1`:      `malformed comparison: value("a" = 1`,
		`value("a) = 1`:      `malformed comparison: value("a) = 1`,
		`value("a") =`:       `malformed comparison: value("a") =`,
		`value("a") = "1" 2`: `malformed comparison: value("a") = "1" 2`,
		`value("a") = 1 2`:   `malformed comparison: value("a") = 1 2`,
		`ver("a") = "x"`:     `invalid txn compare request: ver("a") = "x"`,
		`lease("a") = "xyz"`: `invalid txn compare request: lease("a") = "xyz"`,
		`mod("a") = 1e3`:     `invalid txn compare request: mod("a") = 1e3`,
	} {
		_, err := parseCompare(line)
		require.EqualError(t, err, want)
		require.Equal(t, exitInput, err.(*failure).status)
	}
}

func TestArgumentsAreSplit(t *testing.T) {
	for line, want := range map[string][]string{
		`put a b`:               {"put", "a", "b"},
		"  put\ta   b ":         {"put", "a", "b"},
		`put "a b" 'c d'`:       {"put", "a b", "c d"},
		`put a "line\nline"`:    {"put", "a", "line\nline"},
		`put a 'line\nline'`:    {"put", "a", `line\nline`},
		`put a ""`:              {"put", "a", ""},
		`put a'b'"c"d`:          {"put", "abcd"},
		`get --rev=3 'don"t'`:   {"get", "--rev=3", `don"t`},
		`put a "say \"hello\""`: {"put", "a", `say "hello"`},
	} {
		got, err := splitArguments(line)
		require.NoError(t, err, line)
		require.Equal(t, want, got, line)
	}
	for _, line := range []string{`put "a`, `put 'a`, `put "\q"`} {
		_, err := splitArguments(line)
		require.Error(t, err, line)
	}
}

func TestOperationsAreRead(t *testing.T) {
	for line, want := range map[string]client.Op{
		`put k "v w" --prev-kv`: client.OpPut("k", "v w", client.WithPrevKV()),
		`put k --ignore-value`:  client.OpPut("k", "", client.WithIgnoreValue()),
		`put --lease=1f k v`:    client.OpPut("k", "v", client.WithLease(31)),
		`put k -- -v`:           client.OpPut("k", "-v"),
		`del k --prefix`:        client.OpDelete("k", client.WithPrefix()),
		`del a b`:               client.OpDelete("a", client.WithRange("b")),
	} {
		got, err := parseTxnOp(line)
		require.NoError(t, err, line)
		require.Equal(t, want, got.op, line)
	}
	get, err := parseTxnOp(`get k --print-value-only --keys-only`)
	require.NoError(t, err)
	require.True(t, get.valuesOnly)
	for line, tc := range map[string]struct {
		status int
		text   string
	}{
		`foo bar`:            {exitInput, "invalid txn request: foo bar"},
		`txn`:                {exitInput, "invalid txn request: txn"},
		`get k --bogus`:      {exitInput, "invalid txn request: get k --bogus (unknown flag: --bogus)"},
		`put "k`:             {exitInput, `invalid txn request: put "k (a double quote is not closed, or what it quotes is malformed)`},
		`put k`:              {exitArguments, "put command needs 1 argument and input from stdin or 2 arguments"},
		`put k v --lease=zz`: {exitArguments, `bad lease ID (strconv.ParseInt: parsing "zz": invalid syntax), expecting ID in Hex`},
		`get`:                {exitArguments, "get command needs one argument as key and an optional argument as range_end"},
		`del`:                {exitArguments, "del command needs one argument as key and an optional argument as range_end"},
	} {
		_, err := parseTxnOp(line)
		require.EqualError(t, err, tc.text)
		require.Equal(t, tc.status, err.(*failure).status, line)
	}
}

func TestTransactionsAreBounded(t *testing.T) {
	read := func(text string) (*txnText, error) {
		run := &tool{stdin: bufio.NewReader(strings.NewReader(text)), global: globalFlags{maxRequestBytes: 10_000}}
		return run.readTxn(false)
	}
	for _, endless := range []string{strings.Repeat("x", 100_000), strings.Repeat("ver(k) = 0\n", 10_000)} {
		_, err := read(endless)
		require.ErrorContains(t, err, "bytes on stdin")
		require.Equal(t, exitInput, err.(*failure).status)
	}
	text, err := read("\nput k \"" + strings.Repeat("x", 50_000) + "\"\n\n\n")
	require.NoError(t, err)
	require.Len(t, text.success, 1)
}

// FuzzTxnText: whatever is quoted comes back as it was, and nothing panics.
func FuzzTxnText(f *testing.F) {
	f.Add("k", "v")
	f.Add("a \"b\" )", "\x00\xff")
	f.Add(`lease("k") = 1f`, `put 'a' "b`)
	f.Fuzz(func(t *testing.T, a, b string) {
		got, err := parseCompare(fmt.Sprintf("value(%q) = %q", a, b))
		require.NoError(t, err)
		require.Equal(t, client.Compare(client.Value(a), "=", b), got)
		args, err := splitArguments(fmt.Sprintf("put %q %q", a, b))
		require.NoError(t, err)
		require.Equal(t, []string{"put", a, b}, args)
		parseCompare(a)
		if a = strings.TrimSpace(a); a != "" {
			parseTxnOp(a)
		}
	})
}
