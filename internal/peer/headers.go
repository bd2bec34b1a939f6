package peer

import (
	"net/http"
	"strconv"
	"strings"
)

// The headers of upstream's, as Go spells them on the wire.
const (
	headerFrom       = "X-Server-From"
	headerVersion    = "X-Server-Version"
	headerMinVersion = "X-Min-Cluster-Version"
	headerCluster    = "X-Etcd-Cluster-Id"
	headerURLs       = "X-Peerurls"
	headerTo         = "X-Raft-To"
)

// Ours is the header by which members of this program know each other: its
// value is the version of what follows the envelope of a snapshot between them.
const (
	Ours        = "X-Etcd-Alt-Snapshot"
	oursVersion = "1"
)

// minVersion is the oldest release that is talked to.
const minVersion = "3.0.0"

// kinds of streams, by their place in URLs.
type kind int

const (
	streamMessage kind = iota
	streamMsgApp
	kindsOfStreams
)

var streamPaths = [kindsOfStreams]string{"/raft/stream/message", "/raft/stream/msgapp"}

func (k kind) String() string { return streamPaths[k][len("/raft/stream/"):] }

func formatID(id uint64) string { return strconv.FormatUint(id, 16) }

func parseID(s string) (uint64, error) { return strconv.ParseUint(s, 16, 64) }

// release is the major and minor part of a version.
type release struct{ major, minor uint64 }

func (r release) before(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

// parseRelease reads "3.7.1". A header that is missing stands for 2.0.0.
func parseRelease(s string) (release, bool) {
	if s == "" {
		return release{major: 2}, true
	}
	major, rest, _ := strings.Cut(s, ".")
	minor, _, ok := strings.Cut(rest, ".")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return release{a, b}, ok && err1 == nil && err2 == nil
}

// compatible tells whether who sent these headers and this release can talk.
func compatible(h http.Header, own string) bool {
	theirs, ok1 := parseRelease(h.Get(headerVersion))
	theirMin, ok2 := parseRelease(h.Get(headerMinVersion))
	ours, ok3 := parseRelease(own)
	ourMin, _ := parseRelease(minVersion)
	return ok1 && ok2 && ok3 && !theirs.before(ourMin) && !ours.before(theirMin)
}

// stamp sets the headers of every raft request.
func (t *Transport) stamp(h http.Header) {
	h.Set(headerFrom, formatID(t.cfg.ID))
	h.Set(headerVersion, t.cfg.Version)
	h.Set(headerMinVersion, minVersion)
	h.Set(headerCluster, t.cluster)
	h.Set(headerURLs, strings.Join(t.cfg.PeerURLs, ","))
	h.Set(Ours, oursVersion)
}
