//! One check of one endpoint.

use std::io;
use std::net::SocketAddr;

use penstock_config::{ClusterProtocol, TcpCheck};
use penstock_env::Address;
use penstock_wire::http1::{Lenient, Limits, Method, Parsed, ResponseHead, parse_response};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Checked, Target, http2, sealed};

/// What a check speaks over.
pub(super) trait Plain: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Plain for T {}

/// What a check found wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Why, for a log.
    pub(super) why: String,
    /// It is this machine that lacks something, and says nothing of the endpoint.
    pub(super) ours: bool,
}

impl From<String> for Wrong {
    fn from(why: String) -> Wrong {
        Wrong { why, ours: false }
    }
}

/// A connect that failed: connect(2), socket(2).
fn unconnected(error: io::Error) -> Wrong {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    let is_ours = Errno::from_io_error(&error).is_some_and(|error| ours.contains(&error));
    Wrong { why: text(error), ours: is_ours }
}

/// Asks one of its targets once. No deadline of its own.
///
/// # Errors
/// Why it is not well, or can't be asked.
pub(super) async fn check(checked: &Checked, target: &Target) -> Result<(), Wrong> {
    // What leads a socket to a VIP lives as long as what is said over it.
    let (stream, _led): (Box<dyn Plain>, _) = match (target, address_of(checked)) {
        (Target::Vip(through), _) => {
            let (stream, led) = through.connect().await?;
            (Box::new(stream), Some(led))
        }
        (Target::Endpoint, Address::Ip(address)) => {
            (Box::new(TcpStream::connect(address).await.map_err(unconnected)?), None)
        }
        (Target::Endpoint, Address::Unix(path)) => {
            (Box::new(UnixStream::connect(&**path).await.map_err(unconnected)?), None)
        }
    };
    if checked.subject.health.http.is_none() && checked.subject.health.grpc.is_none() {
        return Ok(());
    }
    let host = host_of(checked, target);
    let Some(connector) = &checked.subject.tls else {
        return Ok(ask(checked, &host, stream).await?);
    };
    let (http2, ip) = (speaks_http2(checked), checked.subject.endpoint.address().ip());
    let (plain, carrying) = sealed::open(connector, ip, stream, http2).await?;
    tokio::select! {
        asked = ask(checked, &host, Box::new(plain)) => Ok(asked?),
        ended = carrying => Err(ended.into()),
    }
}

/// gRPC is HTTP/2, whatever requests are sent by.
fn speaks_http2(checked: &Checked) -> bool {
    checked.subject.health.grpc.is_some() || checked.subject.protocol == ClusterProtocol::Http2
}

async fn ask(checked: &Checked, host: &str, stream: Box<dyn Plain>) -> Result<(), String> {
    let scheme = if checked.subject.tls.is_some() { "https" } else { "http" };
    match (&checked.subject.health.grpc, &checked.subject.health.http) {
        (Some(service), _) => http2::grpc(stream, (scheme, host), service).await,
        (None, Some(path)) if speaks_http2(checked) => {
            let status = http2::get(stream, (scheme, host), path.as_str()).await?;
            judge(status)
        }
        (None, Some(path)) => judge(get(stream, host, path.as_str()).await?),
        (None, None) => Ok(()),
    }
}

/// Where checks go: where requests do, or to a port of their own.
fn address_of(checked: &Checked) -> Address {
    match (checked.subject.endpoint.address(), checked.subject.health.tcp) {
        (Address::Ip(address), Some(TcpCheck::Port(port))) => {
            Address::Ip(SocketAddr::new(address.ip(), port))
        }
        (address, _) => address.clone(),
    }
}

/// RFC 9110 §7.2: a request names its host; a socket's path is none. In TLS it is who the endpoint
/// has to prove to be: it would refuse a request for another (§7.4).
fn host_of(checked: &Checked, target: &Target) -> String {
    match (&checked.subject.name, target, checked.subject.endpoint.address()) {
        (Some(name), _, _) => name.clone(),
        (None, Target::Vip(through), _) => through.vip().to_string(),
        (None, Target::Endpoint, Address::Ip(address)) => address.to_string(),
        (None, Target::Endpoint, Address::Unix(_)) => "localhost".to_owned(),
    }
}

fn judge(status: u16) -> Result<(), String> {
    match status {
        200..400 => Ok(()),
        status => Err(format!("status {status}")),
    }
}

/// The status of the answer to a request of HTTP/1.1.
async fn get(mut stream: Box<dyn Plain>, host: &str, path: &str) -> Result<u16, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: penstock\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let (mut head, mut bytes) = (ResponseHead::new(), Vec::new());
    loop {
        if stream.read_buf(&mut bytes).await.map_err(text)? == 0 {
            return Err("closed without an answer".to_owned());
        }
        let limits = Limits::default();
        while let Parsed::Complete { head_bytes } =
            parse_response(&bytes, Method::Get, &limits, Lenient::NONE, &mut head)
                .map_err(|error| error.to_string())?
        {
            if !head.is_informational() {
                return Ok(head.status());
            }
            bytes.drain(..head_bytes);
        }
    }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::unconnected;

    #[test]
    fn what_we_lack_is_not_the_endpoints_fault() {
        for (errno, ours) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
        ] {
            let wrong = unconnected(io::Error::from(errno));
            assert_eq!(wrong.ours, ours, "{}", wrong.why);
        }
        assert!(!unconnected(io::ErrorKind::UnexpectedEof.into()).ours);
    }
}
