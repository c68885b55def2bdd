package ferrymq;

import java.util.Enumeration;
import java.util.List;
import junit.framework.Test;
import junit.framework.TestResult;
import junit.framework.TestSuite;
import org.objectweb.jtests.jms.conform.connection.ConnectionTest;
import org.objectweb.jtests.jms.conform.connection.TopicConnectionTest;
import org.objectweb.jtests.jms.conform.message.MessageBodyTest;
import org.objectweb.jtests.jms.conform.message.MessageDefaultTest;
import org.objectweb.jtests.jms.conform.message.MessageTypeTest;
import org.objectweb.jtests.jms.conform.message.headers.MessageHeaderTest;
import org.objectweb.jtests.jms.conform.message.properties.JMSXPropertyTest;
import org.objectweb.jtests.jms.conform.message.properties.MessagePropertyConversionTest;
import org.objectweb.jtests.jms.conform.message.properties.MessagePropertyTest;
import org.objectweb.jtests.jms.conform.queue.QueueBrowserTest;
import org.objectweb.jtests.jms.conform.queue.TemporaryQueueTest;
import org.objectweb.jtests.jms.conform.selector.SelectorSyntaxTest;
import org.objectweb.jtests.jms.conform.selector.SelectorTest;
import org.objectweb.jtests.jms.conform.session.QueueSessionTest;
import org.objectweb.jtests.jms.conform.session.SessionTest;
import org.objectweb.jtests.jms.conform.session.TopicSessionTest;
import org.objectweb.jtests.jms.conform.session.UnifiedSessionTest;
import org.objectweb.jtests.jms.conform.topic.TemporaryTopicTest;

/**
 * Runs the whole suite against the broker at the address given and prints a JSON line per test:
 * {@code {"test":"SelectorTest.testNull","failed":null}}.
 */
public final class Conformance {
    private static final List<Class<?>> SUITE = List.of(
            ConnectionTest.class,
            TopicConnectionTest.class,
            MessageBodyTest.class,
            MessageDefaultTest.class,
            MessageTypeTest.class,
            MessageHeaderTest.class,
            JMSXPropertyTest.class,
            MessagePropertyConversionTest.class,
            MessagePropertyTest.class,
            QueueBrowserTest.class,
            TemporaryQueueTest.class,
            SelectorSyntaxTest.class,
            SelectorTest.class,
            QueueSessionTest.class,
            SessionTest.class,
            TopicSessionTest.class,
            UnifiedSessionTest.class,
            TemporaryTopicTest.class);

    private Conformance() {}

    public static void main(String[] arguments) {
        System.setProperty("ferrymq.address", arguments[0]);
        String only = arguments.length > 1 ? arguments[1] : "";
        for (Class<?> group : SUITE) {
            Enumeration<Test> tests = new TestSuite(group).tests();
            while (tests.hasMoreElements()) {
                Test test = tests.nextElement();
                String name = group.getSimpleName() + "." + test.toString().replaceAll("\\(.*", "");
                if (name.contains(only)) {
                    System.out.println("{\"test\":" + Json.text(name) + ",\"failed\":" + run(test) + "}");
                }
            }
        }
        // The client's threads are not all daemons.
        System.exit(0);
    }

    /** Why the test failed, as a JSON value. */
    private static String run(Test test) {
        TestResult result = new TestResult();
        test.run(result);
        if (result.wasSuccessful()) {
            return "null";
        }
        Throwable cause = result.errors().hasMoreElements()
                ? result.errors().nextElement().thrownException()
                : result.failures().nextElement().thrownException();
        return Json.text(String.valueOf(cause));
    }
}
