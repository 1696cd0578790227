//! One request and its response on their way through a filter under test.

use penstock_filters_sdk_abi::{BufferType, MapType, StreamType};

use super::{Instance, halves, owned};
use crate::filter::Filter;
use crate::sys::native;

/// A request (and, after [`respond`](Self::respond), its response) in a filter's hands. What is
/// said of it is about the half that was shown last.
pub struct Exchange<'i, F: Filter> {
    instance: &'i Instance<F>,
    context: u32,
    last: StreamType,
}

/// An answer that the filter gave itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    status: u16,
    cause: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Answered {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason that it gives to the access log.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The value of its field `name`.
    pub fn header(&self, name: &str) -> Option<String> {
        first(&self.headers, name)
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl<'i, F: Filter> Exchange<'i, F> {
    pub(super) fn open(instance: &'i Instance<F>, fields: &[(&str, &str)], end: bool) -> Self {
        let context = native::with(|double| {
            let context = double.next_context();
            let mut stream = native::Stream::default();
            stream.maps.insert(MapType::RequestHeaders as u32, owned(fields));
            double.streams.insert(context, stream);
            double.context = context;
            context
        });
        instance.runtime.on_context_create(context, instance.root);
        halves::show_head(&instance.runtime, context, StreamType::HttpRequest, end);
        Self { instance, context, last: StreamType::HttpRequest }
    }

    /// A part of the request's body comes; it is added to what the filter held back. While the
    /// head waits it is not shown, as in the proxy; see [`Instance::set_heads_only`].
    ///
    /// [`Instance::set_heads_only`]: super::Bench::set_heads_only
    pub fn request_body(&mut self, bytes: impl AsRef<[u8]>, end: bool) {
        self.last = StreamType::HttpRequest;
        halves::show_body(&self.instance.runtime, self.context, self.last, bytes.as_ref(), end);
    }

    /// The request's trailers come: with them the end of a body whose `end` has not come, then the
    /// trailers themselves.
    pub fn request_trailers(&mut self, fields: &[(&str, &str)]) {
        self.last = StreamType::HttpRequest;
        self.set_map(MapType::RequestTrailers, fields);
        halves::show_trailers(&self.instance.runtime, self.context, self.last);
    }

    /// The head of the upstream's response comes; `end` if it has no body.
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], end: bool) {
        let status = status.to_string();
        let mut all = vec![(":status", status.as_str())];
        all.extend_from_slice(fields);
        self.last = StreamType::HttpResponse;
        self.set_map(MapType::ResponseHeaders, &all);
        halves::show_head(&self.instance.runtime, self.context, self.last, end);
    }

    /// A part of the response's body comes, as [`request_body`](Self::request_body).
    pub fn response_body(&mut self, bytes: impl AsRef<[u8]>, end: bool) {
        self.last = StreamType::HttpResponse;
        halves::show_body(&self.instance.runtime, self.context, self.last, bytes.as_ref(), end);
    }

    /// The response's trailers come, as [`request_trailers`](Self::request_trailers).
    pub fn response_trailers(&mut self, fields: &[(&str, &str)]) {
        self.last = StreamType::HttpResponse;
        self.set_map(MapType::ResponseTrailers, fields);
        halves::show_trailers(&self.instance.runtime, self.context, self.last);
    }

    /// Ends the exchange: the filter's last look, then its state is gone.
    pub fn finish(self) {
        native::with(|double| double.context = self.context);
        self.instance.runtime.on_log(self.context);
    }

    /// The filter let the message go on: at once, or after a reply.
    pub fn went_on(&self) -> bool {
        !self.is_held() && self.answer().is_none()
    }

    /// The filter holds the message back and has not answered it.
    pub fn waits(&self) -> bool {
        self.is_held() && self.answer().is_none()
    }

    /// How often the filter had the host continue the request.
    pub fn request_continued(&self) -> usize {
        self.with_stream(|stream| {
            stream.continued.iter().filter(|half| **half == StreamType::HttpRequest).count()
        })
    }

    /// The answer that the filter gave itself, with what its own callbacks for responses made of
    /// it.
    pub fn answer(&self) -> Option<Answered> {
        self.with_stream(|stream| {
            stream.answer.as_ref().map(|answer| Answered {
                status: answer.status,
                cause: answer.cause.clone(),
                headers: answer.headers.clone(),
                body: answer.body.clone(),
            })
        })
    }

    /// The value of the request's field `name` as it is now.
    pub fn request_header(&self, name: &str) -> Option<String> {
        self.map(MapType::RequestHeaders, |fields| first(fields, name))
    }

    /// All values of the request's field `name`.
    pub fn request_header_values(&self, name: &str) -> Vec<String> {
        self.map(MapType::RequestHeaders, |fields| all(fields, name))
    }

    /// The value of the response's field `name` as it is now.
    pub fn response_header(&self, name: &str) -> Option<String> {
        self.map(MapType::ResponseHeaders, |fields| first(fields, name))
    }

    /// All values of the response's field `name`.
    pub fn response_header_values(&self, name: &str) -> Vec<String> {
        self.map(MapType::ResponseHeaders, |fields| all(fields, name))
    }

    /// The value of the request trailer `name`.
    pub fn request_trailer(&self, name: &str) -> Option<String> {
        self.map(MapType::RequestTrailers, |fields| first(fields, name))
    }

    /// What the filter let pass of the request's body with its last callback.
    pub fn request_body_bytes(&self) -> Vec<u8> {
        self.body(BufferType::RequestBody)
    }

    /// What the filter let pass of the response's body with its last callback.
    pub fn response_body_bytes(&self) -> Vec<u8> {
        self.body(BufferType::ResponseBody)
    }

    fn is_held(&self) -> bool {
        self.with_stream(|stream| halves::of(stream, self.last).waits.is_some())
    }

    fn body(&self, buffer: BufferType) -> Vec<u8> {
        self.with_stream(|stream| stream.bodies.get(&(buffer as u32)).cloned().unwrap_or_default())
    }

    fn set_map(&self, map: MapType, fields: &[(&str, &str)]) {
        self.with_stream(|stream| stream.maps.insert(map as u32, owned(fields)));
    }

    fn map<T: Default>(&self, map: MapType, read: impl FnOnce(&native::Fields) -> T) -> T {
        self.with_stream(|stream| stream.maps.get(&(map as u32)).map(read).unwrap_or_default())
    }

    fn with_stream<T>(&self, action: impl FnOnce(&mut native::Stream) -> T) -> T {
        native::with(|double| {
            action(double.streams.get_mut(&self.context).expect("it lives as long as its exchange"))
        })
    }
}

impl<F: Filter> Drop for Exchange<'_, F> {
    fn drop(&mut self) {
        self.instance.runtime.on_delete(self.context);
        native::with(|double| double.streams.remove(&self.context));
    }
}

fn all(fields: &native::Fields, name: &str) -> Vec<String> {
    let named = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

pub(super) fn first(fields: &native::Fields, name: &str) -> Option<String> {
    all(fields, name).into_iter().next()
}
