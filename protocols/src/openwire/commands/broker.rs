//! What brokers tell of themselves, to clients and over bridges (openwire.md sections 11, 21).

use std::sync::Arc;

use super::{BrokerId, ConsumerInfo};
use crate::openwire::schema::{absent, is_present, wire};
use crate::openwire::text::Text;

wire! {
    /// Who a broker is.
    command BrokerInfo = 2 {
        /// Its id; two connections with the same one reach the same broker.
        broker_id: Option<Arc<BrokerId>>,
        /// Its address.
        broker_url: Option<Text>,
        /// Others it knows.
        peer_broker_infos: Option<Vec<Option<BrokerInfo>>>,
        /// Its name.
        broker_name: Option<Text>,
        /// Of old.
        slave_broker: bool,
        /// Of old.
        master_broker: bool,
        /// Of old; switches optimised acknowledgements of clients off.
        fault_tolerant_configuration: bool,
        /// Whether a bridge wants the other direction too.
        duplex_connection: bool [since 2],
        /// Whether it comes from a bridge.
        network_connection: bool [since 2],
        /// A number of the connection.
        connection_id: i64 [since 2],
        /// Where blobs are put.
        broker_upload_url: Option<Text> [since 3],
        /// The configuration of a bridge, as Java properties.
        network_properties: Option<Text> [since 3],
    }

    /// What a bridge leaves out: messages that came through the broker, or through too many.
    data NetworkBridgeFilter = 91 {
        /// How many brokers are too many, for messages and consumers.
        network_ttl: i32 [until 9],
        /// The broker.
        network_broker_id: Option<Arc<BrokerId>>,
        /// How many brokers are too many for messages.
        message_ttl: i32 [since 10],
        /// How many brokers are too many for consumers.
        consumer_ttl: i32 [since 10],
    }

    /// The durable subscriptions of a broker, for its bridge; version 12.
    command BrokerSubscriptionInfo = 92 {
        /// The broker.
        broker_id: Option<BrokerId>,
        /// Its name.
        broker_name: Option<Text>,
        /// The subscriptions.
        subscription_infos: Option<Vec<Option<ConsumerInfo>>>,
    }

    /// A broker was found by discovery; not on connections.
    data DiscoveryEvent = 40 {
        /// Its service.
        service_name: Option<Text>,
        /// Its name.
        broker_name: Option<Text>,
    }
}
