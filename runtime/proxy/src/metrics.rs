//! What the data path counts: declared once, in families that share their labels.

use penstock_telemetry::metrics::{
    CounterId, CounterTable, GaugeId, HistogramId, Registry, Schema, SchemaId, Unit,
};

use penstock_wire::grpc::Code;

use crate::failure::Cause;

/// All schemas, with the ids that the data path counts under.
pub struct Schemas {
    /// Counters of the process.
    pub process: Process,
    /// Counters of a listener.
    pub listener: Listener,
    /// Counters of a service.
    pub service: Service,
    /// Counters of a route.
    pub route: Route,
    /// Counters of a method of gRPC.
    pub method: Method,
    /// Counters of a cluster.
    pub cluster: Cluster,
}

/// Counters without labels.
pub struct Process {
    /// The schema.
    pub id: SchemaId,
    /// Failures by cause.
    pub failures: CounterTable,
    /// Malformed input that was let through because the config says so.
    pub waived: CounterId,
    /// Field names dropped for their underscore.
    pub dropped_fields: CounterId,
    /// Access log records that found no room.
    pub log_lost: CounterId,
    /// Windows of HTTP/2 that were not widened for want of room.
    pub windows_held: CounterId,
    /// Connections open, downstream and upstream.
    pub connections: GaugeId,
    /// Connections that a drain had to cut.
    pub drain_cut: CounterId,
}

/// Counters of one listener.
pub struct Listener {
    /// The schema.
    pub id: SchemaId,
    /// Connections accepted.
    pub connections: CounterId,
    /// Connections open.
    pub active: GaugeId,
    /// Failures by cause.
    pub failures: CounterTable,
    /// TLS handshakes that succeeded.
    pub handshakes: CounterId,
    /// Those among them that resumed a session.
    pub resumed: CounterId,
}

/// Counters of one service.
pub struct Service {
    /// The schema.
    pub id: SchemaId,
    /// Connections accepted.
    pub connections: CounterId,
    /// Connections open.
    pub active: GaugeId,
    /// Failures by cause.
    pub failures: CounterTable,
    /// Connections of denied sources that were kept.
    pub tarpitted: CounterId,
    /// Those that are kept.
    pub tarpit: GaugeId,
    /// Bytes that endpoints were sent.
    pub bytes_in: CounterId,
    /// Bytes that clients were sent.
    pub bytes_out: CounterId,
    /// Those of both directions that never left the kernel.
    pub bytes_spliced: CounterId,
    /// Datagrams that endpoints were sent.
    pub datagrams_in: CounterId,
    /// Datagrams that clients were sent.
    pub datagrams_out: CounterId,
    /// Datagrams of both directions that were lost here.
    pub datagrams_lost: CounterId,
}

/// Counters of one route.
pub struct Route {
    /// The schema.
    pub id: SchemaId,
    /// Responses by status class.
    pub responses: CounterTable,
    /// gRPC calls by the code they ended with.
    pub calls: CounterTable,
    /// From the first byte of the request to the last of the response.
    pub duration: HistogramId,
    /// Received from downstream.
    pub bytes_in: CounterId,
    /// Sent downstream.
    pub bytes_out: CounterId,
}

/// Counters of one method of gRPC.
pub struct Method {
    /// The schema.
    pub id: SchemaId,
    /// Calls by the code they ended with.
    pub calls: CounterTable,
    /// Messages from callers.
    pub messages_in: CounterId,
    /// Messages to callers.
    pub messages_out: CounterId,
    /// Bytes of the messages from callers, their prefixes included.
    pub bytes_in: CounterId,
    /// Bytes of the messages to callers, their prefixes included.
    pub bytes_out: CounterId,
    /// From the first byte of the call to the last of its answer.
    pub duration: HistogramId,
}

/// Counters of one cluster.
pub struct Cluster {
    /// The schema.
    pub id: SchemaId,
    /// Tries, the first ones included.
    pub attempts: CounterId,
    /// Tries after the first.
    pub retries: CounterId,
    /// Tries that failed, by cause.
    pub tries_failed: CounterTable,
    /// Retries that the budget did not allow.
    pub retries_refused: CounterId,
    /// Connections that were opened.
    pub connects: CounterId,
    /// Connects that failed.
    pub connect_failures: CounterId,
    /// Requests that were sent on a connection used before.
    pub reused: CounterId,
    /// TLS handshakes that succeeded.
    pub handshakes: CounterId,
    /// Those among them that resumed a session.
    pub resumed: CounterId,
    /// From the request sent to the response's head.
    pub first_byte: HistogramId,
}

/// The values of the label `class`; index 0 is no status at all.
const CLASSES: &[&str] = &["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The index of a status in the table of responses.
#[inline]
pub(crate) fn class_of(status: u16) -> usize {
    let class = usize::from(status / 100);
    if class < CLASSES.len() { class } else { 0 }
}

impl Schemas {
    /// Declares everything in `registry`.
    pub fn declare(registry: &mut Registry) -> Schemas {
        Schemas {
            process: Process::declare(registry),
            listener: Listener::declare(registry),
            service: Service::declare(registry),
            route: Route::declare(registry),
            method: Method::declare(registry),
            cluster: Cluster::declare(registry),
        }
    }
}

impl Process {
    fn declare(registry: &mut Registry) -> Process {
        let mut schema = Schema::new(&[]);
        let failures = schema.counters(
            "penstock_failures_total",
            "Requests and connections that failed, by cause: answered by us, refused or cut. Tries \
             that another one made good are in penstock_cluster_tries_failed_total alone.",
            "cause",
            Cause::NAMES,
        );
        let waived =
            schema.counter("penstock_lenient_total", "Malformed requests let through by config.");
        let dropped_fields = schema.counter(
            "penstock_dropped_fields_total",
            "Request fields dropped for an underscore in their name.",
        );
        let log_lost = schema
            .counter("penstock_access_log_lost_total", "Access log records that found no room.");
        let windows_held = schema.counter(
            "penstock_http2_windows_held_total",
            "Windows of HTTP/2 that did not grow: runtime.http2.window_growth was used up.",
        );
        let connections =
            schema.gauge("penstock_connections", "Connections open, downstream and upstream.");
        let drain_cut = schema.counter(
            "penstock_drain_cut_total",
            "Downstream connections that were open when the time to drain was over.",
        );
        Process {
            id: registry.add(schema),
            failures,
            waived,
            dropped_fields,
            log_lost,
            windows_held,
            connections,
            drain_cut,
        }
    }
}

impl Listener {
    fn declare(registry: &mut Registry) -> Listener {
        let mut schema = Schema::new(&["listener"]);
        let connections =
            schema.counter("penstock_listener_connections_total", "Connections accepted.");
        let active = schema.gauge("penstock_listener_connections", "Connections open.");
        let failures = schema.counters(
            "penstock_listener_failures_total",
            "What penstock_failures_total counts, of this listener.",
            "cause",
            Cause::NAMES,
        );
        let handshakes = schema.counter(
            "penstock_listener_tls_handshakes_total",
            "TLS handshakes that succeeded; penstock_failures_total has the others.",
        );
        let resumed = schema.counter(
            "penstock_listener_tls_resumed_total",
            "TLS handshakes that resumed a session.",
        );
        Listener { id: registry.add(schema), connections, active, failures, handshakes, resumed }
    }
}

impl Service {
    fn declare(registry: &mut Registry) -> Service {
        let mut schema = Schema::new(&["service"]);
        let connections =
            schema.counter("penstock_service_connections_total", "Connections accepted.");
        let active = schema.gauge("penstock_service_connections", "Connections open.");
        let failures = schema.counters(
            "penstock_service_failures_total",
            "What penstock_failures_total counts, of this service.",
            "cause",
            Cause::NAMES,
        );
        let tarpitted = schema.counter(
            "penstock_service_tarpitted_total",
            "Connections of denied sources that were kept.",
        );
        let tarpit =
            schema.gauge("penstock_service_tarpit", "Connections of denied sources that are kept.");
        let bytes_in = schema.counter(
            "penstock_service_received_bytes_total",
            "From clients to endpoints, carried.",
        );
        let bytes_out = schema
            .counter("penstock_service_sent_bytes_total", "From endpoints to clients, carried.");
        let bytes_spliced = schema.counter(
            "penstock_service_spliced_bytes_total",
            "Of the bytes carried both ways, those that never left the kernel.",
        );
        let datagrams_in = schema
            .counter("penstock_service_received_datagrams_total", "From clients to endpoints.");
        let datagrams_out =
            schema.counter("penstock_service_sent_datagrams_total", "From endpoints to clients.");
        let datagrams_lost = schema.counter(
            "penstock_service_lost_datagrams_total",
            "Of both directions, those that the kernel had no room for, or that were too large.",
        );
        Service {
            id: registry.add(schema),
            connections,
            active,
            failures,
            tarpitted,
            tarpit,
            bytes_in,
            bytes_out,
            bytes_spliced,
            datagrams_in,
            datagrams_out,
            datagrams_lost,
        }
    }
}

impl Route {
    fn declare(registry: &mut Registry) -> Route {
        let mut schema = Schema::new(&["listener", "route"]);
        let responses = schema.counters(
            "penstock_route_responses_total",
            "Responses by status class; `none` where the connection was cut before one.",
            "class",
            CLASSES,
        );
        let calls = schema.counters(
            "penstock_route_grpc_calls_total",
            "gRPC calls by the code they ended with, the endpoint's or ours.",
            "code",
            &Code::NAMES,
        );
        let duration = schema.histogram(
            "penstock_route_duration_seconds",
            "From the first byte of the request to the last of the response.",
            Unit::Seconds,
        );
        let bytes_in =
            schema.counter("penstock_route_received_bytes_total", "Received from downstream.");
        let bytes_out = schema.counter("penstock_route_sent_bytes_total", "Sent downstream.");
        let id = registry.add(schema);
        Route { id, responses, calls, duration, bytes_in, bytes_out }
    }
}

impl Method {
    fn declare(registry: &mut Registry) -> Method {
        // As the gRPC ecosystem's own exporters call them.
        let mut schema = Schema::new(&["grpc_service", "grpc_method"]);
        let calls = schema.counters(
            "penstock_grpc_calls_total",
            "gRPC calls by method, and by the code they ended with.",
            "code",
            &Code::NAMES,
        );
        let mut counter = |name, help| schema.counter(name, help);
        let messages_in =
            counter("penstock_grpc_received_messages_total", "Messages from callers.");
        let messages_out = counter("penstock_grpc_sent_messages_total", "Messages to callers.");
        let bytes_in = counter(
            "penstock_grpc_received_message_bytes_total",
            "Bytes of the messages from callers, their prefixes included.",
        );
        let bytes_out = counter(
            "penstock_grpc_sent_message_bytes_total",
            "Bytes of the messages to callers, their prefixes included.",
        );
        let duration = schema.histogram(
            "penstock_grpc_duration_seconds",
            "From the first byte of the call to the last of its answer.",
            Unit::Seconds,
        );
        let id = registry.add(schema);
        Method { id, calls, messages_in, messages_out, bytes_in, bytes_out, duration }
    }
}

impl Cluster {
    fn declare(registry: &mut Registry) -> Cluster {
        let mut schema = Schema::new(&["cluster"]);
        let attempts =
            schema.counter("penstock_cluster_attempts_total", "Tries, first ones included.");
        let retries = schema.counter("penstock_cluster_retries_total", "Tries after the first.");
        let tries_failed = schema.counters(
            "penstock_cluster_tries_failed_total",
            "Tries that failed, by cause, whether another one made them good or not.",
            "cause",
            Cause::NAMES,
        );
        let retries_refused = schema.counter(
            "penstock_cluster_retries_refused_total",
            "Retries that the budget did not allow.",
        );
        let connects = schema.counter("penstock_cluster_connects_total", "Connections opened.");
        let connect_failures =
            schema.counter("penstock_cluster_connect_failures_total", "Connects that failed.");
        let reused = schema.counter(
            "penstock_cluster_reused_total",
            "Requests sent on a connection that was used before.",
        );
        let first_byte = schema.histogram(
            "penstock_cluster_first_byte_seconds",
            "From the request sent to the head of its response.",
            Unit::Seconds,
        );
        let handshakes = schema.counter(
            "penstock_cluster_tls_handshakes_total",
            "TLS handshakes with endpoints that succeeded.",
        );
        let resumed = schema.counter(
            "penstock_cluster_tls_resumed_total",
            "TLS handshakes with endpoints that resumed a session.",
        );
        let id = registry.add(schema);
        Cluster {
            id,
            attempts,
            retries,
            tries_failed,
            retries_refused,
            connects,
            connect_failures,
            reused,
            handshakes,
            resumed,
            first_byte,
        }
    }
}
