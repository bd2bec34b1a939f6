package web

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// anybody stands in a list for all there are.
const anybody = "*"

// crossOrigin lets pages of some origins ask, and browsers ask whether they may.
func crossOrigin(origins []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		switch {
		case listed(origins, anybody):
			allow(w, anybody)
		case origin != "" && listed(origins, origin):
			allow(w, origin)
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func allow(w http.ResponseWriter, origin string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// knownHost refuses requests without TLS by a name that is not listed, so that a
// page cannot reach the member by a name of its own that was made to point here.
func knownHost(hosts []string, next http.Handler) http.Handler {
	if len(hosts) == 0 || listed(hosts, anybody) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostname(r.Host)
		if r.TLS == nil && !listed(hosts, host) {
			http.Error(w, fmt.Sprintf("The host %.255q is not in --host-whitelist. Ask by a name that is, or over TLS.", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname is a request's host without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(strings.TrimSpace(one), name) })
}
