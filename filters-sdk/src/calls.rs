//! What a callback began and gave up of calls: the views of a message and of the plugin have it.

use crate::flow::{CallId, CallRefused, HttpCall};
use crate::grpc::{GrpcCall, GrpcStream};
use crate::sys;

/// The calls of one callback.
#[derive(Debug, Default)]
pub struct Calls {
    /// Those that were begun, and whether each is a stream.
    pub(crate) begun: Vec<(CallId, bool)>,
    /// Those that were given up.
    pub(crate) cancelled: Vec<CallId>,
}

impl Calls {
    pub(crate) fn http(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        let id = call.send()?;
        self.begun.push((id, false));
        Ok(id)
    }

    pub(crate) fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        let id = call.send()?;
        self.begun.push((id, false));
        Ok(id)
    }

    pub(crate) fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        let stream = call.open()?;
        self.begun.push((stream.id(), true));
        Ok(stream)
    }

    pub(crate) fn cancel(&mut self, id: CallId) {
        sys::grpc_cancel(id.0);
        self.cancelled.push(id);
    }
}
