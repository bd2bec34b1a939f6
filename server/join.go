package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"etcd.alt/api/version"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/member"
	"etcd.alt/internal/peer"
)

// joinTimeout is how long the members to join may take for their answers.
const joinTimeout = 20 * time.Second

// join asks the members that --initial-cluster names about the cluster, and finds
// this one among those that were added to it.
func (m *Member) join(ctx context.Context, named []member.Member, self member.Member) (datadir.Beginning, error) {
	dial, err := m.config.peerClientTLS(m.logger.Named("peer-tls"))
	if err != nil {
		return datadir.Beginning{}, err
	}
	client := peer.NewClient(peer.ClientConfig{TLS: dial, DialTimeout: time.Second})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var why []error
	for _, one := range named {
		if one.ID == self.ID {
			continue
		}
		for _, url := range one.PeerURLs {
			members, cluster, err := client.Members(ctx, url)
			if err == nil {
				err = compatible(ctx, client, url)
			}
			if err != nil {
				why = append(why, err)
				continue
			}
			return m.joining(named, self, members, cluster)
		}
	}
	if len(why) == 0 {
		return datadir.Beginning{}, errors.New("--initial-cluster names no other member to join")
	}
	return datadir.Beginning{}, fmt.Errorf("no member of --initial-cluster says who is in the cluster: %w", errors.Join(why...))
}

// newTimeout is how long the others may take to say whether a new cluster is new.
const newTimeout = 2 * time.Second

// checkNew asks the other members of a new cluster whether this one has been a
// member already. One that has lost its data has lost its votes: it must not count
// as if nothing had been. Those that do not answer are not there yet.
func (m *Member) checkNew(ctx context.Context, members []member.Member, self member.Member) error {
	dial, err := m.config.peerClientTLS(m.logger.Named("peer-tls"))
	if err != nil {
		return err
	}
	client := peer.NewClient(peer.ClientConfig{TLS: dial, DialTimeout: newTimeout})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, newTimeout)
	defer cancel()
	var asking sync.WaitGroup
	var known atomic.Bool
	for _, one := range members {
		if one.ID == self.ID {
			continue
		}
		for _, url := range one.PeerURLs {
			asking.Go(func() {
				present, _, err := client.Members(ctx, url)
				if err == nil && slices.ContainsFunc(present, func(p peer.Member) bool { return p.ID == self.ID && len(p.ClientURLs) > 0 }) {
					known.Store(true)
				}
			})
		}
	}
	asking.Wait()
	if known.Load() {
		return fmt.Errorf("member %x has already been bootstrapped, and its data is not in %s: remove it with `etcdctl member remove`, add it anew with `etcdctl member add`, and start it with --initial-cluster-state=existing",
			self.ID, m.config.directory())
	}
	return nil
}

// joining holds what --initial-cluster says against the members there are.
func (m *Member) joining(named []member.Member, self member.Member, members []peer.Member, cluster uint64) (datadir.Beginning, error) {
	if cluster == 0 {
		return datadir.Beginning{}, errors.New("the members to join do not say which cluster they are")
	}
	if len(named) != len(members) {
		return datadir.Beginning{}, fmt.Errorf("--initial-cluster has %d members and the cluster has %d: add this one with `etcdctl member add` first, and name all", len(named), len(members))
	}
	var own uint64
	for _, one := range named {
		i := slices.IndexFunc(members, func(p peer.Member) bool { return sameURLs(p.PeerURLs, one.PeerURLs) })
		if i < 0 {
			return datadir.Beginning{}, fmt.Errorf("--initial-cluster has %s=%s, and no member of the cluster has these peer URLs", one.Name, strings.Join(one.PeerURLs, ","))
		}
		if one.ID == self.ID {
			own = members[i].ID
		}
	}
	m.logger.Info("joining a cluster", zap.String("cluster-id", fmt.Sprintf("%x", cluster)), zap.String("member-id", fmt.Sprintf("%x", own)))
	return datadir.Beginning{Self: own, ClusterID: cluster}, nil
}

func sameURLs(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// compatible refuses a cluster that this version cannot be a member of.
func compatible(ctx context.Context, client *peer.Client, url string) error {
	theirs, err := client.ServerVersion(ctx, url)
	if err != nil {
		return err
	}
	decided, ok := version.Parse(theirs.Cluster)
	own, _ := version.Parse(version.Server)
	if !ok {
		return fmt.Errorf("%s: the cluster has no version yet (%s)", url, theirs.Cluster)
	}
	if down, err := client.DowngradeEnabled(ctx, url); err == nil && down {
		if decided.Major != own.Major || decided.Minor != own.Minor+1 {
			return fmt.Errorf("%s: the cluster of version %s is being brought back to an earlier one", url, decided)
		}
		return nil
	}
	if decided.Less(oldest) || own.Less(decided) {
		return fmt.Errorf("%s: the cluster has version %s, and this member is %s", url, decided, version.Server)
	}
	return nil
}
