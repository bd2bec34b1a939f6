package web

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// silent posts an empty request with no header that HTTP does not ask for, and
// returns what comes back.
func silent(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	c, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", u.Path)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

func TestPagesOfOtherOrigins(t *testing.T) {
	const some, other = "https://a.example:8443", "https://b.example"
	for _, tc := range []struct {
		origins        []string
		origin, method string
		want           string
		code           int
	}{
		{[]string{"*"}, "", "GET", "*", 200},
		{[]string{"*"}, other, "OPTIONS", "*", 200},
		{[]string{some}, some, "GET", some, 200},
		{[]string{some}, some, "OPTIONS", some, 200},
		{[]string{some}, other, "GET", "", 200},
		{[]string{some}, "", "GET", "", 200},
		{nil, some, "GET", "", 200},
		{[]string{"x", " " + some}, some, "GET", some, 200},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(tc.method, "/version", nil)
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		Client(fine{}, Options{Origins: tc.origins}).ServeHTTP(w, r)
		require.Equal(t, tc.code, w.Code)
		require.Equal(t, tc.want, w.Header().Get("Access-Control-Allow-Origin"), "%+v", tc)
		require.Equal(t, tc.want == "", w.Header().Get("Access-Control-Allow-Methods") == "")
		require.Equal(t, tc.want == "", w.Header().Get("Access-Control-Allow-Headers") == "")
		require.Equal(t, tc.method == "OPTIONS", w.Body.Len() == 0)
	}
}

// Without TLS, whoever asks by a name that is not listed is told so.
func TestHostsThatAreKnown(t *testing.T) {
	for _, tc := range []struct {
		hosts  []string
		host   string
		secure bool
		code   int
	}{
		{[]string{"*"}, "evil.example", false, 200},
		{nil, "evil.example", false, 200},
		{[]string{"a.example", "127.0.0.1", "::1"}, "a.example:2379", false, 200},
		{[]string{"a.example", "127.0.0.1", "::1"}, "A.example", false, 200},
		{[]string{"a.example", "127.0.0.1", "::1"}, "127.0.0.1:2379", false, 200},
		{[]string{"a.example", "127.0.0.1", "::1"}, "[::1]:2379", false, 200},
		{[]string{"a.example", "127.0.0.1", "::1"}, "[::1]", false, 200},
		{[]string{"a.example"}, "evil.example:2379", false, 421},
		{[]string{"a.example"}, "b.a.example", false, 421},
		{[]string{"a.example"}, "evil.example:2379", true, 200},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/version", nil)
		r.Host = tc.host
		if tc.secure {
			r.TLS = &tls.ConnectionState{}
		}
		Client(fine{}, Options{Hosts: tc.hosts}).ServeHTTP(w, r)
		require.Equal(t, tc.code, w.Code, "%+v", tc)
		if tc.code != 200 {
			require.Contains(t, w.Body.String(), "--host-whitelist")
		}
	}
}
