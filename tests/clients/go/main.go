// What go-stomp sees of the broker: client ADDRESS SCENARIO VERSION prints one JSON line per result.
//
// The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3"
)

var address, scenario, version = os.Args[1], os.Args[2], os.Args[3]

type result map[string]any

func say(r result) {
	check(json.NewEncoder(os.Stdout).Encode(r))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	scenarios := map[string]func(){
		"connect": connect, "ack-auto": ackAuto, "ack-client": ackClient, "ack-individual": ackIndividual,
		"nack": nack, "commit": commit, "abort": abort, "durable": durable, "heart-beats": heartBeats,
		"utf8": utf8, "escapes": escapes, "binary": binary, "big": big, "receipts": receipts, "drain": drain,
		"selector": selector, "delayed": delayed, "request-reply": requestReply, "virtual-topic": virtualTopic, "login": login,
		"retry": retry,
	}
	scenarios[scenario]()
}

// with opens a connection for some work.
func with(work func(*client)) {
	c := open("", 0)
	work(c)
	c.close()
}

// showLast shows that nothing is left: what is sent now comes first.
func showLast(destination string) {
	with(func(c *client) {
		c.send(destination, "last")
		c.subscribe(destination, stomp.AckAuto)
		c.show()
	})
}

func connect() {
	with(func(c *client) {
		say(result{"version": c.conn.Version()})
		c.send("/queue/connect", "hello")
		c.subscribe("/queue/connect", stomp.AckAuto)
		c.show()
	})
}

func ackAuto() {
	with(func(c *client) {
		c.send("/queue/auto", "1", "2", "3")
		c.subscribe("/queue/auto", stomp.AckAuto)
		for range [3]int{} {
			c.show()
		}
	})
	showLast("/queue/auto")
}

func ackClient() {
	with(func(c *client) {
		c.send("/queue/client", "1", "2", "3", "4", "5")
		c.subscribe("/queue/client", stomp.AckClient)
		var messages [5]*stomp.Message
		for at := range messages {
			messages[at] = c.receive()
		}
		c.ack(messages[2])
	})
	with(func(c *client) {
		c.subscribe("/queue/client", stomp.AckClient)
		c.show()
		c.ack(c.show())
	})
	showLast("/queue/client")
}

func ackIndividual() {
	with(func(c *client) {
		c.send("/queue/individual", "1", "2", "3", "4")
		c.subscribe("/queue/individual", stomp.AckClientIndividual)
		var messages [4]*stomp.Message
		for at := range messages {
			messages[at] = c.receive()
		}
		c.ack(messages[1])
		c.ack(messages[3])
	})
	with(func(c *client) {
		c.subscribe("/queue/individual", stomp.AckClientIndividual)
		c.ack(c.show())
		c.ack(c.show())
	})
	showLast("/queue/individual")
}

func nack() {
	with(func(c *client) {
		c.send("/queue/nack", "bad", "good")
		c.subscribe("/queue/nack", stomp.AckClientIndividual)
		check(c.conn.Nack(c.show()))
		c.ack(c.show())
		c.ack(c.show())
	})
	showLast("/queue/nack")
}

func commit() {
	with(func(c *client) {
		sends := c.conn.Begin()
		check(sends.Send("/queue/commit", "", []byte("1")))
		check(sends.Send("/queue/commit", "", []byte("2")))
		c.send("/queue/commit", "outside")
		c.subscribe("/queue/commit", stomp.AckClientIndividual)
		messages := []*stomp.Message{c.show()}
		check(sends.CommitWithReceipt())
		messages = append(messages, c.show(), c.show())
		acks := c.conn.Begin()
		for _, message := range messages {
			check(acks.Ack(message))
		}
		check(acks.CommitWithReceipt())
	})
	showLast("/queue/commit")
}

func abort() {
	with(func(c *client) {
		c.send("/queue/abort", "kept")
		c.subscribe("/queue/abort", stomp.AckClientIndividual)
		transaction := c.conn.Begin()
		check(transaction.Send("/queue/abort", "", []byte("dropped")))
		check(transaction.Ack(c.show()))
		check(transaction.AbortWithReceipt())
	})
	with(func(c *client) {
		c.subscribe("/queue/abort", stomp.AckClientIndividual)
		c.ack(c.show())
	})
	showLast("/queue/abort")
}

func durable() {
	subscribed := func(work func(*client)) {
		c := open("durable", 0)
		c.subscribe("/topic/news", stomp.AckClientIndividual, "activemq.subscriptionName", "news")
		work(c)
		c.close()
	}
	subscribed(func(c *client) {
		c.send("/topic/news", "online")
		c.ack(c.show())
	})
	with(func(other *client) {
		other.sendPersistent("/topic/news", "offline 1")
		other.sendPersistent("/topic/news", "offline 2")
	})
	subscribed(func(c *client) {
		c.ack(c.show())
		c.ack(c.show())
	})
}

func heartBeats() {
	c := open("", 300*time.Millisecond)
	for range [5]int{} {
		select {
		case <-c.beats:
		case <-time.After(deadline):
			panic(errors.New("no heart-beat came"))
		}
	}
	say(result{"beats": 5})
	c.send("/queue/beats", "still here")
	c.subscribe("/queue/beats", stomp.AckAuto)
	c.show()
	c.close()
}

func utf8() {
	with(func(c *client) {
		header := stomp.SendOpt.Header("заголовок-𝄞", "значение 😀 値")
		check(c.conn.Send("/queue/utf8", "", []byte("тело 𝄞 😀 本文"), header))
		c.subscribe("/queue/utf8", stomp.AckAuto)
		message := c.receive()
		say(result{"header": message.Header.Get("заголовок-𝄞"), "body": string(message.Body)})
	})
}

func escapes() {
	with(func(c *client) {
		header := stomp.SendOpt.Header("note", "a colon: back\\slash\nline")
		check(c.conn.Send("/queue/escapes", "", []byte("body"), header))
		c.subscribe("/queue/escapes", stomp.AckAuto)
		say(result{"header": c.receive().Header.Get("note")})
	})
}

func binary() {
	with(func(c *client) {
		octets := make([]byte, 256+2) // The last two are NUL.
		for at := range octets[:256] {
			octets[at] = byte(at)
		}
		check(c.conn.Send("/queue/binary", "", octets))
		c.subscribe("/queue/binary", stomp.AckAuto)
		say(result{"hex": hex.EncodeToString(c.receive().Body)})
	})
}

func big() {
	with(func(c *client) {
		var body strings.Builder
		for number := 0; number < 1<<20; number++ {
			fmt.Fprintf(&body, "%010d", number)
		}
		c.send("/queue/big", body.String())
		c.subscribe("/queue/big", stomp.AckAuto)
		message := c.receive()
		digest := sha256.Sum256(message.Body)
		say(result{"octets": len(message.Body), "sha256": hex.EncodeToString(digest[:])})
	})
}

func receipts() {
	with(func(c *client) {
		var received []int
		for number := 0; number < 100; number++ {
			// Returns when the RECEIPT is there.
			c.sendPersistent("/queue/receipts", strconv.Itoa(number), stomp.SendOpt.Receipt)
			received = append(received, number)
		}
		say(result{"receipts": received})
		c.subscribe("/queue/receipts", stomp.AckAuto)
		var bodies []string
		for len(bodies) < 100 {
			bodies = append(bodies, string(c.receive().Body))
		}
		say(result{"bodies": bodies})
	})
}

// drain takes all there is, and prints it: what is sent now comes last.
func drain() {
	with(func(c *client) {
		c.sendPersistent("/queue/crash", "end")
		c.subscribe("/queue/crash", stomp.AckClientIndividual)
		for {
			message := c.receive()
			c.ack(message)
			if string(message.Body) == "end" {
				return
			}
			number, err := strconv.Atoi(string(message.Body))
			check(err)
			say(result{"number": number, "redelivered": message.Header.Get("redelivered") == "true"})
		}
	})
}

func selector() {
	with(func(c *client) {
		for _, paint := range [][2]string{{"red", "3"}, {"red", "7"}, {"blue", "9"}, {"red", "9"}} {
			c.sendWith("/queue/paint", paint[0]+" "+paint[1], "colour", paint[0], "weight", paint[1])
		}
		c.subscribe("/queue/paint", stomp.AckClientIndividual, "selector", "colour = 'red' AND weight > 5")
		c.ack(c.show())
		c.ack(c.show())
	})
	with(func(c *client) {
		c.subscribe("/queue/paint", stomp.AckAuto)
		c.show()
		c.show()
	})
}

func delayed() {
	with(func(c *client) {
		begun := time.Now()
		c.sendWith("/queue/later", "later", "AMQ_SCHEDULED_DELAY", "300", "persistent", "true")
		c.send("/queue/later", "at once")
		c.subscribe("/queue/later", stomp.AckAuto)
		c.show()
		c.show()
		say(result{"waited": time.Since(begun) > 290*time.Millisecond})
	})
}

func requestReply() {
	with(func(requester *client) {
		with(func(service *client) {
			requester.subscribe("/temp-queue/replies", stomp.AckAuto)
			requester.sendWith("/queue/service", "6 * 7", "reply-to", "/temp-queue/replies", "correlation-id", "c-1")
			service.subscribe("/queue/service", stomp.AckAuto)
			request := service.receive()
			correlation := request.Header.Get("correlation-id")
			say(result{"request": string(request.Body), "correlation": correlation})
			service.sendWith(request.Header.Get("reply-to"), "42", "correlation-id", correlation)
			reply := requester.receive()
			say(result{"reply": string(reply.Body), "correlation": reply.Header.Get("correlation-id")})
		})
	})
}

func virtualTopic() {
	billing, stock := "/queue/Consumer.billing.VirtualTopic.orders", "/queue/Consumer.stock.VirtualTopic.orders"
	showCopies := func(c *client) {
		for range [2]int{} {
			message := c.receive()
			say(result{"body": string(message.Body), "origin": message.Header.Get("original-destination")})
		}
	}
	with(func(c *client) {
		c.subscribe(billing, stomp.AckAuto) // From now on it collects.
	})
	with(func(c *client) {
		c.subscribe(stock, stomp.AckAuto)
		c.sendPersistent("/topic/VirtualTopic.orders", "order 1")
		c.sendPersistent("/topic/VirtualTopic.orders", "order 2")
		showCopies(c)
	})
	with(func(c *client) {
		c.subscribe(billing, stomp.AckAuto)
		showCopies(c)
	})
}

func login() {
	_, err := tryOpen("", 0, stomp.ConnOpt.Login("orders", "a guess"))
	say(result{"refused": text(err)})
	c := open("", 0, stomp.ConnOpt.Login("orders", "the secret of orders"))
	c.send("/queue/orders.new", "allowed")
	c.subscribe("/queue/orders.new", stomp.AckAuto)
	c.show()
	// Without a receipt the library tells nobody.
	err = c.conn.Send("/queue/billing", "", []byte("forbidden"), stomp.SendOpt.Receipt)
	say(result{"denied": text(err)})
}

// text is what the broker says in an ERROR.
func text(err error) string {
	if refused := (stomp.Error{}); errors.As(err, &refused) {
		return refused.Message
	}
	panic(fmt.Errorf("not refused: %v", err))
}

func retry() {
	with(func(c *client) {
		c.sendPersistent("/queue/poison", "bad")
		c.subscribe("/queue/poison", stomp.AckClientIndividual,
			"activemq.maximumRedeliveries", "2",
			"activemq.initialRedeliveryDelay", "50",
			"activemq.useExponentialBackOff", "true",
			"activemq.backOffMultiplier", "4")
		begun := time.Now()
		check(c.conn.Nack(c.show()))
		check(c.conn.Nack(c.show()))
		last := c.show()
		say(result{"backed-off": time.Since(begun) > 240*time.Millisecond})
		check(c.conn.Nack(last))
		with(func(undertaker *client) {
			undertaker.subscribe("/queue/ActiveMQ.DLQ", stomp.AckClientIndividual)
			dead := undertaker.receive()
			say(result{
				"dead":     string(dead.Body),
				"origin":   dead.Header.Get("original-destination"),
				"failures": dead.Header.Get("dlqDeliveryCount"),
			})
		})
		c.ack(c.show())
	})
}
