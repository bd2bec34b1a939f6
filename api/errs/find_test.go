package errs

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

func TestEveryRowIsFound(t *testing.T) {
	source, err := os.ReadFile("errs.go")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\t(\w+) += &Error\{"(\w+)"`).FindAllStringSubmatch(string(source), -1)
	require.NotEmpty(t, rows)
	byName := map[string]*Error{}
	for _, row := range table {
		byName[row.Name()] = row
		found, ok := Find(row.Code(), row.Error())
		require.True(t, ok)
		require.Same(t, row, found, "two rows have one code and text")
	}
	for _, m := range rows {
		require.Equal(t, m[1], m[2], "a row is named as its variable")
		require.Contains(t, byName, m[1], "find.go lacks a row of errs.go")
	}
	require.Len(t, table, len(rows))
}

func TestBothCodeAndTextMustMatch(t *testing.T) {
	row, ok := Find(codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted")
	require.True(t, ok)
	require.Same(t, Compacted, row)
	_, ok = Find(codes.Unknown, "etcdserver: mvcc: required revision has been compacted")
	require.False(t, ok)
	_, ok = Find(codes.OutOfRange, "something else")
	require.False(t, ok)
}
