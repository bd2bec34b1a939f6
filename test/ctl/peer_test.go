package ctl

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"etcd.alt/api/etcdserverpb"
)

// startPeer starts Debian's etcd 3.4, or the member that OURS says is built:
// peer name [joining]. It sets PEER_<name> to where it serves clients. One that joins another has been added with
// PEERURL_<name>, which `peer -reserve name` sets before.
func startPeer(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 2 && args[0] == "-reserve" {
		ts.Setenv("PEERURL_"+args[1], "http://"+freeAddress(ts))
		return
	}
	name := args[0]
	client, peer := freeAddress(ts), ts.Getenv("PEERURL_"+name)
	if peer == "" {
		peer = "http://" + freeAddress(ts)
		ts.Setenv("PEERURL_"+name, peer)
	}
	cluster, state := name+"="+peer, "new"
	if len(args) == 2 {
		cluster, state = cluster+","+args[1]+"="+ts.Getenv("PEERURL_"+args[1]), "existing"
	}
	logFile, err := os.Create(filepath.Join(ts.Getenv("WORK"), name+".log"))
	ts.Check(err)
	binary, zapped := ts.Getenv("OURS"), []string(nil)
	if binary == "" {
		binary, err = exec.LookPath("etcd")
		ts.Check(err)
		zapped = []string{"--logger", "zap"}
	}
	cmd := exec.Command(binary, append(zapped,
		"--name", name,
		"--data-dir", filepath.Join(ts.Getenv("WORK"), name),
		"--listen-client-urls", "http://"+client,
		"--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer,
		"--initial-cluster", cluster,
		"--initial-cluster-state", state,
		"--log-outputs", "stderr", "--log-level", "error")...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCD") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
		logFile.Close()
	})
	ts.Setenv("PEER_"+name, client)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// A learner answers serializable reads only.
	r := &etcdserverpb.RangeRequest{Key: []byte("x"), Serializable: true}
	ts.Check(invoke(ctx, client, "/etcdserverpb.KV/Range", r, &etcdserverpb.RangeResponse{}))
}

func freeAddress(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}

func invoke(ctx context.Context, address, method string, req, res any) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Invoke(ctx, method, req, res, grpc.WaitForReady(true))
}

// raiseAlarm activates the alarm NOSPACE of the member at an address: raise
// address.
func raiseAlarm(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	status := &etcdserverpb.StatusResponse{}
	ts.Check(invoke(ctx, args[0], "/etcdserverpb.Maintenance/Status", &etcdserverpb.StatusRequest{}, status))
	r := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: status.Header.MemberId, Alarm: etcdserverpb.AlarmType_NOSPACE}
	ts.Check(invoke(ctx, args[0], "/etcdserverpb.Maintenance/Alarm", r, &etcdserverpb.AlarmResponse{}))
}
