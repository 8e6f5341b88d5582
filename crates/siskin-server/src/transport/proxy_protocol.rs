//! The PROXY protocol, version 1 and 2: for whom a proxy speaks, in front of the connection's own bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ppp::v1;
use ppp::v2::{self, Command, Type};

use super::Peer;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the header.
    pub(super) len: usize,
    /// The client; None where the proxy speaks for itself or does not know.
    pub(super) peer: Option<Peer>,
    /// The common name of the client's certificate, which the proxy has verified.
    pub(super) common_name: Option<Arc<str>>,
}

/// Reads the header at the beginning of `bytes`; None if it is not whole yet. An error is what is wrong
/// with them.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, String> {
    let prefix = v2::PROTOCOL_PREFIX;
    if bytes.starts_with(&prefix[..prefix.len().min(bytes.len())]) {
        return parse_v2(bytes);
    }
    if !bytes.starts_with(&V1_PREFIX[..V1_PREFIX.len().min(bytes.len())]) {
        return Err("no PROXY protocol header, which this listener asks for".to_owned());
    }
    parse_v1(bytes)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, String> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        let is_too_long = window.len() == V1_BYTES_MAX;
        return if is_too_long { Err(format!("{BAD}: its line does not end")) } else { Ok(None) };
    };
    let len = end + 2;
    let header = v1::Header::try_from(&bytes[..len]).map_err(|error| format!("{BAD}: {error}"))?;
    let peer = match header.addresses {
        v1::Addresses::Tcp4(pair) => Some(peer(pair.source_address.into(), pair.source_port)),
        v1::Addresses::Tcp6(pair) => Some(peer(pair.source_address.into(), pair.source_port)),
        v1::Addresses::Unknown => None,
    };
    Ok(Some(Header { len, peer, common_name: None }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, String> {
    if let Some(length) = bytes.get(V2_LENGTH_AT..V2_LENGTH_AT + 2) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length > V2_BYTES_MAX {
            return Err(format!("{BAD}: {length} bytes are more than {V2_BYTES_MAX}"));
        }
    }
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => return Ok(None),
        Err(error) => return Err(format!("{BAD}: {error}")),
    };
    let len = header.len();
    if header.command == Command::Local {
        // A health check of the proxy itself.
        return Ok(Some(Header { len, peer: None, common_name: None }));
    }
    let peer = match header.addresses {
        v2::Addresses::IPv4(pair) => Some(peer(pair.source_address.into(), pair.source_port)),
        v2::Addresses::IPv6(pair) => Some(peer(pair.source_address.into(), pair.source_port)),
        v2::Addresses::Unix(_) => Some(Peer::Local),
        v2::Addresses::Unspecified => None,
    };
    let mut common_name = None;
    for field in header.tlvs() {
        let field = field.map_err(|error| format!("{BAD}: {error}"))?;
        if field.kind == Type::SSL as u8 {
            common_name = verified_name(&field.value)?;
        }
    }
    Ok(Some(Header { len, peer, common_name }))
}

/// The common name in the field about TLS, if the client showed a certificate and the proxy found it good.
fn verified_name(value: &[u8]) -> Result<Option<Arc<str>>, String> {
    let Some((&[client, a, b, c, d], fields)) = value.split_first_chunk() else {
        return Err(format!("{BAD}: its field about TLS is too short"));
    };
    let showed_one = client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0;
    if !showed_one || [a, b, c, d] != [0; 4] {
        return Ok(None);
    }
    for field in v2::TypeLengthValues::from(fields) {
        let field = field.map_err(|error| format!("{BAD}: {error}"))?;
        if field.kind == Type::SSLCommonName as u8 {
            let name = str::from_utf8(&field.value).map_err(|_| format!("{BAD}: a name is no UTF-8"))?;
            return Ok(Some(name.into()));
        }
    }
    Ok(None)
}

fn peer(address: IpAddr, port: u16) -> Peer {
    SocketAddr::new(address.to_canonical(), port).into()
}

const V1_PREFIX: &[u8] = b"PROXY ";

/// The longest line of version 1.
const V1_BYTES_MAX: usize = 107;

const V2_LENGTH_AT: usize = 14;

/// More than proxies have to say.
const V2_BYTES_MAX: usize = 4096;

/// The client showed a certificate on this connection.
const CLIENT_CERT_CONN: u8 = 2;

/// The client showed a certificate earlier in its TLS session.
const CLIENT_CERT_SESS: u8 = 4;

const BAD: &str = "a bad PROXY protocol header";

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u16).to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &len, payload, b"rest"].concat()
    }

    fn tls_field(client: u8, verify: u8, name: &[u8]) -> Vec<u8> {
        let name = [&[0x22, 0, name.len() as u8], name].concat();
        let value = [&[client, 0, 0, 0, verify][..], &name].concat();
        [&[0x20, 0, value.len() as u8], &value[..]].concat()
    }

    const ADDRESSES: [u8; 12] = [10, 1, 2, 3, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b];

    #[test]
    fn both_versions_name_the_client() {
        let v1_header = b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 1883\r\n";
        let client = Some(Peer::Address([10, 1, 2, 3].into(), 12345));
        let header = parse(&[v1_header, &b"rest"[..]].concat()).unwrap().unwrap();
        assert_eq!((header.len, header.peer), (v1_header.len(), client));
        let header = parse(&v2(0x21, 0x11, &ADDRESSES)).unwrap().unwrap();
        assert_eq!((header.len, header.peer), (28, client));
        let six = parse(b"PROXY TCP6 fd00::1 fd00::2 5 6\r\n").unwrap().unwrap();
        assert_eq!(six.peer, Some(Peer::Address("fd00::1".parse().unwrap(), 5)));
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\n").unwrap().unwrap().peer, None);
        assert_eq!(parse(&v2(0x20, 0x00, &[])).unwrap().unwrap().peer, None);
        assert_eq!(parse(&v2(0x20, 0x11, &ADDRESSES)).unwrap().unwrap().peer, None);
    }

    #[test]
    fn a_header_cut_anywhere_is_not_whole_yet() {
        let whole = b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 1883\r\n";
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), Ok(None), "{len}");
        }
        let whole = v2(0x21, 0x11, &ADDRESSES);
        for len in 0..28 {
            assert_eq!(parse(&whole[..len]), Ok(None), "{len}");
        }
    }

    #[test]
    fn the_name_counts_if_the_proxy_has_verified_it() {
        let name_in = |field: Vec<u8>| {
            parse(&v2(0x21, 0x11, &[&ADDRESSES[..], &field].concat())).unwrap().unwrap().common_name
        };
        assert_eq!(name_in(tls_field(0b011, 0, b"meter")).as_deref(), Some("meter"));
        assert_eq!(name_in(tls_field(0b101, 0, b"meter")).as_deref(), Some("meter"));
        assert_eq!(name_in(tls_field(0b001, 0, b"meter")), None, "no certificate");
        assert_eq!(name_in(tls_field(0b011, 1, b"meter")), None, "a bad certificate");
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_can_be_told() {
        let cases: &[&[u8]] = &[
            b"\x10\x0d",
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 1\r\n",
            b"PROXY TCP4 10.1.2.3 10.0.0.1 1 70000\r\n",
            b"PROXY TCP4 fd00::1 10.0.0.1 1 2\r\n",
            b"PROXY NONSENSE\r\n",
            &[&b"PROXY "[..], &[b'x'; 200]].concat(),
            &v2(0x31, 0x11, &ADDRESSES),
            &v2(0x25, 0x11, &ADDRESSES),
            &v2(0x21, 0x11, &ADDRESSES[..5]),
            &v2(0x21, 0x11, &[&ADDRESSES[..], &[0x20, 0, 2, 1, 1]].concat()),
            &v2(0x21, 0x11, &[&ADDRESSES[..], &[0x20, 0xff, 0xff]].concat()),
            &v2(0x21, 0x11, &[&ADDRESSES[..], &tls_field(3, 0, b"\xff")].concat()),
            &[v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat(),
        ];
        for case in cases {
            assert!(parse(case).is_err(), "{:?}", String::from_utf8_lossy(case));
        }
    }
}
