package network

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Host is a member behind its door.
type Host struct {
	ID     uint64 // by which it makes itself known to others
	Listen string // host:port on which it listens for them
}

// Network is all doors and links. It is for concurrent use.
type Network struct {
	doors []net.Listener
	links [][]*link // [from][to]
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		closed   bool
		hosts    []Host
		greeting map[net.Conn]bool // nothing is known of who has dialed
		conns    map[*conn]ends
	}
}

// ends are the members that a connection is between; from is nobody's where who
// has dialed does not say.
type ends struct{ from, to int }

const nobody = -1

// Listen makes doors for n members on free ports of 127.0.0.1. Nobody is let
// through before Serve.
func Listen(n int) (*Network, error) {
	w := &Network{links: make([][]*link, n)}
	w.mu.greeting, w.mu.conns = map[net.Conn]bool{}, map[*conn]ends{}
	for from := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("network: %w", err), w.Close())
		}
		w.doors = append(w.doors, l)
		for range n {
			w.links[from] = append(w.links[from], newLink())
		}
	}
	return w, nil
}

// Door is where others reach member i: host:port.
func (n *Network) Door(i int) string { return n.doors[i].Addr().String() }

// Serve lets the members behind their doors be reached: one Host for each. It
// returns at once, and is called once.
func (n *Network) Serve(hosts []Host) {
	n.mu.Lock()
	n.mu.hosts = slices.Clone(hosts)
	n.mu.Unlock()
	for i, l := range n.doors {
		n.wg.Go(func() { n.routineAccept(i, l) })
	}
}

// Rename has the member behind a door go by another id from now on.
func (n *Network) Rename(i int, id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.hosts[i].ID = id
}

// Set makes the link from one member to another what rule says.
func (n *Network) Set(from, to int, rule Rule) {
	n.links[from][to].set(rule)
	if rule.Loss == Pass {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, e := range n.mu.conns {
		if e.from == nobody && (e.to == from || e.to == to) {
			c.reset()
		}
	}
}

// Heal lets everything pass again.
func (n *Network) Heal() {
	for _, row := range n.links {
		for _, l := range row {
			l.set(Rule{})
		}
	}
}

// Reset resets the connections between two members, whoever has dialed.
func (n *Network) Reset(a, b int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, e := range n.mu.conns {
		if e == (ends{a, b}) || e == (ends{b, a}) {
			c.reset()
		}
	}
}

// Close ends everything and waits for it.
func (n *Network) Close() error {
	var errs []error
	for _, l := range n.doors {
		errs = append(errs, l.Close())
	}
	n.mu.Lock()
	n.mu.closed = true
	for c := range n.mu.greeting {
		_ = c.Close()
	}
	for c := range n.mu.conns {
		c.reset()
	}
	n.mu.Unlock()
	n.wg.Wait()
	return errors.Join(errs...)
}

func (n *Network) routineAccept(to int, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.wg.Go(func() { n.routineCarry(to, c) })
	}
}

// routineCarry is the life of a connection through the door of a member.
func (n *Network) routineCarry(to int, near net.Conn) {
	defer near.Close()
	head, from, err := n.greet(near)
	if err != nil || from == nobody && n.disturbed(to) {
		return
	}
	far, err := net.Dial("tcp", n.host(to).Listen)
	if err != nil {
		return
	}
	c := &conn{near: near, far: far, done: make(chan struct{})}
	defer c.close()
	if !n.add(c, ends{from, to}) {
		return
	}
	defer n.remove(c)
	there, back := newLink(), newLink()
	if from != nobody {
		there, back = n.links[from][to], n.links[to][from]
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.carry(there, near, far, head) })
	wg.Go(func() { c.carry(back, far, near, nil) })
	wg.Wait()
}

// greet reads the head of the first request, and finds who has dialed.
func (n *Network) greet(near net.Conn) (head []byte, from int, err error) {
	n.mu.Lock()
	if n.mu.closed {
		n.mu.Unlock()
		return nil, nobody, net.ErrClosed
	}
	n.mu.greeting[near] = true
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.mu.greeting, near)
		n.mu.Unlock()
	}()
	if head, err = readHead(near); err != nil {
		return nil, nobody, err
	}
	return head, n.named(sender(head)), nil
}

func (n *Network) host(i int) Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.hosts[i]
}

// named finds the member that goes by an id.
func (n *Network) named(id uint64) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.IndexFunc(n.mu.hosts, func(h Host) bool { return id != 0 && h.ID == id })
}

// disturbed says whether anything is cut to or from a member.
func (n *Network) disturbed(i int) bool {
	for other := range n.links {
		for _, l := range []*link{n.links[i][other], n.links[other][i]} {
			if rule, _ := l.now(); rule.Loss != Pass {
				return true
			}
		}
	}
	return false
}

// add returns false when the network is closed.
func (n *Network) add(c *conn, e ends) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.mu.closed {
		n.mu.conns[c] = e
	}
	return !n.mu.closed
}

func (n *Network) remove(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.conns, c)
}

const (
	maxHead     = 64 << 10
	headTimeout = 10 * time.Second
)

// readHead reads until the head of a request is complete, and what happens to
// come with it.
func readHead(c net.Conn) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(headTimeout)); err != nil {
		return nil, err
	}
	var head []byte
	for buf := make([]byte, 4096); !bytes.Contains(head, []byte("\r\n\r\n")); {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if head = append(head, buf[:n]...); len(head) > maxHead {
			return nil, errors.New("network: the head of a request is too long")
		}
	}
	return head, c.SetReadDeadline(time.Time{})
}

// sender is the id of who says so in the head of a request; 0 for nobody.
func sender(head []byte) uint64 {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return 0
	}
	id, err := strconv.ParseUint(req.Header.Get("X-Server-From"), 16, 64)
	if err != nil {
		return 0
	}
	return id
}
