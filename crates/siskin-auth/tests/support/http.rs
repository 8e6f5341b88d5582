//! A web server of the smallest kind: a thread for each connection, and a function that answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// What to do about it.
pub(crate) enum Reply {
    /// Status and body.
    Answer(u16, String),
    /// Say nothing until the client gives up.
    Silence,
    /// Close the connection.
    HangUp,
    /// Bytes that are no HTTP.
    Garbage,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Answer(200, body.into())
    }
}

/// A server, as long as it is kept.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    is_closed: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(|stream| Some(Box::new(stream)), answer)
    }

    /// The same, with something between socket and HTTP.
    pub(crate) fn start_with(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Duplex>> + Send + Sync + 'static,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
            is_closed: Arc::default(),
        };
        let shared = Arc::new((wrap, answer));
        let (asked, connections) = (Arc::clone(&server.asked), Arc::clone(&server.connections));
        let is_closed = Arc::clone(&server.is_closed);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
                thread::spawn(move || {
                    let Some(stream) = shared.0(stream) else { return };
                    serve(BufReader::new(stream), &shared.1, &asked);
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// A stream, encrypted or not.
pub(crate) trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

fn serve(mut stream: BufReader<Box<dyn Duplex>>, answer: &impl Fn(&Asked) -> Reply, log: &Mutex<Vec<Asked>>) {
    while let Some(asked) = read(&mut stream) {
        log.lock().unwrap().push(asked.clone());
        let bytes = match answer(&asked) {
            Reply::Answer(status, body) => {
                format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Reply::Silence => {
                let _ = stream.read(&mut [0]);
                return;
            }
            Reply::HangUp => return,
            Reply::Garbage => "SSH-2.0-OpenSSH\r\n".to_owned(),
        };
        if stream.get_mut().write_all(bytes.as_bytes()).is_err() {
            return;
        }
        let _ = stream.get_mut().flush();
    }
}

fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let headers: Vec<_> = lines[1..].iter().map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body: String::from_utf8(body).ok()? })
}
