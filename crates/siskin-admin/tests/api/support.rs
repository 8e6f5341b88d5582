//! A broker with its API, and clients of both.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use siskin_admin::Admin;
use siskin_server::config::{AdminListen, Durability};
use siskin_server::{Config, Server};
use ureq::Agent;

/// A broker on free ports, with its API.
pub(crate) struct Broker {
    pub(crate) server: Server,
    pub(crate) admin: Admin,
    pub(crate) agent: Agent,
}

/// The configuration of a broker for tests.
pub(crate) fn config() -> Config {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { workers: 2, listeners: vec![local.into()], ..Config::default() };
    config.limits.sys_interval_s = 0;
    config.store.durability = Durability::Memory;
    config.transport.close_timeout_ms = 200;
    config.admin.listen = AdminListen::At(local);
    config
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let server = Server::start(config).unwrap();
        let admin = Admin::start(server.handle()).unwrap().unwrap();
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .build()
            .into();
        Self { server, admin, agent }
    }

    pub(crate) fn stop(self) {
        self.admin.stop();
        self.server.stop();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.address())
    }

    /// The answer to a GET and its status.
    pub(crate) fn try_get(&self, path: &str) -> (u16, Value) {
        answer(self.agent.get(self.url(path)).call())
    }

    /// The answer to a GET that works.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, value) = self.try_get(path);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub(crate) fn text(&self, path: &str) -> String {
        self.agent.get(self.url(path)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    pub(crate) fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.agent.delete(self.url(path)).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(self.url(path)).header("Content-Type", "application/json");
        answer(request.send(body.to_string()))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.put(self.url(path)).header("Content-Type", "application/json");
        answer(request.send(body.to_string()))
    }

    /// What comes back for these bytes, up to the end of the connection.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A connected client.
    pub(crate) fn client(&self, client_id: &str) -> Client {
        Client::connect(self, client_id, 2, 0)
    }
}

fn answer(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = answered.unwrap();
    let text = response.body_mut().with_config().limit(1 << 28).read_to_string().unwrap();
    let value = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (response.status().as_u16(), value)
}

/// An MQTT 5.0 client of few words.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// `flags` are those of CONNECT: 2 is clean start.
    pub(crate) fn connect(broker: &Broker, client_id: &str, flags: u8, expiry_s: u32) -> Self {
        Self::connect_as(broker, client_id, "", flags, expiry_s)
    }

    /// With a user name that is its password too, and clean start.
    pub(crate) fn of_user(broker: &Broker, client_id: &str, user_name: &str) -> Self {
        Self::connect_as(broker, client_id, user_name, 0xC2, 0)
    }

    fn connect_as(broker: &Broker, client_id: &str, user_name: &str, flags: u8, expiry_s: u32) -> Self {
        let mut stream = TcpStream::connect(broker.server.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = b"\0\x04MQTT\x05".to_vec();
        rest.extend([flags, 0, 0, 5, 0x11]);
        rest.extend(expiry_s.to_be_bytes());
        rest.extend((client_id.len() as u16).to_be_bytes());
        rest.extend(client_id.as_bytes());
        for text in [user_name; 2].iter().filter(|text| !text.is_empty()) {
            rest.extend((text.len() as u16).to_be_bytes());
            rest.extend(text.as_bytes());
        }
        stream.write_all(&packet(0x10, &rest)).unwrap();
        let mut client = Self { stream };
        let (first, body) = client.next().unwrap();
        assert_eq!((first, body[1]), (0x20, 0));
        client
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut rest = vec![0, 1, 0];
        rest.extend((filter.len() as u16).to_be_bytes());
        rest.extend(filter.as_bytes());
        rest.push(qos);
        self.stream.write_all(&packet(0x82, &rest)).unwrap();
        assert_eq!(self.next().unwrap().0, 0x90);
    }

    /// Publishes at QoS 0, or at 1 and waits for the PUBACK.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        let mut rest = (topic.len() as u16).to_be_bytes().to_vec();
        rest.extend(topic.as_bytes());
        if qos > 0 {
            rest.extend([0, 9]);
        }
        rest.push(0);
        rest.extend(payload);
        self.stream.write_all(&packet(0x30 | qos << 1 | u8::from(retain), &rest)).unwrap();
        if qos > 0 {
            assert_eq!(self.next().unwrap().0, 0x40);
        }
    }

    /// Publishes with a user property, at QoS 1, and waits for the PUBACK.
    pub(crate) fn publish_with_user_property(&mut self, topic: &str, payload: &[u8], property: (&str, &str)) {
        let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        let property = [vec![0x26], text(property.0), text(property.1)].concat();
        let rest = [&text(topic)[..], &[0, 9, property.len() as u8], &property, payload].concat();
        self.stream.write_all(&packet(0x32, &rest)).unwrap();
        assert_eq!(self.next().unwrap().0, 0x40);
    }

    /// Waits until the broker has handled all that was sent to it.
    pub(crate) fn ping(&mut self) {
        self.stream.write_all(&[0xC0, 0]).unwrap();
        assert_eq!(self.next().unwrap().0, 0xD0);
    }

    /// First byte and body of the next packet; None at the end.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        let first = byte[0];
        let (mut len, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte).ok()?;
            len |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).ok()?;
        Some((first, body))
    }
}

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = rest.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        packet.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            break;
        }
    }
    packet.extend(rest);
    packet
}
