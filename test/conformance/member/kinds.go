package member

import (
	"crypto/tls"
	"os/exec"
	"strings"
)

// Kind says which program a member is and how it is called.
type Kind struct {
	Name   string
	Binary string
	args   func(m *Member) []string
	// dial is the TLS of who talks to the member; nil where it speaks none.
	dial *tls.Config
}

// OverTLS is the kind with clients served over TLS, with the flags that make it so.
// dial is how this package connects to it, to see whether it serves.
func (k Kind) OverTLS(dial *tls.Config, flags ...string) Kind {
	plain := k.args
	k.dial = dial
	k.args = func(m *Member) []string { return append(plain(m), flags...) }
	return k
}

// Ours is the member in binary, with further flags.
func Ours(binary string, flags ...string) Kind {
	return Kind{Name: "ours", Binary: binary, args: func(m *Member) []string { return append(m.placed(), flags...) }}
}

// Script is the member that a shell ends up as: lines is a script that ends in
// `exec etcd … "$@"`, and $@ are the flags that say where the data and the ports are.
// Nothing else is set.
func Script(lines string) Kind {
	return Kind{Name: "script", Binary: "/bin/sh", args: func(m *Member) []string {
		return append([]string{"-ec", lines, "sh"}, m.placed()...)
	}}
}

// placed are the flags that give a member of ours its directory and its ports.
func (m *Member) placed() []string {
	return []string{
		"--data-dir", m.dataDir(),
		"--listen-client-urls", m.URL(),
		"--advertise-client-urls", m.URL(),
		"--listen-peer-urls", "http://127.0.0.1:0",
	}
}

// inCluster is the kind as the member of a name in a cluster, whose peers listen at
// addresses by name.
func (k Kind) inCluster(name string, peers map[string]string) Kind {
	alone := k.args
	var initial []string
	for n, address := range peers {
		initial = append(initial, n+"=http://"+address)
	}
	k.Name += "-" + name
	k.args = func(m *Member) []string {
		peer := "http://" + peers[name]
		return append(alone(m), "--name", name, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(initial, ","))
	}
	return k
}

// Peer is the etcd 3.4 on the path, with further flags. It has no flag against syncing: what makes
// it quick is a temporary directory in memory.
func Peer(flags ...string) (Kind, error) {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		return Kind{}, err
	}
	return Kind{Name: "3.4", Binary: binary, args: func(m *Member) []string {
		peer := "http://" + m.peerAddress
		return append([]string{
			"--name", "peer",
			"--data-dir", m.dataDir(),
			"--listen-client-urls", m.URL(),
			"--advertise-client-urls", m.URL(),
			"--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer,
			"--initial-cluster", "peer=" + peer,
			"--logger", "zap",
			"--log-outputs", "stderr",
			"--log-level", "error",
		}, flags...)
	}}, nil
}
