//! The terms of a listener that concern CONNECT: which versions come in, and who a client is by its
//! certificate.

use siskin_core::Cause;
use siskin_proto::{ConnAck, Connect, Frame, Properties, Reason, Version, decode_connect};

use crate::config::{ClientCertificates, Identity, IdentityIs, Listener};
use crate::transport::{Transport, identity, is_usable};

/// What becomes of a CONNECT before the core sees it.
#[derive(Debug, PartialEq)]
pub(super) enum Admission {
    AsItIs,
    /// With the name that the certificate gives the client.
    Rewritten(Vec<u8>),
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
    Admission::Rewritten(bytes)
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
    let mut reply = Vec::new();
    // [MQTT-3.1.2-2] [MQTT5 3.1.2-2] In its own version, which is one that we speak elsewhere.
    let answer = ConnAck { session_present: false, reason, properties: Properties::EMPTY };
    answer.encode(connect.version, &mut reply);
    // [MQTT5 3.1.2-24]
    let reply_max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
    if connect.version == Version::V5 && reply.len() > reply_max as usize {
        reply.clear();
    }
    Admission::Refused { reply, cause: Cause::Refused(reason), client_id: connect.client_id.to_owned() }
}
