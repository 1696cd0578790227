//! The guest's exports, resolved once: a call is then a jump.

use wasmtime::{Store, TypedFunc, WasmParams, WasmResults};

use crate::abi::Callback as C;
use crate::state::State;

/// The guest's callbacks; `None` for those that it doesn't export.
pub(crate) struct Calls {
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) request_headers: Option<Headers>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<Headers>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) new_connection: Option<TypedFunc<u32, u32>>,
    pub(crate) downstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) upstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) downstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) upstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
    pub(crate) http_call_response: Option<TypedFunc<CallResponse, ()>>,
    pub(crate) grpc_initial_metadata: Option<Heard>,
    pub(crate) grpc_receive: Option<Heard>,
    pub(crate) grpc_trailing_metadata: Option<Heard>,
    pub(crate) grpc_close: Option<Heard>,
    /// Whether the guest wants to hear of a stream's beginning and end; see `abi::stateless`.
    pub(crate) streams_are_told: bool,
}

/// A header callback in either of its forms.
pub(crate) enum Headers {
    /// 0.1.0: without the end of the stream.
    Two(TypedFunc<(u32, u32), u32>),
    /// 0.2.x.
    Three(TypedFunc<(u32, u32, u32), u32>),
}

/// Root context, token, fields, body bytes, trailers.
type CallResponse = (u32, u32, u32, u32, u32);

/// Root context, token, and a number: fields, bytes, or a status.
type Heard = TypedFunc<(u32, u32, u32), ()>;

impl Calls {
    /// Looks every callback up, once for the life of the instance.
    pub(crate) fn resolve(instance: &wasmtime::Instance, store: &mut Store<State>) -> Calls {
        let mut headers = |callback: C| {
            let name = callback.name();
            typed(instance, store, name)
                .map(Headers::Three)
                .or_else(|| typed(instance, store, name).map(Headers::Two))
        };
        Calls {
            request_headers: headers(C::RequestHeaders),
            response_headers: headers(C::ResponseHeaders),
            context_create: typed(instance, store, C::ContextCreate.name()),
            vm_start: typed(instance, store, C::VmStart.name()),
            configure: typed(instance, store, C::Configure.name()),
            tick: typed(instance, store, C::Tick.name()),
            queue_ready: typed(instance, store, C::QueueReady.name()),
            request_body: typed(instance, store, C::RequestBody.name()),
            request_trailers: typed(instance, store, C::RequestTrailers.name()),
            response_body: typed(instance, store, C::ResponseBody.name()),
            response_trailers: typed(instance, store, C::ResponseTrailers.name()),
            new_connection: typed(instance, store, C::NewConnection.name()),
            downstream_data: typed(instance, store, C::DownstreamData.name()),
            upstream_data: typed(instance, store, C::UpstreamData.name()),
            downstream_close: typed(instance, store, C::DownstreamClose.name()),
            upstream_close: typed(instance, store, C::UpstreamClose.name()),
            done: typed(instance, store, C::Done.name()),
            log: typed(instance, store, C::Log.name()),
            delete: typed(instance, store, C::Delete.name()),
            http_call_response: typed(instance, store, C::HttpCallResponse.name()),
            grpc_initial_metadata: typed(instance, store, C::GrpcInitialMetadata.name()),
            grpc_receive: typed(instance, store, C::GrpcReceive.name()),
            grpc_trailing_metadata: typed(instance, store, C::GrpcTrailingMetadata.name()),
            grpc_close: typed(instance, store, C::GrpcClose.name()),
            streams_are_told: true,
        }
    }
}

/// The export, if it is there and fits; `Module` refused those that are there and don't.
pub(crate) fn typed<P: WasmParams, R: WasmResults>(
    instance: &wasmtime::Instance,
    store: &mut Store<State>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}
