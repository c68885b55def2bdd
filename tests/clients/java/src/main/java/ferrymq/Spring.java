package ferrymq;

import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.messaging.simp.stomp.ReactorNettyTcpStompClient;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.messaging.simp.stomp.StompReactorNettyCodec;
import org.springframework.messaging.simp.stomp.StompSession;
import org.springframework.messaging.simp.stomp.StompSessionHandler;
import org.springframework.messaging.tcp.reactor.ReactorNettyTcpClient;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/**
 * What Spring's {@code ReactorNettyTcpStompClient} sees of the broker: {@code Spring ADDRESS SCENARIO VERSION} prints one
 * JSON line per result. An ADDRESS that begins with tls:// is spoken to by TLS; FERRYMQ_CA names the authority.
 *
 * <p>The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.
 */
public final class Spring {
    private static final long DEADLINE_S = 30;
    private static final String[] DURABLE = {"activemq.subscriptionName", "news"};

    private static String address;
    private static String version;

    private Spring() {}

    private interface Story {
        void tell() throws Exception;
    }

    private interface Work {
        void with(Client client) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        version = arguments[2];
        Map<String, Story> stories = Map.ofEntries(
                Map.entry("connect", Spring::connect),
                Map.entry("ack-auto", Spring::ackAuto),
                Map.entry("ack-client", Spring::ackClient),
                Map.entry("ack-individual", Spring::ackIndividual),
                Map.entry("nack", Spring::nack),
                Map.entry("durable", Spring::durable),
                Map.entry("durable-removed", Spring::durableRemoved),
                Map.entry("utf8", Spring::utf8),
                Map.entry("escapes", Spring::escapes),
                Map.entry("binary", Spring::binary),
                Map.entry("big", Spring::big),
                Map.entry("receipts", Spring::receipts),
                Map.entry("selector", Spring::selector),
                Map.entry("delayed", Spring::delayed),
                Map.entry("request-reply", Spring::requestReply),
                Map.entry("virtual-topic", Spring::virtualTopic),
                Map.entry("login", Spring::login),
                Map.entry("retry", Spring::retry));
        stories.get(arguments[1]).tell();
        // The client's threads are not all daemons.
        System.exit(0);
    }

    private static void say(Object... members) {
        System.out.println(Json.object(members));
    }

    /** An ERROR frame. */
    private static final class Refused extends Exception {
        Refused(String message) {
            super(message);
        }
    }

    private record Message(StompHeaders headers, byte[] body) {
        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    /** One connection with at most one subscription. */
    private static final class Client implements StompSessionHandler {
        private final CompletableFuture<StompHeaders> connected = new CompletableFuture<>();
        private final BlockingQueue<Object> inbox = new LinkedBlockingQueue<>();
        private final ReactorNettyTcpStompClient client;
        private final StompSession session;
        private StompSession.Subscription subscription;

        /** Connects with these headers, names and values in turn. */
        Client(String... headers) throws Exception {
            boolean isTls = address.startsWith("tls://");
            String[] place = address.replace("tls://", "").split(":");
            int port = Integer.parseInt(place[1]);
            client = isTls ? overTls(place[0], port) : new ReactorNettyTcpStompClient(place[0], port);
            ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
            scheduler.initialize();
            client.setTaskScheduler(scheduler);
            StompHeaders connect = headers(headers);
            connect.setAcceptVersion(version);
            CompletableFuture<StompSession> connecting = client.connectAsync(connect, this);
            try {
                connected.get(DEADLINE_S, TimeUnit.SECONDS);
            } catch (Exception error) {
                throw error.getCause() instanceof Refused refused ? refused : error;
            }
            session = connecting.get(DEADLINE_S, TimeUnit.SECONDS);
        }

        private static ReactorNettyTcpStompClient overTls(String host, int port) throws Exception {
            File authority = new File(System.getenv("FERRYMQ_CA"));
            SslContext context = SslContextBuilder.forClient().trustManager(authority).build();
            return new ReactorNettyTcpStompClient(new ReactorNettyTcpClient<>(
                    tcp -> tcp.host(host).port(port).secure(spec -> spec.sslContext(context)),
                    new StompReactorNettyCodec()));
        }

        @Override
        public void afterConnected(StompSession session, StompHeaders headers) {
            connected.complete(headers);
        }

        @Override
        public Type getPayloadType(StompHeaders headers) {
            return byte[].class;
        }

        /** Gets an ERROR, and through {@link #subscribe} every MESSAGE. */
        @Override
        public void handleFrame(StompHeaders headers, Object payload) {
            if (headers.getFirst("subscription") == null) {
                Refused refused = new Refused(headers.getFirst("message"));
                connected.completeExceptionally(refused);
                inbox.add(refused);
            } else {
                inbox.add(new Message(headers, payload == null ? new byte[0] : (byte[]) payload));
            }
        }

        @Override
        public void handleException(
                StompSession session, StompCommand command, StompHeaders headers, byte[] payload, Throwable error) {
            fail(error);
        }

        @Override
        public void handleTransportError(StompSession session, Throwable error) {
            fail(error);
        }

        private void fail(Throwable error) {
            connected.completeExceptionally(error);
            inbox.add(error);
        }

        StompSession.Receiptable send(String destination, byte[] body, String... more) {
            StompHeaders headers = headers(more);
            headers.setDestination(destination);
            return session.send(headers, body);
        }

        StompSession.Receiptable send(String destination, String body, String... more) {
            return send(destination, body.getBytes(StandardCharsets.UTF_8), more);
        }

        void subscribe(String destination, String ack, String... more) {
            StompHeaders headers = headers(more);
            headers.setDestination(destination);
            headers.setAck(ack);
            subscription = session.subscribe(headers, this);
        }

        Message take() throws Exception {
            Object next = inbox.poll(DEADLINE_S, TimeUnit.SECONDS);
            if (next instanceof Message message) {
                return message;
            }
            throw next instanceof Exception error ? error : new IllegalStateException("nothing came");
        }

        /** Receives a message and prints it. */
        Message show() throws Exception {
            Message message = take();
            boolean redelivered = "true".equals(message.headers().getFirst("redelivered"));
            String count = message.headers().getFirst("JMSXDeliveryCount");
            say("body", message.text(), "redelivered", redelivered, "count", count);
            return message;
        }

        void ack(Message message) {
            session.acknowledge(named(message), true);
        }

        void nack(Message message) {
            session.acknowledge(named(message), false);
        }

        private static StompHeaders named(Message message) {
            StompHeaders headers = message.headers();
            return version.equals("1.1")
                    ? headers("message-id", headers.getMessageId(), "subscription", headers.getSubscription())
                    : headers("id", headers.getAck());
        }

        /** The library closes without waiting, so this waits until all before is done. */
        void close() throws Exception {
            CompletableFuture<Void> done = new CompletableFuture<>();
            StompSession.Receiptable fence = send("/topic/fence", "", "receipt", "bye");
            fence.addReceiptTask(() -> done.complete(null));
            done.get(DEADLINE_S, TimeUnit.SECONDS);
            session.disconnect();
            client.shutdown();
        }
    }

    private static StompHeaders headers(String... members) {
        StompHeaders headers = new StompHeaders();
        for (int at = 0; at < members.length; at += 2) {
            headers.set(members[at], members[at + 1]);
        }
        return headers;
    }

    private static void with(Work work, String... headers) throws Exception {
        Client client = new Client(headers);
        work.with(client);
        client.close();
    }

    /** Shows that nothing is left: what is sent now comes first. */
    private static void showLast(String destination) throws Exception {
        with(client -> {
            client.send(destination, "last");
            client.subscribe(destination, "auto");
            client.show();
        });
    }

    private static void connect() throws Exception {
        with(client -> {
            say("version", client.connected.get().getFirst("version"));
            client.send("/queue/connect", "hello");
            client.subscribe("/queue/connect", "auto");
            client.show();
        });
    }

    private static void ackAuto() throws Exception {
        with(client -> {
            for (String body : List.of("1", "2", "3")) {
                client.send("/queue/auto", body);
            }
            client.subscribe("/queue/auto", "auto");
            for (int count = 0; count < 3; count++) {
                client.show();
            }
        });
        showLast("/queue/auto");
    }

    private static void ackClient() throws Exception {
        with(client -> {
            for (String body : List.of("1", "2", "3", "4", "5")) {
                client.send("/queue/client", body);
            }
            client.subscribe("/queue/client", "client");
            client.ack(take(client, 5).get(2));
        });
        with(client -> {
            client.subscribe("/queue/client", "client");
            client.show();
            client.ack(client.show());
        });
        showLast("/queue/client");
    }

    private static List<Message> take(Client client, int count) throws Exception {
        List<Message> messages = new ArrayList<>();
        while (messages.size() < count) {
            messages.add(client.take());
        }
        return messages;
    }

    private static void ackIndividual() throws Exception {
        with(client -> {
            for (String body : List.of("1", "2", "3", "4")) {
                client.send("/queue/individual", body);
            }
            client.subscribe("/queue/individual", "client-individual");
            List<Message> messages = take(client, 4);
            client.ack(messages.get(1));
            client.ack(messages.get(3));
        });
        with(client -> {
            client.subscribe("/queue/individual", "client-individual");
            client.ack(client.show());
            client.ack(client.show());
        });
        showLast("/queue/individual");
    }

    private static void nack() throws Exception {
        with(client -> {
            client.send("/queue/nack", "bad");
            client.send("/queue/nack", "good");
            client.subscribe("/queue/nack", "client-individual");
            client.nack(client.show());
            client.ack(client.show());
            client.ack(client.show());
        });
        showLast("/queue/nack");
    }

    private static void durable() throws Exception {
        with(
                client -> {
                    client.subscribe("/topic/news", "client-individual", DURABLE);
                    client.send("/topic/news", "online");
                    client.ack(client.show());
                },
                "client-id",
                "durable");
        with(other -> {
            other.send("/topic/news", "offline 1", "persistent", "true");
            other.send("/topic/news", "offline 2", "persistent", "true");
        });
        with(
                client -> {
                    client.subscribe("/topic/news", "client-individual", DURABLE);
                    client.ack(client.show());
                    client.ack(client.show());
                },
                "client-id",
                "durable");
    }

    private static void durableRemoved() throws Exception {
        with(
                client -> {
                    client.subscribe("/topic/old", "auto", DURABLE);
                    client.subscription.unsubscribe();
                    client.subscription.unsubscribe(headers(DURABLE));
                    client.send("/topic/old", "unheard", "persistent", "true");
                },
                "client-id",
                "durable");
        with(
                client -> {
                    client.subscribe("/topic/old", "auto", DURABLE);
                    client.send("/topic/old", "heard");
                    client.show();
                },
                "client-id",
                "durable");
    }

    private static void utf8() throws Exception {
        with(client -> {
            client.send("/queue/utf8", "тело 𝄞 😀 本文", "заголовок-𝄞", "значение 😀 値");
            client.subscribe("/queue/utf8", "auto");
            Message message = client.take();
            say("header", message.headers().getFirst("заголовок-𝄞"), "body", message.text());
        });
    }

    private static void escapes() throws Exception {
        with(client -> {
            client.send("/queue/escapes", "body", "note", "a colon: back\\slash\nline");
            client.subscribe("/queue/escapes", "auto");
            say("header", client.take().headers().getFirst("note"));
        });
    }

    private static void binary() throws Exception {
        with(client -> {
            byte[] octets = new byte[256 + 2]; // The last two are NUL.
            for (int at = 0; at < 256; at++) {
                octets[at] = (byte) at;
            }
            client.send("/queue/binary", octets);
            client.subscribe("/queue/binary", "auto");
            say("hex", HexFormat.of().formatHex(client.take().body()));
        });
    }

    private static void big() throws Exception {
        with(client -> {
            ByteArrayOutputStream numbers = new ByteArrayOutputStream(10 << 20);
            for (int number = 0; number < 1 << 20; number++) {
                numbers.writeBytes(String.format("%010d", number).getBytes(StandardCharsets.US_ASCII));
            }
            client.send("/queue/big", numbers.toByteArray());
            client.subscribe("/queue/big", "auto");
            byte[] body = client.take().body();
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(body);
            say("octets", body.length, "sha256", HexFormat.of().formatHex(digest));
        });
    }

    private static void receipts() throws Exception {
        with(client -> {
            BlockingQueue<Integer> came = new LinkedBlockingQueue<>();
            List<Integer> receipts = new ArrayList<>();
            for (int number = 0; number < 100; number++) {
                int own = number;
                client.send("/queue/receipts", "" + number, "persistent", "true", "receipt", "r-" + number)
                        .addReceiptTask(() -> came.add(own));
            }
            while (receipts.size() < 100) {
                receipts.add(came.poll(DEADLINE_S, TimeUnit.SECONDS));
            }
            say("receipts", receipts);
            client.subscribe("/queue/receipts", "auto");
            say("bodies", take(client, 100).stream().map(Message::text).map(Json::text).toList());
        });
    }

    private static void selector() throws Exception {
        with(client -> {
            for (String paint : List.of("red 3", "red 7", "blue 9", "red 9")) {
                String[] parts = paint.split(" ");
                client.send("/queue/paint", paint, "colour", parts[0], "weight", parts[1]);
            }
            String selector = "colour = 'red' AND weight > 5";
            client.subscribe("/queue/paint", "client-individual", "selector", selector);
            client.ack(client.show());
            client.ack(client.show());
        });
        with(client -> {
            client.subscribe("/queue/paint", "auto");
            client.show();
            client.show();
        });
    }

    private static long millis() {
        return System.nanoTime() / 1_000_000;
    }

    private static void delayed() throws Exception {
        with(client -> {
            long begun = millis();
            client.send("/queue/later", "later", "AMQ_SCHEDULED_DELAY", "300", "persistent", "true");
            client.send("/queue/later", "at once");
            client.subscribe("/queue/later", "auto");
            client.show();
            client.show();
            say("waited", millis() - begun > 290);
        });
    }

    private static void requestReply() throws Exception {
        with(requester -> with(service -> {
            requester.subscribe("/temp-queue/replies", "auto");
            requester.send("/queue/service", "6 * 7", "reply-to", "/temp-queue/replies", "correlation-id", "c-1");
            service.subscribe("/queue/service", "auto");
            Message request = service.take();
            String correlation = request.headers().getFirst("correlation-id");
            say("request", request.text(), "correlation", correlation);
            service.send(request.headers().getFirst("reply-to"), "42", "correlation-id", correlation);
            Message reply = requester.take();
            say("reply", reply.text(), "correlation", reply.headers().getFirst("correlation-id"));
        }));
    }

    private static void virtualTopic() throws Exception {
        String billing = "/queue/Consumer.billing.VirtualTopic.orders";
        // From now on it collects.
        with(client -> client.subscribe(billing, "auto"));
        with(client -> {
            client.subscribe("/queue/Consumer.stock.VirtualTopic.orders", "auto");
            client.send("/topic/VirtualTopic.orders", "order 1", "persistent", "true");
            client.send("/topic/VirtualTopic.orders", "order 2", "persistent", "true");
            showCopies(client);
        });
        with(client -> {
            client.subscribe(billing, "auto");
            showCopies(client);
        });
    }

    private static void showCopies(Client client) throws Exception {
        for (Message message : take(client, 2)) {
            say("body", message.text(), "origin", message.headers().getFirst("original-destination"));
        }
    }

    private static void login() throws Exception {
        try {
            new Client("login", "orders", "passcode", "a guess");
        } catch (Refused refused) {
            say("refused", refused.getMessage());
        }
        Client client = new Client("login", "orders", "passcode", "the secret of orders");
        client.send("/queue/orders.new", "allowed");
        client.subscribe("/queue/orders.new", "auto");
        client.show();
        client.send("/queue/billing", "forbidden");
        try {
            client.take();
        } catch (Refused refused) {
            say("denied", refused.getMessage());
        }
    }

    private static void retry() throws Exception {
        with(client -> {
            client.send("/queue/poison", "bad", "persistent", "true");
            client.subscribe(
                    "/queue/poison",
                    "client-individual",
                    "activemq.maximumRedeliveries",
                    "2",
                    "activemq.initialRedeliveryDelay",
                    "50",
                    "activemq.useExponentialBackOff",
                    "true",
                    "activemq.backOffMultiplier",
                    "4");
            long begun = millis();
            client.nack(client.show());
            client.nack(client.show());
            Message last = client.show();
            say("backed-off", millis() - begun > 240);
            client.nack(last);
            with(undertaker -> {
                undertaker.subscribe("/queue/ActiveMQ.DLQ", "client-individual");
                Message dead = undertaker.take();
                String origin = dead.headers().getFirst("original-destination");
                String failures = dead.headers().getFirst("dlqDeliveryCount");
                say("dead", dead.text(), "origin", origin, "failures", failures);
            });
            client.ack(client.show());
        });
    }
}
