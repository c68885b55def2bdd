package main

import (
	"bytes"
	"errors"
	"net"
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

func open(clientID string, heartBeat time.Duration) *client {
	tcp, err := net.Dial("tcp", address)
	check(err)
	beats := make(chan struct{}, 16)
	options := []func(*stomp.Conn) error{
		stomp.ConnOpt.AcceptVersion(stomp.Version(version)),
		stomp.ConnOpt.HeartBeat(heartBeat, heartBeat),
	}
	if clientID != "" {
		options = append(options, stomp.ConnOpt.Header("client-id", clientID))
	}
	conn, err := stomp.Connect(listening{tcp, beats}, options...)
	check(err)
	return &client{conn: conn, beats: beats}
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
