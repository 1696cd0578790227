//! The admin socket: bound before anything runs, served on the control thread.

use std::io;
use std::net;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::PathBuf;
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
use tokio::sync::Semaphore;

use crate::audit::{self, Caller};
use crate::problem::Problem;
use crate::{Desk, LogLevel, endpoints, guard};

/// Admin connections at a time; the next one waits to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// For a request's head, also between requests.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// For a request's body and our answer together. Compiling filters is in it.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Who may connect to the unix socket: its user and its group.
const SOCKET_MODE: u32 = 0o660;
/// Before the next try where accept fails, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    Unix(unix::UnixListener, PathBuf),
    Tcp(net::TcpListener, Arc<[u8]>),
}

impl Server {
    /// Binds the socket that `admin` names, and reads the token where one is needed.
    ///
    /// # Errors
    /// Another process listens there, the folder is missing, or the token can't be read.
    pub fn bind(admin: &Admin, files: &DiskFiles) -> Result<Server, AdminError> {
        let listener = match &admin.listen {
            ListenAddress::Unix(path) => bind_unix(path.clone())?,
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
            Listener::Unix(_, path) => format!("unix:{}", path.display()),
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
            Listener::Unix(listener, path) => {
                let _file = SocketFile(path);
                serve_unix(listener, router).await
            }
            Listener::Tcp(listener, token) => serve_tcp(listener, router, token).await,
        };
        if let Err(error) = result {
            tracing::error!(%error, "the admin API has ended");
        }
    }
}

/// Removes the socket's file at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that somebody removed already is gone as well.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bind_unix(path: PathBuf) -> Result<Listener, AdminError> {
    let address = format!("unix:{}", path.display());
    if unix::UnixStream::connect(&path).is_ok() {
        return Err(AdminError::Taken { address });
    }
    let bind = || {
        match std::fs::symlink_metadata(&path) {
            // Nobody answers there: it was left behind by a process that was killed.
            Ok(there) if there.file_type().is_socket() => std::fs::remove_file(&path)?,
            Ok(_) => {
                let kept = "something is there that is no socket; it is left alone";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, kept));
            }
            Err(_) => {}
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = unix::UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    match bind() {
        Ok(listener) => Ok(Listener::Unix(listener, path)),
        Err(error) => Err(AdminError::Bind { address, error }),
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

async fn serve_unix(listener: unix::UnixListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let caller = match stream.peer_cred() {
            Ok(peer) => Caller::User { uid: peer.uid(), pid: peer.pid() },
            Err(error) => {
                tracing::warn!(%error, "an admin connection from nobody");
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            serve_one(stream, router, caller).await;
            drop(place);
        });
    }
}

async fn serve_tcp(listener: net::TcpListener, router: Router, token: Arc<[u8]>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router.layer(middleware::from_fn(move |request: Request, next: Next| {
        guard::check(Arc::clone(&token), request, next)
    }));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            serve_one(stream, router, Caller::Token).await;
            drop(place);
        });
    }
}

async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "an admin connection was not accepted");
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
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        // A caller that went away, or spoke something else.
        tracing::debug!(%error, "an admin connection ended");
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "took too long").into_response(),
    }
}
