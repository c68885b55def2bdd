package ferrymq;

import java.lang.reflect.Proxy;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import javax.naming.Context;
import javax.naming.NameNotFoundException;
import org.fusesource.stomp.jms.StompJmsConnectionFactory;
import org.fusesource.stomp.jms.StompJmsQueue;
import org.fusesource.stomp.jms.StompJmsTopic;
import org.objectweb.jtests.jms.admin.Admin;

/**
 * What the suite administers: names for destinations and connection factories. Every creation of a destination
 * gives a new one on the broker, so that no test sees what another left behind.
 */
public final class StompAdmin implements Admin {
    private static final Map<String, Object> NAMES = new ConcurrentHashMap<>();
    private static final String RUN = Long.toHexString(System.nanoTime());
    private static final AtomicInteger SERIAL = new AtomicInteger();

    @Override
    public String getName() {
        return "ferrymq over STOMP";
    }

    @Override
    public Context createContext() {
        return (Context) Proxy.newProxyInstance(
                StompAdmin.class.getClassLoader(), new Class<?>[] {Context.class}, (proxy, method, arguments) -> {
                    switch (method.getName()) {
                        case "lookup":
                            Object found = NAMES.get(String.valueOf(arguments[0]));
                            if (found == null) {
                                throw new NameNotFoundException(String.valueOf(arguments[0]));
                            }
                            return found;
                        case "close":
                            return null;
                        default:
                            throw new UnsupportedOperationException(method.getName());
                    }
                });
    }

    private static void createFactory(String name) {
        StompJmsConnectionFactory factory = new StompJmsConnectionFactory();
        factory.setBrokerURI("tcp://" + System.getProperty("ferrymq.address"));
        factory.setDisconnectTimeout(5000);
        NAMES.put(name, factory);
    }

    private static String fresh(String name) {
        return name + "." + RUN + "." + SERIAL.incrementAndGet();
    }

    @Override
    public void createConnectionFactory(String name) {
        createFactory(name);
    }

    @Override
    public void createQueueConnectionFactory(String name) {
        createFactory(name);
    }

    @Override
    public void createTopicConnectionFactory(String name) {
        createFactory(name);
    }

    @Override
    public void createQueue(String name) {
        NAMES.put(name, new StompJmsQueue("/queue/", fresh(name)));
    }

    @Override
    public void createTopic(String name) {
        NAMES.put(name, new StompJmsTopic("/topic/", fresh(name)));
    }

    @Override
    public void deleteQueue(String name) {
        NAMES.remove(name);
    }

    @Override
    public void deleteTopic(String name) {
        NAMES.remove(name);
    }

    @Override
    public void deleteConnectionFactory(String name) {
        NAMES.remove(name);
    }

    @Override
    public void deleteQueueConnectionFactory(String name) {
        NAMES.remove(name);
    }

    @Override
    public void deleteTopicConnectionFactory(String name) {
        NAMES.remove(name);
    }

    @Override
    public void startServer() {}

    @Override
    public void stopServer() {}

    @Override
    public void start() {}

    @Override
    public void stop() {}
}
