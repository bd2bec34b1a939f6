package version

import (
	"fmt"
	"strconv"
	"strings"
)

// Number is what members compare of a version; patches do not count.
type Number struct{ Major, Minor int }

// Parse reads "X.Y" or "X.Y.Z".
func Parse(s string) (n Number, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return Number{}, false
	}
	var values [3]int
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 16)
		if err != nil || strconv.FormatUint(v, 10) != p {
			return Number{}, false
		}
		values[i] = int(v)
	}
	return Number{values[0], values[1]}, true
}

// Less says whether n comes before o.
func (n Number) Less(o Number) bool {
	return n.Major < o.Major || n.Major == o.Major && n.Minor < o.Minor
}

// Short is "X.Y".
func (n Number) Short() string { return fmt.Sprintf("%d.%d", n.Major, n.Minor) }

// String is "X.Y.0", the form in which clusters agree on a version.
func (n Number) String() string { return n.Short() + ".0" }
