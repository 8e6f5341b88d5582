//! The terms of a listener that concern CONNECT: which versions come in, and who a client is by its
//! certificate.

use siskin_core::Cause;
use siskin_proto::{ConnAck, Connect, Frame, Properties, PropertiesBuf, Property, Reason, decode_connect};

use crate::config::{ClientCertificates, Identity, IdentityIs, Listener};
use crate::transport::{Transport, identity, is_usable};

/// What becomes of a CONNECT before the core sees it.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    AsItIs,
    /// With the name that the certificate gives the client.
    Named(Vec<u8>),
    Refused {
        reply: Vec<u8>,
        cause: Cause,
        client_id: String,
    },
}

/// Holds the first frame of `transport` against the terms of its listener.
pub(super) fn admit(frame: Frame<'_>, listener: &Listener, transport: &Transport) -> Admission {
    let names_clients = listener.identity != Identity::None;
    if listener.versions.is_empty() && !names_clients {
        return Admission::AsItIs;
    }
    // The core says what is wrong with it.
    let Ok(mut connect) = decode_connect(frame) else { return Admission::AsItIs };
    if !listener.versions.is_empty() && !listener.versions.contains(&connect.version) {
        return refuse(&connect, Reason::UnsupportedProtocolVersion);
    }
    if !names_clients {
        return Admission::AsItIs;
    }
    let Some(name) = name(listener, transport) else {
        let is_optional =
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificates == ClientCertificates::Optional);
        // One who shows a certificate without the name is not one who shows none.
        return match is_optional && certificate(transport).is_none() {
            true => Admission::AsItIs,
            false => refuse(&connect, Reason::NotAuthorized),
        };
    };
    match listener.identity_is {
        IdentityIs::UserName => connect.user_name = Some(&name),
        IdentityIs::ClientId => connect.client_id = &name,
    }
    let mut bytes = Vec::new();
    connect.encode(connect.version, &mut bytes);
    Admission::Named(bytes)
}

/// Who the client is by its certificate, or by what a proxy says of it.
fn name(listener: &Listener, transport: &Transport) -> Option<String> {
    if let Some(certificate) = certificate(transport) {
        return identity(certificate, listener.identity);
    }
    let Transport::Layered(layered) = transport else { return None };
    let name = layered.proxied_name().filter(|name| is_usable(name))?;
    (listener.identity == Identity::CommonName).then(|| name.to_owned())
}

fn certificate(transport: &Transport) -> Option<&[u8]> {
    match transport {
        Transport::Layered(layered) => layered.client_certificate(),
        Transport::Tcp(_) | Transport::Unix(_) => None,
    }
}

fn refuse(connect: &Connect<'_>, reason: Reason) -> Admission {
    // [MQTT-3.1.2-2] [MQTT5 3.1.2-2] In its own version, which is one that we speak elsewhere.
    let reply = refusal(connect, reason, "");
    Admission::Refused { reply, cause: Cause::Refused(reason), client_id: connect.client_id.to_owned() }
}

/// The CONNACK that says no, with what a 5.0 client may be told; empty where the client would not take even that.
pub(super) fn refusal(connect: &Connect<'_>, reason: Reason, told: &str) -> Vec<u8> {
    let mut text = PropertiesBuf::new();
    if connect.version.is_v5() && !told.is_empty() {
        text.push(Property::ReasonString(told));
    }
    let reply_max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX) as usize;
    // [MQTT5 3.1.2-24] [MQTT5 3.2.2-19] Without the text if it does not fit with it.
    for properties in [text.as_properties(), Properties::EMPTY] {
        let answer = ConnAck { session_present: false, reason, properties };
        if !connect.version.is_v5() || answer.encoded_len(connect.version) <= reply_max {
            let mut reply = Vec::new();
            answer.encode(connect.version, &mut reply);
            return reply;
        }
    }
    Vec::new()
}

/// A CONNECT for those who need not see the password.
pub(super) fn without_password(connect: &Connect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect { password: None, ..*connect }.encode(connect.version, &mut bytes);
    bytes
}
