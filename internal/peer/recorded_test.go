package peer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The members of the recordings in testdata/upstream.
const (
	n1       = 0xe7a3b1315c8b5468
	n2       = 0xa8bb6b71212310b7
	n3       = 0x89577692c8326423
	n4       = 0xfd833eb799b31c1
	recorded = 0x3724874163cc48c8 // their cluster
)

// file returns one of the recordings.
func file(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "upstream", name+".gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

// stream returns what is inside the chunks of a recorded stream. Most were cut
// off in the end.
func stream(t testing.TB, name string) []byte {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(file(t, name+".resp"))), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	return b
}

// lines returns what another decoder made of it.
func lines(t *testing.T, name string) []string {
	return strings.Split(strings.TrimSpace(string(file(t, name+".decoded.txt"))), "\n")
}

// describe spells a message as the lines do.
func describe(m *raftpb.Message) string {
	fields := map[string]any{
		"type": m.GetType().String(), "from": formatID(m.GetFrom()), "to": formatID(m.GetTo()), "term": m.GetTerm(),
		"logTerm": m.GetLogTerm(), "index": m.GetIndex(), "commit": m.GetCommit(), "entries": len(m.Entries),
	}
	if len(m.Context) > 0 {
		fields["context"] = hex.EncodeToString(m.Context)
	}
	b, _ := json.Marshal(fields)
	return string(b)
}

// replay decodes a recorded stream, encodes it again, and compares.
func replay(t *testing.T, name string, d decoder, r *bytes.Reader, all []byte, e encoder, line func(offset int, m *raftpb.Message, again []byte) string) {
	var again []byte
	want := lines(t, name)
	for i, offset := 0, 0; ; i++ {
		m, n, err := d.decode()
		if err != nil {
			require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			break
		}
		before := len(again)
		if m == nil {
			again = e.appendHeartbeat(again)
		} else {
			again, err = e.append(again, m)
			require.NoError(t, err)
		}
		require.Equal(t, all[offset:offset+n], again[before:], "frame %d", i)
		if i < len(want) {
			require.Equal(t, want[i], line(offset, m, again[before:]), "frame %d", i)
		}
		offset += n
	}
	require.GreaterOrEqual(t, len(again), len(all)-64, "all but what was cut off")
	require.Equal(t, all[:len(again)], again)
}

func TestRecordedMessageStreams(t *testing.T) {
	for _, name := range []string{"message-n2-to-n1", "message-n1-to-n2"} {
		t.Run(name, func(t *testing.T) {
			all := stream(t, name)
			r := bytes.NewReader(all)
			replay(t, name, &messageDecoder{r: bufio.NewReader(r)}, r, all, messageEncoder{}, func(offset int, m *raftpb.Message, _ []byte) string {
				if m == nil {
					m = &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum()}
				}
				return fmt.Sprintf("%d %s", offset, describe(m))
			})
		})
	}
}

func TestRecordedMsgAppStreams(t *testing.T) {
	for name, to := range map[string]uint64{"msgapp-n1-to-n2": n2, "msgapp-n1-to-n3": n3, "msgapp-two-full": n4} {
		t.Run(name, func(t *testing.T) {
			all := stream(t, name)
			r := bytes.NewReader(all)
			replay(t, name, &msgappDecoder{r: bufio.NewReader(r), from: n1, to: to}, r, all, &msgappEncoder{}, func(offset int, m *raftpb.Message, frame []byte) string {
				switch frame[0] {
				case frameHeartbeat:
					return fmt.Sprintf("%d heartbeat", offset)
				case frameMessage:
					return fmt.Sprintf("%d message %s", offset, describe(m))
				}
				require.NoError(t, admissible(m, n1, to), "the place and the term come from the frames before")
				var entries []string
				for _, e := range m.Entries {
					entries = append(entries, fmt.Sprintf("index %d term %d type %v data %dB", e.GetIndex(), e.GetTerm(), e.GetType(), len(e.GetData())))
				}
				return fmt.Sprintf("%d entries [%s] commit %d", offset, strings.Join(entries, " "), m.GetCommit())
			})
		})
	}
}

func TestRecordedPosts(t *testing.T) {
	for name, from := range map[string]uint64{"pipeline-n3-to-n1": n3, "pipeline-n4-to-n1": n4} {
		r := bufio.NewReader(bytes.NewReader(file(t, name+".req")))
		posts := 0
		for {
			req, err := http.ReadRequest(r)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			b, err := io.ReadAll(req.Body)
			require.NoError(t, err)
			if req.Method != http.MethodPost {
				continue
			}
			posts++
			m, err := parse(b)
			require.NoError(t, err)
			require.NoError(t, admissible(m, from, n1))
			again, err := proto.Marshal(m)
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
		require.NotZero(t, posts)
	}
}

func TestRecordedSnapshot(t *testing.T) {
	r := bufio.NewReader(bytes.NewReader(file(t, "snapshot-n1-to-n4.req")))
	var req *http.Request
	for req == nil || req.URL.Path != "/raft/snapshot" {
		var err error
		if req != nil {
			_, err = io.Copy(io.Discard, req.Body)
			require.NoError(t, err)
		}
		req, err = http.ReadRequest(r)
		require.NoError(t, err)
	}
	all, err := io.ReadAll(req.Body)
	require.NoError(t, err)
	body := bytes.NewReader(all)
	m, n, err := readEnvelope(body)
	require.NoError(t, err)
	require.Equal(t, 8+9977, n)
	require.Equal(t, raftpb.MsgSnap, m.GetType())
	require.EqualValues(t, 166, m.GetSnapshot().GetMetadata().GetIndex())
	require.NoError(t, between(m, n1, n4))
	require.NoError(t, checkSnapshot(m))
	again, err := appendEnvelope(nil, m)
	require.NoError(t, err)
	require.Equal(t, all[:n], again)
	page := make([]byte, 32)
	_, err = io.ReadFull(body, page)
	require.NoError(t, err)
	require.Equal(t, []byte{0xED, 0xDA, 0x0C, 0xED}, page[16:20], "the file begins behind the envelope")
}
