package ferrymq;

import java.util.Enumeration;

import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.Destination;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;
import javax.jms.Topic;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.ActiveMQSession;

/** ActiveMQ's own client for Java over OpenWire: one scenario a run. Arguments: address, scenario. */
public final class OpenWire {
    private static final long PATIENCE_MS = 20_000;
    /** How long nothing must come. */
    private static final long QUIET_MS = 300;

    private static String url;

    private OpenWire() {
    }

    public static void main(String[] arguments) throws Exception {
        url = "tcp://" + arguments[0];
        switch (arguments[1]) {
            case "send-receive" -> sendReceive();
            case "client-ack" -> clientAck();
            case "transacted" -> transacted();
            case "large-transaction" -> largeTransaction();
            case "durable" -> durable();
            case "request-reply" -> requestReply();
            case "selector" -> selector();
            case "browser" -> browser();
            case "pull" -> pull();
            case "poison" -> poison();
            case "failover" -> failover();
            case "errors" -> errors();
            case "topics" -> topics();
            case "options" -> options();
            default -> throw new IllegalArgumentException(arguments[1]);
        }
        System.out.println("\"done\"");
        System.exit(0);
    }

    private static Connection connect() throws JMSException {
        return connect(url, null);
    }

    private static Connection connect(String to, String clientId) throws JMSException {
        ActiveMQConnectionFactory factory = new ActiveMQConnectionFactory(to);
        Connection connection = factory.createConnection();
        if (clientId != null) {
            connection.setClientID(clientId);
        }
        connection.start();
        return connection;
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    private static void same(Object found, Object wanted, String what) {
        check(wanted == null ? found == null : wanted.equals(found), what + ": " + found + ", not " + wanted);
    }

    private static String text(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(PATIENCE_MS);
        check(message != null, "nothing came");
        return ((TextMessage) message).getText();
    }

    private static void sendReceive() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Queue queue = session.createQueue("orders");
        MessageProducer producer = session.createProducer(queue);
        MessageConsumer consumer = session.createConsumer(queue);
        for (int mode : new int[] {DeliveryMode.PERSISTENT, DeliveryMode.NON_PERSISTENT}) {
            producer.setDeliveryMode(mode);
            TextMessage sent = session.createTextMessage("grüße \u0000 \ud83d\ude00");
            sent.setStringProperty("region", "EU");
            sent.setIntProperty("count", 7);
            sent.setDoubleProperty("price", 1.5);
            sent.setBooleanProperty("urgent", true);
            sent.setJMSCorrelationID("c-1");
            sent.setJMSType("order");
            sent.setJMSReplyTo(session.createTopic("answers"));
            producer.send(sent);
            TextMessage got = (TextMessage) consumer.receive(PATIENCE_MS);
            check(got != null, "no text came");
            same(got.getText(), sent.getText(), "text");
            same(got.getStringProperty("region"), "EU", "region");
            same(got.getObjectProperty("count"), 7, "count");
            same(got.getObjectProperty("price"), 1.5, "price");
            same(got.getObjectProperty("urgent"), true, "urgent");
            same(got.getJMSCorrelationID(), "c-1", "correlation id");
            same(got.getJMSType(), "order", "type");
            same(got.getJMSReplyTo(), session.createTopic("answers"), "reply to");
            same(got.getJMSMessageID(), sent.getJMSMessageID(), "message id");
            same(got.getJMSDeliveryMode(), mode, "delivery mode");
            same(got.getJMSRedelivered(), false, "redelivered");
            same(got.getJMSDestination(), queue, "destination");
        }
        for (int length : new int[] {0, 1, 4095, 4096, 20_000, 3_000_000}) {
            byte[] octets = new byte[length];
            for (int at = 0; at < length; at++) {
                octets[at] = (byte) (at * 31);
            }
            BytesMessage sent = session.createBytesMessage();
            sent.writeBytes(octets);
            producer.send(sent);
            BytesMessage got = (BytesMessage) consumer.receive(PATIENCE_MS);
            check(got != null, "no octets came");
            byte[] found = new byte[length];
            same(got.getBodyLength(), (long) length, "length");
            got.readBytes(found);
            check(java.util.Arrays.equals(found, octets), "octets of length " + length);
        }
        connection.close();
    }

    private static void clientAck() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        Queue queue = session.createQueue("acked?consumer.prefetchSize=10");
        MessageProducer producer = session.createProducer(session.createQueue("acked"));
        for (int at = 0; at < 50; at++) {
            producer.send(session.createTextMessage("m" + at));
        }
        MessageConsumer consumer = session.createConsumer(queue);
        Message last = null;
        // More than the window holds: what was delivered makes room.
        for (int at = 0; at < 40; at++) {
            last = consumer.receive(PATIENCE_MS);
            check(last != null, "message " + at + " did not come");
            same(((TextMessage) last).getText(), "m" + at, "order");
        }
        last.acknowledge();
        session.close();
        session = connection.createSession(false, ActiveMQSession.INDIVIDUAL_ACKNOWLEDGE);
        consumer = session.createConsumer(queue);
        for (int at = 40; at < 50; at++) {
            Message message = consumer.receive(PATIENCE_MS);
            check(message != null, "message " + at + " did not come again");
            same(((TextMessage) message).getText(), "m" + at, "order");
            if (at % 2 == 0) {
                message.acknowledge();
            }
        }
        session.close();
        session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        consumer = session.createConsumer(queue);
        for (int at = 41; at < 50; at += 2) {
            Message message = consumer.receive(PATIENCE_MS);
            check(message != null, "message " + at + " did not come back");
            same(((TextMessage) message).getText(), "m" + at, "order of what came back");
            same(message.getJMSRedelivered(), true, "redelivered");
        }
        check(consumer.receive(QUIET_MS) == null, "one message too many");
        connection.close();
    }

    private static void transacted() throws JMSException {
        Connection connection = connect();
        Session other = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageConsumer watcher = other.createConsumer(other.createQueue("out"));
        MessageProducer feeder = other.createProducer(other.createQueue("in"));
        feeder.send(other.createTextMessage("1"));
        feeder.send(other.createTextMessage("2"));
        Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
        MessageConsumer consumer = session.createConsumer(session.createQueue("in"));
        MessageProducer producer = session.createProducer(session.createQueue("out"));
        same(text(consumer), "1", "first");
        producer.send(session.createTextMessage("never"));
        session.rollback();
        Message again = consumer.receive(PATIENCE_MS);
        check(again != null, "nothing came again after the rollback");
        same(((TextMessage) again).getText(), "1", "again");
        same(again.getJMSRedelivered(), true, "redelivered");
        producer.send(session.createTextMessage("kept"));
        check(watcher.receive(QUIET_MS) == null, "seen before the commit");
        session.commit();
        same(text(watcher), "kept", "sent");
        same(text(consumer), "2", "second");
        session.commit();
        check(consumer.receive(QUIET_MS) == null, "one message too many");
        check(watcher.receive(QUIET_MS) == null, "one answer too many");
        connection.close();
    }

    private static void largeTransaction() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
        MessageProducer producer = session.createProducer(session.createQueue("large"));
        int count = 3000;
        for (int at = 0; at < count; at++) {
            producer.send(session.createTextMessage("m" + at));
        }
        session.commit();
        MessageConsumer consumer =
            session.createConsumer(session.createQueue("large?consumer.prefetchSize=100"));
        for (int round = 0; round < 2; round++) {
            for (int at = 0; at < count; at++) {
                same(text(consumer), "m" + at, "order in round " + round);
            }
            if (round == 0) {
                session.rollback();
            } else {
                session.commit();
            }
        }
        check(consumer.receive(QUIET_MS) == null, "one message too many");
        connection.close();
    }

    private static void durable() throws JMSException {
        Connection connection = connect(url, "client-1");
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Topic topic = session.createTopic("prices");
        MessageConsumer consumer = session.createDurableSubscriber(topic, "sub");
        MessageProducer producer = session.createProducer(topic);
        producer.send(session.createTextMessage("1"));
        same(text(consumer), "1", "while active");
        try {
            Connection second = connect(url, "client-1");
            second.close();
            check(false, "the client id is taken twice");
        } catch (javax.jms.InvalidClientIDException expected) {
            check(expected.getMessage().contains("already connected"), expected.getMessage());
        }
        consumer.close();
        producer.send(session.createTextMessage("2"));
        connection.close();
        connection = connect(url, "client-1");
        session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        consumer = session.createDurableSubscriber(topic, "sub");
        same(text(consumer), "2", "while away");
        try {
            session.unsubscribe("sub");
            check(false, "unsubscribed while in use");
        } catch (JMSException expected) {
            check(expected.getMessage().contains("in use"), expected.getMessage());
        }
        consumer.close();
        session.unsubscribe("sub");
        consumer = session.createDurableSubscriber(topic, "sub");
        check(consumer.receive(QUIET_MS) == null, "left over");
        connection.close();
    }

    private static void requestReply() throws Exception {
        Connection server = connect();
        Session serving = server.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageProducer answers = serving.createProducer(null);
        serving.createConsumer(serving.createQueue("questions")).setMessageListener(message -> {
            try {
                TextMessage question = (TextMessage) message;
                TextMessage answer = serving.createTextMessage("re: " + question.getText());
                answer.setJMSCorrelationID(message.getJMSMessageID());
                answers.send(message.getJMSReplyTo(), answer);
            } catch (JMSException error) {
                error.printStackTrace();
            }
        });
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        TemporaryQueue replies = session.createTemporaryQueue();
        MessageConsumer consumer = session.createConsumer(replies);
        MessageProducer producer = session.createProducer(session.createQueue("questions"));
        for (int at = 0; at < 20; at++) {
            TextMessage question = session.createTextMessage("q" + at);
            question.setJMSReplyTo(replies);
            producer.send(question);
            same(text(consumer), "re: q" + at, "answer");
        }
        // One that came later learns what was there before.
        Connection late = connect();
        Session lateSession = late.createSession(false, Session.AUTO_ACKNOWLEDGE);
        lateSession.createProducer(replies).send(lateSession.createTextMessage("late"));
        same(text(consumer), "late", "from a late connection");
        try {
            lateSession.createConsumer(replies);
            check(false, "consumed from a temporary queue of another connection");
        } catch (JMSException expected) {
            // As it should be.
        }
        consumer.close();
        replies.delete();
        late.close();
        connection.close();
        server.close();
    }

    private static void selector() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Queue queue = session.createQueue("chosen");
        MessageConsumer consumer =
            session.createConsumer(queue, "region = 'EU' AND count > 3 AND JMSType = 'order'");
        MessageProducer producer = session.createProducer(queue);
        for (int at = 0; at < 10; at++) {
            TextMessage message = session.createTextMessage("m" + at);
            message.setStringProperty("region", at % 2 == 0 ? "EU" : "US");
            message.setIntProperty("count", at);
            message.setJMSType("order");
            producer.send(message);
        }
        for (String wanted : new String[] {"m4", "m6", "m8"}) {
            same(text(consumer), wanted, "chosen");
        }
        check(consumer.receive(QUIET_MS) == null, "one message too many");
        try {
            session.createConsumer(queue, "region = = 1");
            check(false, "took a selector that is none");
        } catch (InvalidSelectorException expected) {
            // As it should be.
        }
        connection.close();
    }

    private static void browser() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Queue queue = session.createQueue("browsed");
        same(count(session.createBrowser(queue)), 0, "of an empty queue");
        MessageProducer producer = session.createProducer(queue);
        for (int at = 0; at < 1200; at++) {
            TextMessage message = session.createTextMessage("m" + at);
            message.setIntProperty("at", at);
            producer.setDeliveryMode(at % 2 == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT);
            producer.send(message);
        }
        same(count(session.createBrowser(queue)), 1200, "browsed");
        same(count(session.createBrowser(queue, "at < 10")), 10, "chosen");
        MessageConsumer consumer = session.createConsumer(queue);
        same(text(consumer), "m0", "still there");
        connection.close();
    }

    private static int count(QueueBrowser browser) throws JMSException {
        int count = 0;
        for (Enumeration<?> all = browser.getEnumeration(); all.hasMoreElements(); all.nextElement()) {
            count++;
        }
        browser.close();
        return count;
    }

    private static void pull() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Queue queue = session.createQueue("pulled");
        MessageProducer producer = session.createProducer(queue);
        MessageConsumer consumer =
            session.createConsumer(session.createQueue("pulled?consumer.prefetchSize=0"));
        check(consumer.receive(100) == null, "something came of nothing");
        check(consumer.receiveNoWait() == null, "something came at once of nothing");
        for (int at = 0; at < 5; at++) {
            producer.send(session.createTextMessage("m" + at));
        }
        same(text(consumer), "m0", "pulled");
        same(((TextMessage) consumer.receiveNoWait()).getText(), "m1", "pulled at once");
        // What was not pulled is free for others.
        MessageConsumer other = session.createConsumer(queue);
        same(text(other), "m2", "free");
        connection.close();
    }

    private static void poison() throws JMSException {
        String to = url + "?jms.redeliveryPolicy.maximumRedeliveries=1&jms.redeliveryPolicy.initialRedeliveryDelay=0";
        Connection connection = connect(to, null);
        Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
        Queue queue = session.createQueue("poisoned");
        MessageProducer producer = session.createProducer(queue);
        TextMessage sent = session.createTextMessage("bad");
        sent.setStringProperty("mine", "x");
        producer.send(sent);
        session.commit();
        MessageConsumer consumer = session.createConsumer(queue);
        for (int at = 0; at < 2; at++) {
            same(text(consumer), "bad", "delivery " + at);
            session.rollback();
        }
        MessageConsumer dead = session.createConsumer(session.createQueue("ActiveMQ.DLQ"));
        Message letter = dead.receive(PATIENCE_MS);
        check(letter != null, "no dead letter");
        same(((TextMessage) letter).getText(), "bad", "dead letter");
        same(letter.getStringProperty("mine"), "x", "its property");
        check(letter.getStringProperty("dlqDeliveryFailureCause") != null, "no cause");
        session.commit();
        check(consumer.receive(QUIET_MS) == null, "it came again");
        connection.close();
    }

    private static void failover() throws Exception {
        Connection connection = connect("failover:(" + url + ")", null);
        Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
        Queue queue = session.createQueue("failing");
        MessageProducer producer = session.createProducer(queue);
        MessageConsumer consumer = session.createConsumer(queue);
        for (int at = 0; at < 10; at++) {
            producer.send(session.createTextMessage("m" + at));
        }
        session.commit();
        for (int at = 0; at < 5; at++) {
            same(text(consumer), "m" + at, "before");
        }
        session.commit();
        TemporaryQueue replies = session.createTemporaryQueue();
        producer.send(session.createTextMessage("sent in an open transaction"));
        ((ActiveMQConnection) connection).getTransport()
            .narrow(org.apache.activemq.transport.failover.FailoverTransport.class)
            .handleTransportFailure(new java.io.IOException("broken on purpose"));
        session.commit();
        for (int at = 5; at < 10; at++) {
            same(text(consumer), "m" + at, "after");
        }
        same(text(consumer), "sent in an open transaction", "replayed");
        session.commit();
        MessageConsumer reader = session.createConsumer(replies);
        session.createProducer(replies).send(session.createTextMessage("there"));
        session.commit();
        same(text(reader), "there", "the temporary queue");
        session.commit();
        check(consumer.receive(QUIET_MS) == null, "one message too many");
        connection.close();
    }

    private static void errors() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageProducer producer = session.createProducer(session.createQueue("later"));
        Message scheduled = session.createTextMessage("later");
        scheduled.setLongProperty("AMQ_SCHEDULED_DELAY", 1000);
        try {
            producer.send(scheduled);
            check(false, "took a message for later");
        } catch (JMSException expected) {
            check(expected.getMessage().contains("not supported yet"), expected.getMessage());
        }
        try {
            producer.send(session.createTopic("ActiveMQ.Advisory.Connection"), session.createMessage());
            check(false, "took an advisory");
        } catch (UnsupportedOperationException expected) {
            // The producer has a destination of its own.
        }
        // The connection goes on.
        producer.send(session.createTextMessage("now"));
        same(text(session.createConsumer(session.createQueue("later"))), "now", "after errors");
        connection.close();
    }

    private static void topics() throws JMSException {
        Connection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageConsumer all = session.createConsumer(session.createTopic("news.>"));
        MessageConsumer two = session.createConsumer(session.createTopic("news.a,news.b"));
        MessageConsumer foreign = session.createConsumer(session.createTopic("news.a"), null, true);
        Destination[] topics = {session.createTopic("news.a"), session.createTopic("news.b"), session.createTopic("news.c")};
        MessageProducer producer = session.createProducer(null);
        for (Destination topic : topics) {
            producer.send(topic, session.createTextMessage(topic.toString()));
        }
        for (Destination topic : topics) {
            Message message = all.receive(PATIENCE_MS);
            check(message != null, "nothing came by the wildcard");
            same(message.getJMSDestination(), topic, "destination");
        }
        same(text(two), "topic://news.a", "first of two");
        same(text(two), "topic://news.b", "second of two");
        check(two.receive(QUIET_MS) == null, "one message too many");
        check(foreign.receive(QUIET_MS) == null, "its own message");
        producer.send(session.createQueue("one,two"), session.createTextMessage("both"));
        same(text(session.createConsumer(session.createQueue("one"))), "both", "one");
        same(text(session.createConsumer(session.createQueue("two"))), "both", "two");
        connection.close();
    }

    /** Other ways to write frames, and a window for producers. */
    private static void options() throws JMSException {
        for (String option : new String[] {
            "wireFormat.tightEncodingEnabled=false", "wireFormat.cacheEnabled=false", "wireFormat.version=1",
            "wireFormat.version=9", "wireFormat.version=10", "wireFormat.cacheSize=50", "jms.useAsyncSend=true",
            "jms.producerWindowSize=4096&jms.useAsyncSend=true", "jms.useCompression=true", "jms.dispatchAsync=false",
            "jms.optimizeAcknowledge=true", "jms.watchTopicAdvisories=false"}) {
            Connection connection = connect(url + "?" + option, null);
            Session session = connection.createSession(false, Session.DUPS_OK_ACKNOWLEDGE);
            Queue queue = session.createQueue("options");
            MessageProducer producer = session.createProducer(queue);
            MessageConsumer consumer = session.createConsumer(queue);
            for (int at = 0; at < 100; at++) {
                producer.send(session.createTextMessage(option + at));
            }
            for (int at = 0; at < 100; at++) {
                same(text(consumer), option + at, "text");
            }
            connection.close();
        }
    }
}
