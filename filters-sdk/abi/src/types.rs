//! The numbers that cross the border: statuses, actions, kinds of maps, buffers and streams.

/// Declares an enum with the ABI's numbers and a checked way back from them.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$row:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$row])* $variant = $number,)+
        }

        impl $name {
            /// Every value, in the order of its numbers.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// The value with this number; `None` for a number the ABI doesn't know.
            #[inline]
            pub const fn from_u32(number: u32) -> Option<$name> {
                match number {
                    $($number => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// What a hostcall answers (`proxy_status_t`).
    Status {
        /// It was done.
        Ok = 0,
        /// There is no such key, property, metric, queue or buffer.
        NotFound = 1,
        /// An argument is outside what the call allows.
        BadArgument = 2,
        /// A value could not be turned into bytes.
        SerializationFailure = 3,
        /// Bytes could not be turned into a value.
        ParseFailure = 4,
        /// A pointer or length leaves the module's memory.
        InvalidMemoryAccess = 6,
        /// The queue has nothing to give.
        Empty = 7,
        /// Someone else wrote the shared value since it was read.
        CasMismatch = 8,
        /// The host could not, or may not by its configuration, do it.
        InternalFailure = 10,
        /// The host knows the call, and doesn't do it.
        Unimplemented = 12,
    }
}

numbers! {
    /// What a stream callback tells the host to do next (`proxy_action_t`).
    Action {
        /// Go on with what the callback saw.
        Continue = 0,
        /// Hold it until the filter continues or answers the stream.
        Pause = 1,
    }
}

numbers! {
    /// Which map of fields a call means (`proxy_map_type_t`).
    MapType {
        /// The request's head, pseudo-fields included.
        RequestHeaders = 0,
        /// The request's trailers.
        RequestTrailers = 1,
        /// The response's head, `:status` included.
        ResponseHeaders = 2,
        /// The response's trailers.
        ResponseTrailers = 3,
        /// Initial metadata of a gRPC call of the filter's own.
        GrpcInitialMetadata = 4,
        /// Trailing metadata of a gRPC call of the filter's own.
        GrpcTrailingMetadata = 5,
        /// The head of the answer to `proxy_http_call`.
        HttpCallResponseHeaders = 6,
        /// The trailers of the answer to `proxy_http_call`.
        HttpCallResponseTrailers = 7,
    }
}

numbers! {
    /// Which bytes a call means (`proxy_buffer_type_t`).
    BufferType {
        /// Request body that is in the filter's hands.
        RequestBody = 0,
        /// Response body that is in the filter's hands.
        ResponseBody = 1,
        /// Bytes from downstream, on a raw connection.
        DownstreamData = 2,
        /// Bytes from upstream, on a raw connection.
        UpstreamData = 3,
        /// Body of the answer to `proxy_http_call`.
        HttpCallResponseBody = 4,
        /// A message of a gRPC call of the filter's own.
        GrpcCallMessage = 5,
        /// The configuration of the virtual machine.
        VmConfiguration = 6,
        /// The configuration of the plugin (the root context).
        PluginConfiguration = 7,
        /// Arguments of a foreign function that calls into the filter.
        ForeignFunctionArguments = 8,
    }
}

numbers! {
    /// Which half of a stream a call means (`proxy_stream_type_t`).
    StreamType {
        /// The HTTP request.
        HttpRequest = 0,
        /// The HTTP response.
        HttpResponse = 1,
        /// The downstream half of a raw connection.
        Downstream = 2,
        /// The upstream half of a raw connection.
        Upstream = 3,
    }
}

numbers! {
    /// How loud a log line is (`proxy_log_level_t`).
    LogLevel {
        /// For following every step.
        Trace = 0,
        /// For the filter's author.
        Debug = 1,
        /// For the operator, nothing wrong.
        Info = 2,
        /// Something the operator may want to change.
        Warn = 3,
        /// Something failed.
        Error = 4,
        /// The filter can't do its work.
        Critical = 5,
    }
}

numbers! {
    /// What a metric counts (`proxy_metric_type_t`).
    MetricType {
        /// Only ever grows.
        Counter = 0,
        /// Goes up and down.
        Gauge = 1,
        /// A distribution of recorded values.
        Histogram = 2,
    }
}

numbers! {
    /// Who closed a raw connection (`proxy_peer_type_t`).
    PeerType {
        /// The host can't tell.
        Unknown = 0,
        /// This side.
        Local = 1,
        /// The peer.
        Remote = 2,
    }
}

numbers! {
    /// What a WASI call answers (`errno` of preview 1), as far as the host uses it.
    Errno {
        /// It was done.
        Success = 0,
        /// There is no such descriptor: the host opens none but 1 and 2.
        BadDescriptor = 8,
        /// A pointer or length leaves the module's memory.
        Fault = 21,
        /// An argument is outside what the call allows.
        Invalid = 28,
        /// The host knows the call, and doesn't do it.
        NotSupported = 58,
    }
}

/// The edition of the ABI that a module was built for, told by the marker it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 0.1.0: no `end_of_stream` in header callbacks, a missing field reads as empty.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1: adds `proxy_get_log_level`.
    V0_2_1,
}

impl Version {
    /// Every edition, oldest first.
    pub const ALL: &[Version] = &[Version::V0_1_0, Version::V0_2_0, Version::V0_2_1];

    /// The name of the function whose export marks a module as built for this edition. It is
    /// never called.
    pub const fn marker(self) -> &'static str {
        match self {
            Version::V0_1_0 => "proxy_abi_version_0_1_0",
            Version::V0_2_0 => "proxy_abi_version_0_2_0",
            Version::V0_2_1 => "proxy_abi_version_0_2_1",
        }
    }

    /// The edition as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_2_1 => "0.2.1",
        }
    }
}
