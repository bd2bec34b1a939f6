package member

import (
	"fmt"
	"os"
)

// Cluster begins n members of a kind of ours that are one cluster, with empty data
// directories, and returns when all of them serve.
func Cluster(kind Kind, n int) ([]*Member, error) {
	var last error
	for range portTries {
		members, err := cluster(kind, n)
		if err == nil {
			return members, nil
		}
		last = err
		for _, m := range members {
			m.Close()
		}
		if !taken(err) {
			break
		}
	}
	return nil, last
}

// cluster is one try; what it returns beside an error is to be closed.
func cluster(kind Kind, n int) (members []*Member, err error) {
	peers := map[string]string{}
	for i := range n {
		m := &Member{}
		if m.address, m.peerAddress, err = freeAddresses(); err != nil {
			return members, err
		}
		if m.dir, err = os.MkdirTemp("", "etcd-cluster-"); err != nil {
			return members, err
		}
		members = append(members, m)
		peers[fmt.Sprint("m", i)] = m.peerAddress
	}
	for i, m := range members {
		m.kind = kind.inCluster(fmt.Sprint("m", i), peers)
	}
	return members, Up(members...)
}

// Up starts the processes of members that are down, on the data they have, and
// returns when all serve: those of a cluster need each other for that.
func Up(members ...*Member) error {
	for _, m := range members {
		if err := m.launch(); err != nil {
			return err
		}
	}
	for _, m := range members {
		if err := m.serves(); err != nil {
			return err
		}
	}
	return nil
}
