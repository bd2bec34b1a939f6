package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var found *said
	var why []error
	err := m.askOthers(ctx, named, self, func(client *peer.Client, s said) (patience time.Duration, err error) {
		if err := m.checkNotStarted(s.members, func(p peer.Member) bool { return sameURLs(p.PeerURLs, self.PeerURLs) }); err != nil {
			return 0, err
		}
		if s.err == nil {
			s.err = compatible(ctx, client, s.url)
		}
		if s.err != nil {
			why = append(why, s.err)
			return 0, nil
		}
		found = cmp.Or(found, &s)
		return newTimeout, nil // one that lags may not know that this one has started
	})
	switch {
	case err != nil:
		return datadir.Beginning{}, err
	case found != nil:
		return m.joining(named, self, found.members, found.cluster)
	case len(why) == 0:
		return datadir.Beginning{}, errors.New("--initial-cluster names no other member to join")
	}
	return datadir.Beginning{}, fmt.Errorf("no member of --initial-cluster says who is in the cluster: %w", errors.Join(why...))
}

// newTimeout is how long the others may take to say whether this member is new.
const newTimeout = 2 * time.Second

// checkNew asks the other members of a new cluster whether this one has been a
// member already. One that has lost its data has lost its votes: it must not count
// as if nothing had been. Those that do not answer are not there yet.
func (m *Member) checkNew(ctx context.Context, members []member.Member, self member.Member) error {
	ctx, cancel := context.WithTimeout(ctx, newTimeout)
	defer cancel()
	return m.askOthers(ctx, members, self, func(_ *peer.Client, s said) (time.Duration, error) {
		return 0, m.checkNotStarted(s.members, func(p peer.Member) bool { return p.ID == self.ID })
	})
}

// said is what another member says of who is in its cluster.
type said struct {
	url     string
	members []peer.Member
	cluster uint64
	err     error
}

// askOthers asks all others at once who is in their cluster, and has hear take what they
// say, one by one, until all have answered, hear returns an error, or as much patience as
// it has returned is over.
func (m *Member) askOthers(ctx context.Context, members []member.Member, self member.Member, hear func(*peer.Client, said) (patience time.Duration, err error)) error {
	dial, err := m.config.peerClientTLS(m.logger.Named("peer-tls"))
	if err != nil {
		return err
	}
	client := peer.NewClient(peer.ClientConfig{TLS: dial, DialTimeout: time.Second})
	defer client.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait
	var urls []string
	for _, one := range members {
		if one.ID != self.ID {
			urls = append(urls, one.PeerURLs...)
		}
	}
	answers := make(chan said, len(urls))
	for _, url := range urls {
		asking.Go(func() {
			s := said{url: url}
			s.members, s.cluster, s.err = client.Members(ctx, url)
			answers <- s
		})
	}
	var over <-chan time.Time
	for range urls {
		select {
		case s := <-answers:
			patience, err := hear(client, s)
			if err != nil {
				return err
			}
			if patience > 0 && over == nil {
				over = time.After(patience)
			}
		case <-over:
			return nil
		}
	}
	return nil
}

// checkNotStarted refuses a member without data that is taken for one which has had some:
// it has told the others by what URLs clients come.
func (m *Member) checkNotStarted(members []peer.Member, self func(peer.Member) bool) error {
	for _, p := range members {
		if self(p) && len(p.ClientURLs) > 0 {
			return fmt.Errorf("member %x has already been bootstrapped, and its data is not in %s: remove it with `etcdctl member remove`, add it anew with `etcdctl member add`, and start it with --initial-cluster-state=existing",
				p.ID, m.config.directory())
		}
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
