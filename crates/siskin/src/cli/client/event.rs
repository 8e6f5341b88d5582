//! What a tool waits for, all through one channel: its threads do nothing but wait, and send what they got.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use siskin_proto::{FrameStatus, PACKET_SIZE_MAX, frame};
use socket2::{Domain, Protocol, Socket, Type};

use super::failure::{CONNECTION_LOST, Failure, MALFORMED_PACKET};

pub(super) enum Event {
    /// The transport that connection number `0` asked for is open.
    Open(u32, TcpStream),
    /// Whole packets, one or more.
    Packets(u32, Vec<u8>),
    /// No more packets will come, or the transport could not be opened.
    Closed(u32, Failure),
    /// Whole lines of standard input; the last may lack its end.
    Lines(Vec<u8>),
    /// Standard input came to its end.
    InputEnd(io::Result<()>),
    /// A signal asks to end.
    Interrupted,
}

/// Where a transport shall lead.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) bind_address: Option<String>,
    pub(super) nodelay: bool,
    /// The longest packet that may come.
    pub(super) packet_size_max: u32,
}

/// Opens a transport in a thread of its own, which then reads packets until they end.
pub(super) fn open(connection: u32, target: Target, events: SyncSender<Event>) {
    thread::spawn(move || {
        let opened = connect(&target).and_then(|stream| match stream.try_clone() {
            Ok(reading) => Ok((stream, reading)),
            Err(error) => Err(Failure::usage(format!("Error: {error}."))),
        });
        let closed = match opened {
            Err(failure) => failure,
            Ok((stream, reading)) => {
                if events.send(Event::Open(connection, stream)).is_err() {
                    return;
                }
                read_packets(connection, reading, target.packet_size_max, &events)
            }
        };
        // The receiver is gone when the tool ends; nobody is left to tell.
        let _ = events.send(Event::Closed(connection, closed));
    });
}

/// Tries each address of the host in turn.
fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let Target { host, port, bind_address, .. } = target;
    let resolved = |host: &str, port: u16| {
        (host, port).to_socket_addrs().map_err(|error| {
            Failure::usage(format!("Error: The address of host '{host}' cannot be found: {error}."))
        })
    };
    let locals: Option<Vec<SocketAddr>> = match bind_address {
        Some(address) => Some(resolved(address, 0)?.collect()),
        None => None,
    };
    let mut failure = None;
    for address in resolved(host, *port)? {
        match connect_to(address, locals.as_deref()) {
            Ok(stream) => {
                // Without it small packets may go out late; the connection works all the same.
                let _ = stream.set_nodelay(target.nodelay);
                let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
                return Ok(stream);
            }
            Err(error) => failure = Some((address, error)),
        }
    }
    Err(match failure {
        Some((address, error)) => Failure::lost(
            1,
            format!("Error: Cannot connect to {host} port {port} ({}): {error}.", address.ip()),
        ),
        None => Failure::usage(format!("Error: Host '{host}' has no address.")),
    })
}

fn connect_to(address: SocketAddr, locals: Option<&[SocketAddr]>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(locals) = locals {
        let local = locals.iter().find(|local| local.is_ipv4() == address.is_ipv4());
        let local = local.ok_or_else(|| io::Error::other("the address given with -A is of another kind"))?;
        socket.bind(&(*local).into())?;
    }
    socket.connect_timeout(&address.into(), CONNECT_TIMEOUT)?;
    Ok(socket.into())
}

/// Sends packets on as they come, as many at once as there are. The reason why it ends is returned.
fn read_packets(
    connection: u32,
    mut stream: TcpStream,
    packet_size_max: u32,
    events: &SyncSender<Event>,
) -> Failure {
    let mut buffer = Vec::new();
    let mut filled = 0;
    let mut needed = READ_BYTES;
    loop {
        if buffer.len() < needed {
            buffer.resize(needed, 0);
        }
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Failure::lost(CONNECTION_LOST, "Error: The connection was lost."),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Failure::lost(CONNECTION_LOST, format!("Error: The connection was lost: {error}."));
            }
        }
        let (whole, error) = whole_packets(&buffer[..filled], packet_size_max, &mut needed);
        if whole > 0 {
            let packets = split_front(&mut buffer, whole, filled);
            filled -= whole;
            if events.send(Event::Packets(connection, packets)).is_err() {
                return Failure::output_closed();
            }
        }
        if let Some(failure) = error {
            return failure;
        }
    }
}

/// Takes the first `whole` of `filled` bytes out of the buffer, without a copy if they are many.
fn split_front(buffer: &mut Vec<u8>, whole: usize, filled: usize) -> Vec<u8> {
    if whole > READ_BYTES {
        let rest = buffer[whole..filled].to_vec();
        buffer.truncate(whole);
        return std::mem::replace(buffer, rest);
    }
    let packets = buffer[..whole].to_vec();
    buffer.copy_within(whole..filled, 0);
    packets
}

/// How many bytes at the front of `bytes` are whole packets. `needed` becomes the size of buffer in which
/// the rest can be completed.
fn whole_packets(bytes: &[u8], packet_size_max: u32, needed: &mut usize) -> (usize, Option<Failure>) {
    let mut whole = 0;
    loop {
        match frame(&bytes[whole..], packet_size_max) {
            Ok(FrameStatus::Complete(frame)) => whole += frame.len,
            Ok(FrameStatus::Incomplete { len }) => {
                // A header may promise far more than ever comes: memory grows with what has come.
                let have = bytes.len() - whole;
                *needed = len.unwrap_or(0).min(2 * have).max(have + READ_BYTES);
                return (whole, None);
            }
            Err(error) => {
                let text = format!("Error: The server sent something that is not MQTT: {error}.");
                return (whole, Some(Failure::new(MALFORMED_PACKET, text)));
            }
        }
    }
}

/// Reads lines of standard input in a thread of its own, a batch for each time it is asked.
pub(super) fn read_lines(events: SyncSender<Event>) -> SyncSender<()> {
    let (ask, asked) = mpsc::sync_channel::<()>(1);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut begun = Vec::new();
        while asked.recv().is_ok() {
            let end = loop {
                match read_some(&mut input, &mut begun) {
                    Ok(0) => break Some(Ok(())),
                    Ok(_) if begun.len() > PACKET_SIZE_MAX as usize => {
                        begun.clear();
                        break Some(Err(io::Error::other("a line is longer than any packet can be")));
                    }
                    Ok(count) => {
                        let fresh = begun.len() - count;
                        if let Some(last) = begun[fresh..].iter().rposition(|byte| *byte == b'\n') {
                            let rest = begun.split_off(fresh + last + 1);
                            let lines = std::mem::replace(&mut begun, rest);
                            if events.send(Event::Lines(lines)).is_err() {
                                return;
                            }
                            break None;
                        }
                    }
                    Err(error) => break Some(Err(error)),
                }
            };
            if let Some(end) = end {
                if !begun.is_empty() {
                    let _ = events.send(Event::Lines(std::mem::take(&mut begun)));
                }
                let _ = events.send(Event::InputEnd(end));
                return;
            }
        }
    });
    ask
}

fn read_some(input: &mut impl Read, into: &mut Vec<u8>) -> io::Result<usize> {
    let before = into.len();
    into.resize(before + READ_BYTES, 0);
    let read = loop {
        match input.read(&mut into[before..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    into.truncate(before + *read.as_ref().unwrap_or(&0));
    read
}

/// From now on the first SIGINT or SIGTERM is an event and sets the flag; a second one ends the process.
pub(super) fn watch_signals(events: SyncSender<Event>) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let watch = || -> io::Result<_> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: it acts only when the flag was set by an earlier signal.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted))?;
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
    };
    let mut signals =
        watch().map_err(|error| Failure::usage(format!("Error: Signals cannot be watched: {error}.")))?;
    thread::spawn(move || {
        for _ in signals.forever() {
            // If the channel is full the tool is awake and will look at the flag.
            let _ = events.try_send(Event::Interrupted);
        }
    });
    Ok(interrupted)
}

pub(super) fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

const READ_BYTES: usize = 64 * 1024;

/// For one address of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// For a server that takes nothing more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const PINGRESP: [u8; 2] = [0xD0, 0x00];

    #[test]
    fn whole_packets_are_cut_off_at_the_front() {
        let mut bytes = PINGRESP.repeat(3);
        bytes.push(0xD0);
        let mut needed = 0;
        assert_eq!(whole_packets(&bytes, 100, &mut needed), (6, None));
        assert!(needed > 1);
    }

    #[test]
    fn the_front_is_taken_out_and_the_rest_moves_up() {
        for whole in [2, READ_BYTES + 2] {
            let mut buffer: Vec<u8> = (0..READ_BYTES + 100).map(|place| place as u8).collect();
            let expected = buffer.clone();
            assert_eq!(split_front(&mut buffer, whole, whole + 10), expected[..whole]);
            assert_eq!(buffer[..10], expected[whole..whole + 10]);
        }
    }

    #[test]
    fn the_buffer_grows_with_what_has_come_and_not_with_what_was_promised() {
        let promise = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
        let mut needed = 0;
        assert_eq!(whole_packets(&promise, u32::MAX, &mut needed), (0, None));
        assert!(needed < 2 * READ_BYTES);
    }

    #[test]
    fn a_packet_over_the_limit_ends_the_connection_after_those_before_it() {
        let bytes = [0xD0, 0x00, 0x30, 0x7F];
        let (whole, failure) = whole_packets(&bytes, 100, &mut 0);
        assert_eq!(whole, 2);
        assert_eq!(failure.unwrap().status(), MALFORMED_PACKET);
    }
}
