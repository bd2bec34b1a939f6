package member

import "os/exec"

// Kind says which program a member is and how it is called.
type Kind struct {
	Name   string
	Binary string
	args   func(m *Member) []string
}

// Ours is the member in binary, with further flags.
func Ours(binary string, flags ...string) Kind {
	return Kind{Name: "ours", Binary: binary, args: func(m *Member) []string {
		return append([]string{
			"--data-dir", m.dataDir(),
			"--listen-client-urls", m.URL(),
			"--advertise-client-urls", m.URL(),
			"--listen-peer-urls", "http://127.0.0.1:0",
		}, flags...)
	}}
}

// Peer is the etcd 3.4 on the path. It has no flag against syncing: what makes
// it quick is a temporary directory in memory.
func Peer() (Kind, error) {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		return Kind{}, err
	}
	return Kind{Name: "3.4", Binary: binary, args: func(m *Member) []string {
		peer := "http://" + m.peerAddress
		return []string{
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
		}
	}}, nil
}
