package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"
)

const deadline = 30 * time.Second

// client is one connection with at most one subscription.
type client struct {
	conn  *stomp.Conn
	sub   *stomp.Subscription
	beats chan struct{}
}

// listening counts the heart-beats, which go-stomp takes without telling anyone.
type listening struct {
	net.Conn
	beats chan struct{}
}

func (l listening) Read(octets []byte) (int, error) {
	count, err := l.Conn.Read(octets)
	if bytes.Equal(octets[:count], []byte("\n")) {
		select {
		case l.beats <- struct{}{}:
		default: // Nobody is counting.
		}
	}
	return count, err
}

// dial opens a connection; an address that begins with tls:// is spoken to by TLS, and FERRYMQ_CA names the authority.
func dial() net.Conn {
	authority, isTLS := strings.CutPrefix(address, "tls://")
	tcp, err := net.Dial("tcp", authority)
	check(err)
	if !isTLS {
		return tcp
	}
	pem, err := os.ReadFile(os.Getenv("FERRYMQ_CA"))
	check(err)
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pem)
	return tls.Client(tcp, &tls.Config{RootCAs: authorities, ServerName: "localhost"})
}

func open(clientID string, heartBeat time.Duration, more ...func(*stomp.Conn) error) *client {
	c, err := tryOpen(clientID, heartBeat, more...)
	check(err)
	return c
}

func tryOpen(clientID string, heartBeat time.Duration, more ...func(*stomp.Conn) error) (*client, error) {
	beats := make(chan struct{}, 16)
	options := []func(*stomp.Conn) error{
		stomp.ConnOpt.AcceptVersion(stomp.Version(version)),
		stomp.ConnOpt.HeartBeat(heartBeat, heartBeat),
	}
	if clientID != "" {
		options = append(options, stomp.ConnOpt.Header("client-id", clientID))
	}
	conn, err := stomp.Connect(listening{dial(), beats}, append(options, more...)...)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, beats: beats}, nil
}

// sendWith sends with headers, given as names and values in turn.
func (c *client) sendWith(destination, body string, headers ...string) {
	var options []func(*frame.Frame) error
	for at := 0; at < len(headers); at += 2 {
		options = append(options, stomp.SendOpt.Header(headers[at], headers[at+1]))
	}
	check(c.conn.Send(destination, "", []byte(body), options...))
}

func (c *client) send(destination string, bodies ...string) {
	for _, body := range bodies {
		check(c.conn.Send(destination, "", []byte(body)))
	}
}

func (c *client) sendPersistent(destination string, body string, options ...func(*frame.Frame) error) {
	options = append(options, stomp.SendOpt.Header("persistent", "true"))
	check(c.conn.Send(destination, "", []byte(body), options...))
}

func (c *client) subscribe(destination string, ack stomp.AckMode, headers ...string) {
	options := []func(*frame.Frame) error{stomp.SubscribeOpt.Id("s")}
	for at := 0; at < len(headers); at += 2 {
		options = append(options, stomp.SubscribeOpt.Header(headers[at], headers[at+1]))
	}
	sub, err := c.conn.Subscribe(destination, ack, options...)
	check(err)
	c.sub = sub
}

func (c *client) receive() *stomp.Message {
	select {
	case message := <-c.sub.C:
		check(message.Err)
		return message
	case <-time.After(deadline):
		panic(errors.New("no message came"))
	}
}

// show receives a message and prints it.
func (c *client) show() *stomp.Message {
	message := c.receive()
	say(result{
		"body":        string(message.Body),
		"redelivered": message.Header.Get("redelivered") == "true",
		"count":       message.Header.Get("JMSXDeliveryCount"),
	})
	return message
}

func (c *client) ack(message *stomp.Message) {
	check(c.conn.Ack(message))
}

func (c *client) close() {
	check(c.conn.Disconnect())
}
