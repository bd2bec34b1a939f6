package server

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "etcd.alt/api/etcdserverpb"
)

// What is stored as a hash must be one that a password can be compared with: this one
// has an empty salt.
func TestAHashWithoutASaltIsRefused(t *testing.T) {
	m := start(t, authConfig(t))
	anon := somebody{t, dial(t, m), ""}
	hash := base64.StdEncoding.EncodeToString([]byte("$2a$04$" + strings.Repeat("\n", 22) + strings.Repeat("a", 31)))
	_, err := ask[pb.AuthUserAddResponse](anon, "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "u", HashedPassword: hash})
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)
}

// --peer-trusted-ca-file says who other members are, or is refused.
func TestPeerAutoTLSWithACAStillVerifies(t *testing.T) {
	c, _, err := Parse([]string{"--peer-auto-tls", "--peer-trusted-ca-file=ca", "--peer-crl-file=crl",
		"--peer-client-cert-file=a", "--peer-client-key-file=b"}, nil, nil)
	require.NoError(t, err)
	err = c.Validate() // it would skip verification, CRL and names included
	require.ErrorContains(t, err, "--peer-auto-tls")
	require.ErrorContains(t, err, "--peer-trusted-ca-file")
}

// The calls that change the cluster, and those that were refused to do so, have the
// user in their lines, as all others do.
func TestTheAuditLogNamesAdministrators(t *testing.T) {
	c := authConfig(t)
	c.AuditLog = filepath.Join(t.TempDir(), "audit.json")
	m := start(t, c)
	anon := somebody{t, dial(t, m), ""}
	anon.addUser("alice", "a")
	root := anon.enable()
	alice := anon.login("alice", "a")
	require.NoError(t, root.put("k", "1"))
	require.NoError(t, root.put("k", "2"))
	_, err := ask[pb.MemberRemoveResponse](alice, "Cluster/MemberRemove", &pb.MemberRemoveRequest{ID: 1})
	require.ErrorContains(t, err, permissionDenied)
	must[pb.CompactionResponse](root, "KV/Compact", &pb.CompactionRequest{Revision: 2})
	_, err = ask[pb.MemberRemoveResponse](root, "Cluster/MemberRemove", &pb.MemberRemoveRequest{ID: 1})
	require.ErrorContains(t, err, "member not found")
	_, err = ask[pb.MemberAddResponse](alice, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
	require.ErrorContains(t, err, permissionDenied)
	require.NoError(t, m.Close())
	written, err := os.ReadFile(c.AuditLog)
	require.NoError(t, err)
	for line := range strings.Lines(string(written)) {
		var r struct{ User, RPC, Verdict string }
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		if strings.HasSuffix(r.RPC, "/Compact") || strings.Contains(r.RPC, "Cluster/Member") {
			assert.NotEmpty(t, r.User, line)
		}
	}
}
