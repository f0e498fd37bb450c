package faultnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Proxy is a port of this machine that leads to a server, over a network that
// fails when a test says so. Unlike a [Network] it is there for other processes
// too, and what it does to a connection the kernel knows of.
type Proxy struct {
	network, address string // of the server
	port             int

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	links    map[*link]struct{}
	latency  time.Duration
	rate     int           // bytes a second and direction, 0 for any number
	held     chan struct{} // closed when what is held may go on
	closed   bool
	running  sync.WaitGroup
}

// NewProxy starts a proxy for the server of a connection string.
func NewProxy(connString string) (*Proxy, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, fmt.Errorf("flowc: faultnet: %w", err)
	}
	p := &Proxy{links: map[*link]struct{}{}}
	p.network, p.address = addressOf(config)
	return p, p.listen()
}

func addressOf(config *pgx.ConnConfig) (network, address string) {
	port := strconv.Itoa(int(config.Port))
	if len(config.Host) > 0 && config.Host[0] == '/' {
		return "unix", config.Host + "/.s.PGSQL." + port
	}
	return "tcp", net.JoinHostPort(config.Host, port)
}

// URL returns the address of a database through the proxy.
func (p *Proxy) URL(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", user, p.port, database)
}

// Refuse refuses connections and resets those that there are, until [Proxy.Accept].
func (p *Proxy) Refuse() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Reset()
}

// Accept accepts connections again.
func (p *Proxy) Accept() error { return p.listen() }

// Reset resets the connections that there are.
func (p *Proxy) Reset() {
	for _, l := range p.all() {
		l.reset()
	}
}

// Freeze makes the existing connections half-open: nothing is refused, and nothing
// arrives any more. New connections are not affected.
func (p *Proxy) Freeze() {
	for _, l := range p.all() {
		l.freeze()
	}
}

// Slow delays everything by a time in each direction, and limits how many bytes a
// second each connection carries. Zero is no delay, or no limit.
func (p *Proxy) Slow(latency time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency, p.rate = latency, rate
}

// Hold delays everything until the returned function is called.
func (p *Proxy) Hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := make(chan struct{})
	p.held = held
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = nil
		close(held)
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.running.Wait()
}

func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	if err != nil {
		return fmt.Errorf("flowc: faultnet: %w", err)
	}
	p.listener, p.port = listener, listener.Addr().(*net.TCPAddr).Port
	p.running.Go(func() { p.serve(listener) })
	return nil
}

func (p *Proxy) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(client) })
	}
}

// connect leads a connection to the server, until one of both ends it. A server
// that is not there closes the connection, as a server that starts would.
func (p *Proxy) connect(client net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server, err := new(net.Dialer).DialContext(ctx, p.network, p.address)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server, frozen: make(chan struct{}), ended: make(chan struct{})}
	p.mu.Lock()
	alive := !p.closed && p.listener != nil
	if alive {
		p.links[l] = struct{}{}
	}
	p.mu.Unlock()
	if !alive {
		l.reset()
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(client, server) })
	pumps.Go(func() { l.pump(server, client) })
	pumps.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

func (p *Proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// conditions returns the present conditions of the network.
func (p *Proxy) conditions() (latency time.Duration, rate int, held chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latency, p.rate, p.held
}

// A link is a connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	freezing       sync.Once
	frozen         chan struct{}
	ending         sync.Once
	ended          chan struct{}
}

// freeze leaves the client alone with its connection. The server sees its end go.
func (l *link) freeze() {
	l.freezing.Do(func() {
		close(l.frozen)
		_ = l.server.Close()
	})
}

// reset ends the link; the client is told with a reset.
func (l *link) reset() {
	if tcp, ok := l.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.end()
}

func (l *link) end() {
	l.ending.Do(func() {
		close(l.ended)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

// A parcel is some bytes on their way.
type parcel struct {
	bytes []byte
	due   time.Time
}

// pump carries bytes one way.
func (l *link) pump(from, to net.Conn) {
	way := make(chan parcel, 1024)
	var delivering sync.WaitGroup
	delivering.Go(func() { l.deliver(way, to) })
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			latency, _, _ := l.proxy.conditions()
			select {
			case way <- parcel{buf[:n], time.Now().Add(latency)}:
			case <-l.ended:
			}
		}
		if err != nil {
			break
		}
	}
	close(way)
	delivering.Wait()
	if !l.isFrozen() {
		l.end()
		return
	}
	if from == l.server {
		<-l.ended // the client is not told
	} else {
		l.end() // the client has given up
	}
}

func (l *link) deliver(way <-chan parcel, to net.Conn) {
	for p := range way {
		_, rate, held := l.proxy.conditions()
		wait := max(0, time.Until(p.due))
		if rate > 0 {
			wait += time.Duration(len(p.bytes)) * time.Second / time.Duration(rate)
		}
		if !l.pause(wait) {
			continue
		}
		if held != nil {
			select {
			case <-held:
			case <-l.ended:
			}
		}
		if l.isFrozen() {
			continue
		}
		if _, err := to.Write(p.bytes); err != nil && !l.isFrozen() {
			l.end()
		}
	}
}

// pause waits, and reports whether the link is still there.
func (l *link) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
		return false
	}
}

func (l *link) isFrozen() bool {
	select {
	case <-l.frozen:
		return true
	default:
		return false
	}
}
