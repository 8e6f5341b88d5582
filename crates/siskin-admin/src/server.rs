//! The thread, its socket, and how much of them strangers may take.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use siskin_server::Broker;
use siskin_server::config::{AdminConfig, AdminListen};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use crate::app::App;
use crate::guard::Credentials;
use crate::patience::Patience;
use crate::rates;
use crate::router;

/// The HTTP API of a running broker. Dropped without [`Admin::stop`] it goes on.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Why the HTTP API does not start.
#[derive(Debug)]
pub enum AdminError {
    /// The address cannot be listened on.
    Bind {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Others can reach the address, and nobody would be asked who he is.
    Unprotected(SocketAddr),
    /// A token or a password file cannot be used: which, and why.
    Credentials(String),
    /// The system gave no thread or no poll.
    System(io::Error),
}

impl Admin {
    /// Starts the API of `broker` as its configuration says. None if there is to be none, or if nobody asked for it
    /// and its port is taken, which the log then says.
    pub fn start(broker: &Broker) -> Result<Option<Self>, AdminError> {
        let config = &broker.config().admin.clone();
        let Some((address, credentials)) = prepare(config)? else { return Ok(None) };
        let is_wished = config.listen != AdminListen::Default;
        let is_local = address.ip().is_loopback();
        let listener = match listen(address) {
            Ok(listener) => listener,
            Err(error) if !is_wished => {
                tracing::warn!(
                    "the admin API is not available: cannot listen on {address}: {error}; choose another \
                     address by admin.address, or off"
                );
                return Ok(None);
            }
            Err(source) => return Err(AdminError::Bind { address, source }),
        };
        let address = listener.local_addr()?;
        if !is_local {
            tracing::warn!(
                "the admin API on {address} is not only for this machine and speaks HTTP without TLS: \
                 credentials can be read on their way, unless something in front of it keeps them safe"
            );
        }
        let app = App::new(broker.clone(), credentials, is_local);
        let place = app.credentials_place();
        broker.add_follower(Box::new(move |_, config| {
            let prepared = prepare(&config.admin).map_err(|error| error.to_string())?;
            let place = Arc::clone(&place);
            Ok(Box::new(move || {
                if let Some((_, credentials)) = prepared {
                    *place.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
                }
            }))
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(PASSWORD_THREADS)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("siskin-admin".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, app, stopped));
            // A reload that reads a file without an end is not waited for.
            runtime.shutdown_background();
        })?;
        tracing::info!("the admin API is on http://{address}");
        Ok(Some(Self { address, stop, thread }))
    }

    /// Whether the API could be started with this configuration, as far as can be told without listening.
    pub fn check(config: &AdminConfig) -> Result<(), AdminError> {
        prepare(config).map(drop)
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering, and waits until the thread is done.
    pub fn stop(self) {
        // If nobody hears it the thread has ended by itself.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the admin API had panicked");
        }
    }
}

/// Where to listen, if anywhere, and what to ask of those who come.
fn prepare(config: &AdminConfig) -> Result<Option<(SocketAddr, Credentials)>, AdminError> {
    let address = match config.listen {
        AdminListen::Off => return Ok(None),
        AdminListen::Default => AdminListen::DEFAULT,
        AdminListen::At(address) => address,
    };
    let credentials = Credentials::load(config).map_err(AdminError::Credentials)?;
    if !address.ip().is_loopback() && credentials.is_empty() {
        return Err(AdminError::Unprotected(address));
    }
    Ok(Some((address, credentials)))
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: StdListener, app: App, stopped: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the admin API cannot accept connections: {error}"),
    };
    let sampler = tokio::spawn(rates::sample(app.clone()));
    let router = router::build(app);
    tokio::select! {
        () = accept(&listener, &router) => {}
        _ = stopped => {}
    }
    sampler.abort();
}

/// Accepts connections for ever. Where there are too many, those that come wait until one has ended.
async fn accept(listener: &TcpListener, router: &Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, router.clone(), place));
            }
            Err(error) => {
                tracing::debug!("a connection to the admin API was not accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    // Answers are small and wanted at once; without it they only come later.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Patience::new(stream, WRITE_TIMEOUT)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection to the admin API ended: {error}");
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => {
                write!(f, "cannot listen for the admin API on {address}: {source}")
            }
            Self::Unprotected(address) => write!(
                f,
                "the admin API on {address} could be reached by others: give it admin.token, admin.token_file \
                 or admin.password_file, or choose an address of this machine like 127.0.0.1:18083"
            ),
            Self::Credentials(problem) => write!(f, "cannot protect the admin API: {problem}"),
            Self::System(source) => write!(f, "cannot start the admin API: {source}"),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::System(source) => Some(source),
            Self::Unprotected(_) | Self::Credentials(_) => None,
        }
    }
}

impl From<io::Error> for AdminError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Connections at once. One more waits in the system's backlog.
const CONNECTIONS_MAX: usize = 128;

/// Time for the head of a request, from the one before on. Then the connection is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may take nothing of what it is sent. Then the connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of the head of a request, and of what is read ahead of its body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long nobody is accepted when the system has nothing left for them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Passwords checked at once: each may take the memory and the time that its hash asks for.
const PASSWORD_THREADS: usize = 2;
