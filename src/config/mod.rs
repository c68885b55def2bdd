//! The configuration: one tree of plain structs, every key declared once.
//!
//! - A key's meaning, unit, default and range stand at its declaration below and nowhere else; `activemq.toml` in the
//!   repository is written from here (a test compares the two).
//! - Load order: defaults, file, environment (`FERRYMQ__SECTION__KEY`), flags. See `load.rs`.
//! - All problems are found before any is reported. See `check.rs`.
//! - `[security]`, virtual destinations, policies, the keys that are defaults of policies, and limits reload; every other
//!   key takes effect at the start. See `reload.rs`.
//!
//! Not here: what a value does. The core receives values, never the tree.

pub mod check;
pub mod compat;
pub mod disk;
mod exchanges;
mod forward;
pub mod leaf;
pub mod load;
pub mod machine;
mod network;
pub mod password;
pub mod policy;
pub mod reload;
pub mod schema;
mod security;
pub mod units;
mod virtual_destinations;
pub mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use check::{Origin, Problem, Problems};
pub use disk::DiskLimit;
pub use exchanges::ExchangeMap;
pub use forward::ForwardTo;
pub use load::{Loaded, Sources};
pub use network::Network;
pub use password::HashedPassword;
pub use policy::PolicyEntry;
use schema::{SectionInfo, section, tree};
pub use security::is_name;
pub use units::{
    ByteSize, Duration, HeartBeat, LogFilter, LogFormat, ProxyProtocol, SizeOrPercent,
};
pub use virtual_destinations::{Composite, VirtualTopic};
pub use words::{Compat, Dialect, GroupRedelivery, NackAction, WildcardStyle};

tree! {
    /// The whole configuration.
    ///
    /// What [`load::load`] returns has passed every check. Whoever builds one by hand calls [`Config::check`].
    Config {
        /// The broker as a whole.
        broker: Broker,
        /// STOMP over TCP, and how STOMP is spoken on every listener.
        stomp: Stomp,
        /// STOMP over TLS.
        stomp_tls: StompTls,
        /// STOMP over WebSocket.
        websocket: Websocket,
        /// STOMP over WebSocket over TLS.
        websocket_tls: WebsocketTls,
        /// OpenWire over TCP.
        openwire: Openwire,
        /// One port for all of these.
        auto: Auto,
        /// The certificate of the listeners with TLS.
        tls: Tls,
        /// The proxies in front of the broker.
        proxy: Proxy,
        /// What messages may take of the memory.
        memory: Memory,
        /// Where messages go that are not persistent and do not fit into memory.
        temp: Temp,
        /// The journal on disk.
        store: Store,
        /// What happens when there is no room for a message.
        usage: Usage,
        /// What happens to messages that come back.
        redelivery: Redelivery,
        /// Queues and topics.
        destinations: Destinations,
        /// Messages that are delivered later.
        scheduler: Scheduler,
        /// Messages that are copied elsewhere.
        virtual_topics: VirtualTopics,
        /// Who may come in, and what they may do.
        security: Security,
        /// The log.
        log: Log,
        ;
        /// Topics with consumer queues, beside those of `virtual_topics`.
        virtual_topic: Vec<VirtualTopic>,
        /// Destinations that forward to others.
        composite: Vec<Composite>,
        /// Rules for destinations by name.
        policy: Vec<PolicyEntry>,
    }
}

section! {
    /// The broker as a whole.
    Broker in "broker" {
        /// The name of the broker, as clients see it in error texts.
        name: String = "ferrymq";
        /// The directory of the journal. Only one broker at a time can use it. A relative path starts at the working
        /// directory.
        data_dir: PathBuf = "data";
        /// Whose ways the defaults follow where systems disagree: "ferrymq", or "activemq" for those who move from it. A
        /// key that is set is not touched. docs/policies.md lists what changes.
        compat: Compat = "ferrymq";
        /// Report what happens to the broker on the topics ActiveMQ.Advisory.… to those who subscribe to them;
        /// docs/advisories.md lists what.
        advisory_support: bool = true;
        /// Keep nothing on disk: no message survives a restart. For test harnesses.
        ephemeral: bool = false;
        /// Accept a listen address that others can reach, although not everybody has to log in.
        allow_insecure: bool = false;
        /// How long a shutdown may take before the broker gives up on what is left.
        shutdown_timeout: Duration = "10s", from "0s" to "1h";
        /// Threads that serve connections; 0: one per core.
        worker_threads: u32 = 0, from 0 to 1024;
    }
}

section! {
    /// STOMP over TCP. Except for listen and proxy_protocol these keys count for the other listeners of STOMP too, and the
    /// limits of connections for each listener on its own.
    Stomp in "stomp" {
        /// The address to listen on; port 0 takes any free port. An address that is not loopback needs users, or
        /// broker.allow_insecure.
        listen: SocketAddr = "127.0.0.1:61613";
        /// The most connections at a time; further ones are refused.
        connections_max: u32 = 20000, from 1;
        /// How long a client may take to send its CONNECT.
        connect_timeout: Duration = "30s", from "100ms" to "1h";
        /// The heart-beat header assumed of clients that send none: "what it can send, what it wants", in milliseconds.
        default_heart_beat: HeartBeat = "0,0";
        /// The shortest heart-beat interval; shorter wishes above 0 are raised to it.
        heart_beat_min: Duration = "100ms", from "1ms" to "1h";
        /// The longest heart-beat interval; longer wishes are lowered to it; 0s: off.
        heart_beat_max: Duration = "0s", from "0s" to "1day";
        /// How many intervals a client may be silent before its connection is closed.
        heart_beat_grace: f64 = 2.0, from 1.0 to 100.0;
        /// Close the connection after every ERROR, as the STOMP specification wants it.
        close_on_error: bool = false;
        /// Refuse an undefined escape in a header in every version with escapes, as the STOMP specification wants it; else
        /// only STOMP 1.2 does and 1.1 keeps it as it is.
        strict_escapes: bool = false;
        /// What CONNECTED says in its server header. Some clients (FuseSource's JMS client, for one) choose their dialect by
        /// what stands before the slash and know durable subscriptions of ActiveMQ only.
        server: String = "ActiveMQ/6.1.0 ferrymq";
        /// Refuse an unknown ack mode in SUBSCRIBE, as the STOMP specification wants it, instead of taking it for auto.
        strict_ack_mode: bool = false;
        /// Decode escapes in headers of STOMP 1.0 too, as ActiveMQ does; a value such as C:\new is damaged by it.
        compat_escape_10: bool = false;
        /// Give every MESSAGE a content-length; else one has it if its sender gave it or its body holds a NUL.
        always_content_length: bool = false;
        /// Whose ways are followed beyond what clients ask for in headers: "activemq", or "rabbitmq", where a reply-to that
        /// names a temporary queue of the connection subscribes to it.
        dialect: Dialect = "activemq";
        /// What the name of a queue may stand behind in a destination header; MESSAGE shows the first. "queue://" is always
        /// understood.
        queue_prefix: Vec<String> = "/queue/";
        /// The same for topics.
        topic_prefix: Vec<String> = "/topic/";
        /// A second connection with the same client-id takes over from the first instead of being refused.
        allow_link_stealing: bool = false;
        /// The longest command line of a frame.
        command_bytes_max: ByteSize = "1 KiB", from "16 B" to "64 KiB";
        /// The longest header line, name and value together.
        header_bytes_max: ByteSize = "10 KiB", from "256 B" to "16 MiB";
        /// The most headers in a frame.
        headers_max: u32 = 1000, from 16 to 100000;
        /// The longest body. A longer one is refused by its content-length, before it is read.
        body_bytes_max: ByteSize = "100 MiB", from "1 KiB" to "2047 MiB";
        /// The longest frame, headers and body together.
        frame_bytes_max: ByteSize = "101 MiB", from "1 KiB" to "2047 MiB";
        /// The longest frame before login.
        before_login_bytes_max: ByteSize = "64 KiB", from "1 KiB" to "16 MiB";
        /// The most bytes that wait to be written to a connection. Above it the connection's subscriptions get nothing
        /// more until it has drained.
        outbox_bytes_max: ByteSize = "1 MiB", from "64 KiB" to "1 GiB";
        /// The most bytes of frames behind a SEND that waits for space. Above it the connection is not read until the
        /// SEND got through.
        parked_bytes_max: ByteSize = "1 MiB", from "1 KiB" to "1 GiB";
        /// The most frames behind a SEND that waits for space, as parked_bytes_max.
        parked_frames_max: u32 = 64, from 1 to 1000000;
        /// The most subscriptions of a connection; 0: any number.
        subscriptions_max: u32 = 0;
        /// The most open transactions of a connection.
        open_transactions_max: u32 = 1024, from 1 to 1000000;
        /// The most sends and acknowledgements in a transaction.
        transaction_actions_max: u32 = 100000, from 1 to 100000000;
        /// How long sent bytes may stay unacknowledged by the client's machine before the connection counts as dead
        /// (TCP_USER_TIMEOUT); 0s: the system's own time.
        tcp_user_timeout: Duration = "30s", from "0s" to "1day";
        /// Whether connections come through a proxy that tells the client's address by the PROXY protocol (version 1 or
        /// 2): "off" or "required". See proxy.trusted.
        proxy_protocol: ProxyProtocol = "off";
        /// Where exchanges of RabbitMQ lead, such as { orders = "/topic/orders.{key}" }: SEND or SUBSCRIBE to
        /// /exchange/orders/eu then means /topic/orders.eu. Also written as a table, [stomp.exchange_map]. amq.direct,
        /// amq.topic and amq.fanout need no entry.
        exchange_map: ExchangeMap = "";
    }
}

section! {
    /// STOMP over TLS, with the certificate of [tls].
    StompTls in "stomp_tls" {
        /// Whether to listen.
        enabled: bool = false;
        /// The address to listen on, as stomp.listen.
        listen: SocketAddr = "127.0.0.1:61612";
        /// As stomp.proxy_protocol.
        proxy_protocol: ProxyProtocol = "off";
    }
}

section! {
    /// STOMP over WebSocket, for browsers.
    Websocket in "websocket" {
        /// Whether to listen.
        enabled: bool = false;
        /// The address to listen on, as stomp.listen.
        listen: SocketAddr = "127.0.0.1:61614";
        /// The origins whose pages may connect, such as "https://app.example"; "same-host" stands for pages from the host
        /// that is connected to, whatever their port, and "*" for all. A client that sends no Origin is no page and may
        /// always connect. Counts for all listeners.
        origins: Vec<String> = "same-host";
        /// The longest WebSocket message a client may send. Counts for all listeners.
        message_bytes_max: ByteSize = "10 MiB", from "1 KiB" to "2047 MiB";
        /// As stomp.proxy_protocol.
        proxy_protocol: ProxyProtocol = "off";
    }
}

section! {
    /// STOMP over WebSocket over TLS (wss), with the certificate of [tls].
    WebsocketTls in "websocket_tls" {
        /// Whether to listen.
        enabled: bool = false;
        /// The address to listen on, as stomp.listen.
        listen: SocketAddr = "127.0.0.1:61615";
        /// As stomp.proxy_protocol.
        proxy_protocol: ProxyProtocol = "off";
    }
}

section! {
    /// OpenWire, the protocol of the Java client of ActiveMQ. Limits of connections, of logins and of transactions are those
    /// of [stomp]; the longest frame and what follows count on every listener that takes OpenWire.
    Openwire in "openwire" {
        /// Whether to listen.
        enabled: bool = false;
        /// The address to listen on, as stomp.listen.
        listen: SocketAddr = "127.0.0.1:61616";
        /// As stomp.proxy_protocol.
        proxy_protocol: ProxyProtocol = "off";
        /// The longest frame. The client is told, and may ask for less.
        frame_bytes_max: ByteSize = "101 MiB", from "64 KiB" to "2047 MiB";
        /// The longest string in a frame, other than a content.
        string_bytes_max: u32 = 32766, from 256 to 32766;
        /// The most elements in all arrays of one frame.
        items_max: u32 = 10000, from 100 to 1000000;
        /// How deep objects may lie in objects in a frame.
        depth_max: u32 = 32, from 8 to 256;
        /// The most bytes of names that a connection's object cache holds.
        cache_bytes_max: ByteSize = "2 MiB", from "64 KiB" to "64 MiB";
        /// How long either side may be silent before the connection counts as dead, if the client does not ask for less; 0s:
        /// for ever.
        inactivity: Duration = "30s", from "0s" to "1h";
    }
}

section! {
    /// One port for STOMP, WebSocket and OpenWire: the first bytes of a connection tell which it is.
    Auto in "auto" {
        /// Whether to listen.
        enabled: bool = false;
        /// The address to listen on, as stomp.listen.
        listen: SocketAddr = "127.0.0.1:61616";
        /// Take connections with TLS too, with the certificate of [tls]; those without stay allowed.
        tls: bool = false;
        /// As stomp.proxy_protocol.
        proxy_protocol: ProxyProtocol = "off";
    }
}

section! {
    /// The certificate of the listeners with TLS. The files are read again when they change, and on SIGHUP; connections
    /// stay. Relative paths start at the working directory.
    Tls in "tls" {
        /// The certificate chain, PEM, the broker's own certificate first.
        certificate: PathBuf = "tls/certificate.pem";
        /// The private key of the certificate, PEM, without a passphrase.
        private_key: PathBuf = "tls/private-key.pem";
        /// The authorities whose client certificates are accepted, PEM. Read only if the broker needs or wants them.
        client_ca: PathBuf = "tls/client-ca.pem";
        /// Refuse clients without a certificate.
        need_client_auth: bool = false;
        /// Ask clients for a certificate, but also take those that have none. One that does not verify is refused.
        want_client_auth: bool = false;
        /// How often to look whether the files have changed.
        reload_interval: Duration = "5s", from "100ms" to "1day";
    }
}

section! {
    /// The proxies in front of the broker, for listeners with proxy_protocol = "required".
    Proxy in "proxy" {
        /// The addresses or networks of the proxies, such as ["10.0.0.0/8"]. Connections from elsewhere are closed.
        trusted: Vec<Network> = "";
    }
}

section! {
    /// What messages may take of the memory.
    Memory in "memory" {
        /// The limit for all messages together: a size, or a share of the machine's or the cgroup's memory, whichever
        /// is smaller. At the limit producers of messages that are not persistent wait; docs/limits.md tells of all limits.
        /// Reloads.
        limit: SizeOrPercent = "25 %";
        /// From how much of memory.limit on messages that are not persistent leave memory for temporary storage (see
        /// [temp]), and stored ones leave it earlier: a share of memory.limit, or a size. Reloads.
        high_water_mark: SizeOrPercent = "70 %";
        /// The bodies kept in memory at the head of each queue; those behind are read back from the store.
        queue_window_bytes: ByteSize = "8 MiB", from "64 KiB" to "64 GiB";
        /// The most bytes that wait for one slow subscriber of a topic.
        slow_topic_subscriber_bytes_max: ByteSize = "32 MiB", from "64 KiB" to "64 GiB";
    }
}

section! {
    /// Where messages go that are not persistent and do not fit into memory: files in data_dir/temp, or with
    /// broker.ephemeral in a directory of the system's for such files. They are removed at the start.
    Temp in "temp" {
        /// The most that may lie there: a size, or a share of the space that is free on the disk at the start, then 50 GB
        /// at most. A size is cut to the free space; 0: nothing is moved there. When it is full, producers of messages
        /// that are not persistent wait once memory.limit is reached.
        limit: SizeOrPercent = "80 %";
    }
}

section! {
    /// The journal on disk.
    Store in "store" {
        /// The limit for the files of the journal: a size, a share of the disk, or "auto": 80 % of what the disk has free, 100 GB
        /// at most. Cut to what the disk has free. At the limit producers of persistent messages wait. At least four times
        /// segment_bytes. Reloads.
        limit: DiskLimit = "auto";
        /// The size of a journal file.
        segment_bytes: ByteSize = "32 MiB", from "64 KiB" to "1 GiB";
        /// How often the journal's consistent picture is written. A longer time makes a start after a crash longer.
        checkpoint_interval: Duration = "5s", from "100ms" to "1h";
        /// How much per second is copied out of journal files that are mostly garbage, so that they can be deleted.
        compaction_rate: ByteSize = "16 MiB", from "64 KiB" to "64 GiB";
    }
}

section! {
    /// What happens when there is no room for a message: a limit of memory, of the store or of its destination is reached.
    /// Policies can say otherwise for their destinations.
    Usage in "usage" {
        /// Answer with an ERROR at once instead of letting the producer wait (ActiveMQ: sendFailIfNoSpace).
        send_fail_if_no_space: bool = false;
        /// Answer with an ERROR when the producer has waited so long; 0s: let it wait (ActiveMQ:
        /// sendFailIfNoSpaceAfterTimeout).
        send_fail_if_no_space_after_timeout: Duration = "0s", from "0s" to "30days";
        /// How often the log says that a producer still waits; 0s: only when it begins and ends (ActiveMQ:
        /// blockedProducerWarningInterval).
        blocked_producer_warning_interval: Duration = "30s", from "0s" to "30days";
    }
}

section! {
    /// What happens to messages that come back: a NACK, an abort, a consumer that dies.
    Redelivery in "redelivery" {
        /// How often a message is delivered again before it is a dead letter; 0: never again; -1: without end.
        maximum_redeliveries: i32 = 6, from -1;
        /// What a NACK does: "redeliver" (a failed delivery), "dlq" (a dead letter at once), "requeue" (back to its place)
        /// or "discard".
        on_nack: NackAction = "redeliver";
        /// What a message group does while one of its messages waits for its redelivery: "hold" or "pass".
        group_redelivery: GroupRedelivery = "hold";
        /// The queue for dead letters.
        dead_letter_queue: String = "ActiveMQ.DLQ";
        /// Messages that are not persistent are dead letters too when they were rejected; else they are dropped.
        process_non_persistent_rejected: bool = true;
    }
}

section! {
    /// Queues and topics.
    Destinations in "destinations" {
        /// The most unacknowledged messages of a queue subscription that asks for no number of its own.
        queue_prefetch: u32 = 1000, from 1 to 1000000;
        /// The same for a topic subscription.
        topic_prefetch: u32 = 32767, from 1 to 1000000;
        /// The same for a durable topic subscription.
        durable_topic_prefetch: u32 = 100, from 1 to 1000000;
        /// Let the window of a client-individual queue subscription that asks for no number adapt to its consumer, up to
        /// queue_prefetch.
        adaptive_prefetch: bool = true;
        /// Create a queue or topic when a client first names it.
        auto_create: bool = true;
        /// Let a SEND to the temporary destination of another connection make it, if it is not there (ActiveMQ:
        /// allowTempAutoCreationOnSend).
        temp_auto_create_on_send: bool = false;
        /// After which time without use such a one goes, as long as no connection has made it its own (ActiveMQ:
        /// timeBeforePurgeTempDestinations).
        temp_purge_after: Duration = "5s", from "100ms" to "1day";
        /// A character that separates the levels of a name for wildcards, beside the dot; empty: none.
        path_separator: String = "";
        /// Which words are wildcards: "activemq" (* and >), "artemis" or "rabbitmq" (# as well,
        /// which means >).
        wildcard_style: WildcardStyle = "activemq";
        /// How often destinations are looked for that nobody uses and whose policy has gcInactiveDestinations; 0s: never.
        purge_interval: Duration = "0s", from "0s" to "30days";
        /// The most destinations removed each time; 0: any number.
        purged_per_sweep_max: u32 = 0;
        /// After which time without its client a durable subscription is removed with its backlog; 0s: never.
        offline_durable_timeout: Duration = "0s", from "0s" to "3650days";
        /// How often durable subscriptions are looked at for that.
        offline_durable_interval: Duration = "5m", from "1s" to "30days";
    }
}

section! {
    /// Messages that are delivered later.
    Scheduler in "scheduler" {
        /// The most bytes of messages that wait to be delivered later. Above it producers of such messages wait
        /// (ActiveMQ's jobSchedulerUsage).
        bytes_max: ByteSize = "50 GB", from "1 KiB";
    }
}

section! {
    /// Messages that are copied to other destinations. These keys, [[virtual_topic]] and [[composite]] are read again when
    /// the file changes and on SIGHUP.
    VirtualTopics in "virtual_topics" {
        /// Copy what is sent to a topic that matches name to its consumer queues.
        enabled: bool = true;
        /// Which topics have consumer queues.
        name: String = "VirtualTopic.>";
        /// What the name of a consumer queue begins with, before that of its topic; "*" is any one level.
        prefix: String = "Consumer.*.";
        /// Copy what is sent to any queue to a topic, for whoever wants to watch.
        mirrored_queues: bool = false;
        /// What the name of such a topic begins with, before that of its queue.
        mirror_prefix: String = "VirtualTopic.Mirror.";
        /// What comes behind the name of the queue.
        mirror_postfix: String = "";
        /// Let such copies tell the queue they were sent to, in original-destination.
        mirror_copy_message: bool = true;
    }
}

section! {
    /// Who may come in, and what they may do. Without users anybody may come in; without access rules everybody may
    /// do everything. This section, the users file included, is read again when a file changes and on SIGHUP.
    Security in "security" {
        /// A file with one user per line, `name:hash:groups`, as `ferrymq passwd` writes it; empty: none.
        users_file: String = "";
        /// Let clients in that send neither name nor password nor a certificate.
        anonymous_access: bool = false;
        /// What such clients are called.
        anonymous_user: String = "anonymous";
        /// The group they belong to.
        anonymous_group: String = "anonymous";
        /// How long a correct password is remembered, so that a client that comes back does not cost a verification;
        /// 0s: not at all.
        login_cache: Duration = "5m", from "0s" to "1day";
        /// The most passwords verified at a time. Each verification keeps a core and, as `ferrymq passwd` makes hashes,
        /// 19 MiB busy for some 30 ms.
        verifications_max: u32 = 2, from 1 to 256;
        /// How long the next login of the same name from the same address waits after three different wrong passwords;
        /// twice as long after each further one. The same for an address after twenty of whatever names. 0s: it never
        /// waits.
        login_delay: Duration = "500ms", from "0s" to "1m";
        /// The longest such wait.
        login_delay_max: Duration = "10s", from "0s" to "1h";
        /// Tell receivers the sender's user name in the header JMSXUserID.
        populate_jmsx_user_id: bool = false;
    } lists {
        /// The users beside those of security.users_file.
        user: User;
        /// The access rules.
        acl: AccessRule;
        /// The certificates that stand for a user.
        certificate: CertificateUser;
        /// The namespaces of users.
        namespace: Namespace;
    }
}

section! {
    /// A user, any number of times.
    User in "security.user" {
        /// The name to log in with.
        name: String = "";
        /// The hash of the password, made with `ferrymq passwd --print NAME`; empty: no password will do.
        password: HashedPassword = "";
        /// The groups the user belongs to, for access rules.
        groups: Vec<String> = "";
        /// The most connections at a time; 0: any number.
        connections_max: u32 = 0;
    }
}

section! {
    /// An access rule, any number of times. As soon as there is one, whatever no rule allows is refused. Where several
    /// rules match, what any of them allows is allowed. Who: names of groups, "user:NAME", or "*" for everybody.
    AccessRule in "security.acl" {
        /// The queues it is about: a name, in which * is any one level and a last > any rest. A rule has one of queue,
        /// topic and temp.
        queue: String = "";
        /// The topics it is about.
        topic: String = "";
        /// The temporary destinations it is about, mostly ">".
        temp: String = "";
        /// Who may subscribe and browse.
        read: Vec<String> = "";
        /// Who may send.
        write: Vec<String> = "";
        /// Who may create destinations by first use, and remove them.
        admin: Vec<String> = "";
    }
}

section! {
    /// A client certificate that stands for a user, any number of times; for clients that send no name.
    CertificateUser in "security.certificate" {
        /// The subject of the certificate, such as "CN=orders,O=Example".
        dn: String = "";
        /// The user. It needs to exist, with or without a password.
        user: String = "";
    }
}

section! {
    /// A namespace, any number of times: the names of its users' destinations begin with its own name and a dot, which they
    /// do not see, and they reach no others. A user belongs to the first namespace that names it.
    Namespace in "security.namespace" {
        /// The name: one or more levels of destination names, without wildcards.
        name: String = "";
        /// Whose it is: groups, or "user:NAME"; "*" is everybody.
        who: Vec<String> = "";
        /// The most connections of its users at a time; 0: any number.
        connections_max: u32 = 0;
        /// The most destinations in it, temporary ones included; 0: any number.
        destinations_max: u32 = 0;
        /// The most bytes of messages in its destinations, on disk or in memory; 0: any number.
        bytes_max: ByteSize = "0 B";
    }
}

section! {
    /// The log, on standard error.
    Log in "log" {
        /// What is logged: off, error, warn, info, debug or trace, or a level per target such as
        /// "info,ferrymq::stomp=debug".
        level: LogFilter = "info";
        /// How a line looks: "human" or "json".
        format: LogFormat = "human";
    }
}

impl Memory {
    /// The limit in bytes on this machine, never more than it has.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit.of(machine::memory_bytes())
    }

    /// The high-water mark in bytes, never more than the limit.
    #[must_use]
    pub fn mark_bytes(&self) -> u64 {
        self.high_water_mark.of(self.limit_bytes())
    }
}

/// The most that lies in temporary storage if its limit is a share.
const TEMP_SHARE_BYTES_MAX: u64 = 50_000_000_000;

impl Temp {
    /// The limit in bytes where `free_bytes` are free on the disk, never more than that (USE-1).
    #[must_use]
    pub fn limit_bytes(&self, free_bytes: u64) -> u64 {
        let bytes = self.limit.of(free_bytes);
        match self.limit {
            SizeOrPercent::Size(_) => bytes,
            SizeOrPercent::Percent(_) => bytes.min(TEMP_SHARE_BYTES_MAX),
        }
    }

    /// Whether the limit is more than there is.
    #[must_use]
    pub fn is_cut(&self, free_bytes: u64) -> bool {
        matches!(self.limit, SizeOrPercent::Size(size) if size.bytes() > free_bytes)
    }
}

/// What "auto" comes to at most (USE-1).
const STORE_BYTES_AUTO_MAX: u64 = 100_000_000_000;

/// Files of the journal that a limit has to hold: the store cannot go on with less.
const STORE_SEGMENTS_MIN: u64 = 4;

impl Store {
    /// The limit in octets on the disk of the directory `data`, and what was asked for if the disk has no room for that.
    /// Never less than the journal needs.
    ///
    /// # Errors
    /// The system does not tell of the disk.
    pub fn limit_on(&self, data: &Path) -> std::io::Result<disk::Resolved> {
        let journal = data.join("journal");
        let space = disk::DiskSpace::of(data, &journal)?;
        let resolved = self.limit.on(space, STORE_BYTES_AUTO_MAX);
        Ok(disk::Resolved {
            bytes: resolved.bytes.max(self.limit_min()),
            ..resolved
        })
    }

    /// The least that the limit can be.
    pub(super) fn limit_min(&self) -> u64 {
        STORE_SEGMENTS_MIN * self.segment_bytes.bytes()
    }
}

/// Where to listen for one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its section.
    pub section: &'static str,
    /// Whether to listen at all.
    pub enabled: bool,
    /// The address.
    pub listen: SocketAddr,
    /// Whether it speaks TLS, or can.
    pub tls: bool,
    /// Whether connections come through proxies.
    pub proxy_protocol: ProxyProtocol,
}

impl Config {
    /// All listeners of clients, those that are off included.
    #[must_use]
    pub fn listeners(&self) -> [Listener; 6] {
        let of = |section, enabled, listen, tls, proxy_protocol| Listener {
            section,
            enabled,
            listen,
            tls,
            proxy_protocol,
        };
        let (plain, tls) = (&self.stomp, &self.stomp_tls);
        let openwire = &self.openwire;
        let (ws, wss, auto) = (&self.websocket, &self.websocket_tls, &self.auto);
        [
            of("stomp", true, plain.listen, false, plain.proxy_protocol),
            of(
                "stomp_tls",
                tls.enabled,
                tls.listen,
                true,
                tls.proxy_protocol,
            ),
            of("websocket", ws.enabled, ws.listen, false, ws.proxy_protocol),
            of(
                "websocket_tls",
                wss.enabled,
                wss.listen,
                true,
                wss.proxy_protocol,
            ),
            of(
                "openwire",
                openwire.enabled,
                openwire.listen,
                false,
                openwire.proxy_protocol,
            ),
            of(
                "auto",
                auto.enabled,
                auto.listen,
                auto.tls,
                auto.proxy_protocol,
            ),
        ]
    }

    /// Tables that come any number of times, outside all sections.
    #[must_use]
    pub fn lists() -> [SectionInfo; 2] {
        [schema::info::<VirtualTopic>(), schema::info::<Composite>()]
    }

    /// Writes the configuration as a file, every key with its comment.
    #[must_use]
    pub fn render(&self) -> String {
        let mut file = String::from(FILE_HEAD);
        for section in Self::sections() {
            file.push('\n');
            comment(&mut file, section.doc);
            file.push_str(&format!("[{}]\n", section.name));
            for key in &section.keys {
                comment(&mut file, key.doc);
                let range = key.range();
                if !range.is_empty() {
                    file.push_str(&format!("# Range: {range}.\n"));
                }
                let value = self
                    .to_toml(section.name, key.name)
                    .expect("the schema lists the keys there are");
                file.push_str(&format!("{} = {value}\n\n", key.name));
            }
            for list in &section.lists {
                render_list(&mut file, list);
            }
        }
        file.truncate(file.trim_end().len());
        file.push_str("\n\n");
        for list in Self::lists() {
            render_list(&mut file, &list);
        }
        file.push_str(POLICY_EXAMPLE);
        file
    }
}

const FILE_HEAD: &str = "\
# The configuration of ferrymq. This file holds every key with its default: what is left out stays as it is here.
#
# Sizes: \"64 MiB\" (1024) or \"64 MB\" (1000), or a number of bytes. Times: \"30s\", \"1m 30s\", \"250ms\".
# Each key can also be given in the environment: stomp.listen as FERRYMQ__STOMP__LISTEN. The environment wins over this
# file, a flag over both. Check a file with: ferrymq check-config FILE. [security], [virtual_topics] and the tables below
# it, the policies at the end, the keys that are their defaults, and the keys that say so are read again when the file
# changes and on SIGHUP; other changes take effect at the next start.
";

const POLICY_EXAMPLE: &str = "\
# Rules for destinations by name, in ActiveMQ's spelling; the most specific entry that matches a destination counts, alone,
# unless it says inherit = true. All keys stand in docs/policies.md. For example:
#
# [[policy]]
# queue = \"orders.>\"
# maximumRedeliveries = 3
# deadLetterStrategy = { type = \"individual\", queuePrefix = \"DLQ.\" }
#
# [[policy]]
# topic = \">\"
# topicPrefetch = 1000
";

/// An entry of a list, all of it commented out: there is none by default.
fn render_list(file: &mut String, list: &SectionInfo) {
    comment(file, list.doc);
    file.push_str(&format!("#[[{}]]\n", list.name));
    for key in &list.keys {
        comment(file, key.doc);
        let range = key.range();
        if !range.is_empty() {
            file.push_str(&format!("# Range: {range}.\n"));
        }
        file.push_str(&format!("#{} = {}\n", key.name, key.default));
    }
    file.push('\n');
}

fn comment(file: &mut String, lines: &[&str]) {
    for line in lines {
        file.push('#');
        file.push_str(line);
        file.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/activemq.toml");

    fn file() -> String {
        std::fs::read_to_string(FILE).expect("activemq.toml is there")
    }

    /// `just config` writes the file anew.
    #[test]
    fn the_file_in_the_repository_is_the_declaration_written_out() {
        let rendered = Config::default().render();
        if std::env::var_os("FERRYMQ_WRITE_CONFIG").is_some() {
            std::fs::write(FILE, &rendered).expect("activemq.toml is writable");
        }
        for (number, (found, wanted)) in file().lines().zip(rendered.lines()).enumerate() {
            assert_eq!(
                found,
                wanted,
                "activemq.toml:{}: run `just config`",
                number + 1
            );
        }
        assert_eq!(
            file().len(),
            rendered.len(),
            "activemq.toml: run `just config`"
        );
    }

    #[test]
    fn the_file_in_the_repository_is_the_default_with_every_key() {
        let loaded = load::load(&Sources::file(FILE)).expect("activemq.toml is correct");
        assert_eq!(loaded.config, Config::default());
        for section in Config::sections() {
            for key in section.keys {
                let origin = loaded.origin(section.name, key.name);
                assert!(
                    matches!(origin, Origin::File { .. }),
                    "{}.{} is not in activemq.toml",
                    section.name,
                    key.name
                );
            }
        }
    }

    #[test]
    fn serde_reads_the_file_as_the_loader_does() {
        assert_eq!(
            toml::from_str::<Config>(&file()).expect("activemq.toml is correct"),
            Config::default()
        );
        let written = toml::to_string(&Config::default()).expect("the tree can be written");
        assert_eq!(
            toml::from_str::<Config>(&written).expect("what is written can be read"),
            Config::default()
        );
    }

    #[test]
    fn the_defaults_pass_every_check() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn every_key_says_what_it_means_and_its_bounds_are_readable() {
        let sections = Config::sections();
        for section in sections.iter().flat_map(|section| &section.lists) {
            assert!(!section.doc.is_empty(), "{} has no comment", section.name);
            for key in &section.keys {
                assert!(!key.doc.is_empty(), "{}.{}", section.name, key.name);
            }
        }
        for section in sections {
            assert!(!section.doc.is_empty(), "{} has no comment", section.name);
            for key in section.keys {
                assert!(
                    !key.doc.is_empty(),
                    "{}.{} has no comment",
                    section.name,
                    key.name
                );
                for bound in [key.min, key.max].into_iter().flatten() {
                    let set = Config::default().set(
                        section.name,
                        key.name,
                        schema::Written::Typed(bound),
                    );
                    assert_eq!(
                        set,
                        Some(Ok(())),
                        "{}.{} does not take its own bound",
                        section.name,
                        key.name
                    );
                }
            }
        }
    }
}
