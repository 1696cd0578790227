//! The admin socket: bound before anything runs, served on the control thread.

use std::io;
use std::net;
use std::os::unix::net as unix;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use penstock_config::{Admin, Files, ListenAddress};
use penstock_control::{DiskFiles, Handle};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::audit::{self, Caller};
use crate::guests::{Guests, Known};
use crate::problem::Problem;
use crate::socket_file::{SocketFile, Standing};
use crate::{Desk, LogLevel, endpoints, guard};

/// For a request's head, also between requests.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// For a request's body and the making of our answer. Compiling filters is in it.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// After so long a connection ends with the answer under way, which has [`REQUEST_MAX`] to be
/// taken: who reads nothing is not waited for longer.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Before the next try where accept fails, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks whether the unix socket's file is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no admin API.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address can't be had.
    #[error("admin.listen: cannot listen on {address}: {error}")]
    Bind {
        /// Where it should listen.
        address: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// Another process answers on the socket.
    #[error("admin.listen: another process answers on {address}; is Penstock running already?")]
    Taken {
        /// The socket.
        address: String,
    },
    /// The token can't be read.
    #[error("admin.token_file: {path}: {error}")]
    Token {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

/// The bound admin socket.
pub struct Server {
    listener: Listener,
    address: String,
}

enum Listener {
    Unix(unix::UnixListener, SocketFile),
    Tcp(net::TcpListener, Arc<[u8]>),
}

impl Server {
    /// Binds the socket that `admin` names, and reads the token where one is needed.
    ///
    /// # Errors
    /// Another process listens there, the folder is missing, or the token can't be read.
    pub fn bind(admin: &Admin, files: &DiskFiles) -> Result<Server, AdminError> {
        let listener = match &admin.listen {
            ListenAddress::Unix(path) => {
                let (listener, file) = SocketFile::bind(path)?;
                Listener::Unix(listener, file)
            }
            address => {
                let bound = address.socket_address().ok_or(io::ErrorKind::InvalidInput.into());
                let bound = bound.and_then(net::TcpListener::bind).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    Ok(listener)
                });
                let address = address.to_string();
                let bound = bound.map_err(|error| AdminError::Bind { address, error })?;
                Listener::Tcp(bound, read_token(admin, files)?)
            }
        };
        let address = match &listener {
            Listener::Unix(_, file) => format!("unix:{}", file.path().display()),
            Listener::Tcp(listener, _) => {
                listener.local_addr().map_or_else(|_| String::new(), |ip| format!("http://{ip}"))
            }
        };
        Ok(Server { listener, address })
    }

    /// Where it listens: `unix:/PATH` or `http://IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves until it is dropped, which also removes the unix socket's file.
    pub async fn serve(self, control: Handle, log_level: Arc<dyn LogLevel>) {
        let router = endpoints::router().with_state(Desk { control, log_level });
        let result = match self.listener {
            Listener::Unix(listener, file) => serve_unix(listener, file, router).await,
            Listener::Tcp(listener, token) => serve_tcp(listener, router, token).await,
        };
        if let Err(error) = result {
            tracing::error!(%error, "the admin API has ended");
        }
    }
}

fn read_token(admin: &Admin, files: &DiskFiles) -> Result<Arc<[u8]>, AdminError> {
    let path = admin.token_file.clone().unwrap_or_default();
    let token = files.read(&path).and_then(|token| match token.trim_ascii() {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        token => Ok(Arc::from(token)),
    });
    token.map_err(|error| AdminError::Token { path: path.display().to_string(), error })
}

async fn serve_unix(
    listener: unix::UnixListener,
    mut file: SocketFile,
    router: Router,
) -> io::Result<()> {
    let mut listener = UnixListener::from_std(listener)?;
    let (mut guests, mut told, mut fails) = (Guests::default(), false, false);
    loop {
        guests.make_room().await;
        let Ok(accepted_one) = timeout(LOOK_EVERY, listener.accept()).await else {
            look_after(&mut listener, &mut file, &mut told);
            continue;
        };
        let Some((stream, _)) = accepted(accepted_one, &mut fails).await else { continue };
        let caller = match stream.peer_cred() {
            Ok(peer) => Caller::User { uid: peer.uid(), pid: peer.pid() },
            Err(error) => {
                tracing::warn!(%error, "an admin connection from nobody");
                continue;
            }
        };
        // The file's mode let them in.
        let known = Known::default();
        known.set();
        guests.add(known, serve_one(stream, router.clone(), caller));
    }
}

/// A socket whose file was removed is made anew: nobody could ask us anything any more.
fn look_after(listener: &mut UnixListener, file: &mut SocketFile, told: &mut bool) {
    let path = file.path().display().to_string();
    let standing = file.standing();
    let problem = match standing {
        Standing::Ours => {
            *told = false;
            return;
        }
        Standing::Another => "another process has taken the admin socket's path".to_owned(),
        Standing::Gone => match file.renew().map(UnixListener::from_std) {
            Ok(Ok(renewed)) => {
                *listener = renewed;
                tracing::warn!(path, "the admin socket's file was removed; it is there again");
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        },
    };
    if !std::mem::replace(told, true) {
        tracing::error!(path, "{problem}");
    }
}

async fn serve_tcp(listener: net::TcpListener, router: Router, token: Arc<[u8]>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (mut guests, mut fails) = (Guests::default(), false);
    loop {
        guests.make_room().await;
        let accepted_one = listener.accept().await;
        let Some((stream, peer)) = accepted(accepted_one, &mut fails).await else { continue };
        let (known, token) = (Known::default(), Arc::clone(&token));
        let shown = known.clone();
        let router =
            router.clone().layer(middleware::from_fn(move |request: Request, next: Next| {
                guard::check(Arc::clone(&token), shown.clone(), request, next)
            }));
        guests.add(known, serve_one(stream, router, Caller::Peer(peer)));
    }
}

/// The connection, if there is one; the first of several failures is told.
async fn accepted<T>(result: io::Result<T>, fails: &mut bool) -> Option<T> {
    let failed = std::mem::replace(fails, result.is_err());
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            if !failed {
                tracing::warn!(%error, "admin connections are not accepted");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    caller: Caller,
) {
    let router = router
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            audit::note(caller, request, next)
        }))
        .layer(Extension(caller));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let served = match timeout(CONNECTION_MAX, connection.as_mut()).await {
        Ok(served) => served,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(REQUEST_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        // A caller that went away, or spoke something else.
        tracing::debug!(%error, "an admin connection ended");
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "took too long").into_response(),
    }
}
