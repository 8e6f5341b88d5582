//! Any packet that may be sent in a version, in the form in which it is sent.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use siskin_proto::{
    Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PingReq, PingResp, Properties, PropertiesBuf,
    Property, PubAck, PubComp, PubRec, PubRel, Publish, Qos, Reason, RetainHandling, SubAck, Subscribe,
    SubscriptionOptions, TopicFilter, TopicName, UnsubAck, Unsubscribe, Version, Will,
};

/// Any version.
pub(crate) fn version() -> impl Strategy<Value = Version> {
    select(&[Version::V3_1, Version::V3_1_1, Version::V5][..])
}

/// Any packet of `version`.
pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet<'static>> {
    let both = prop_oneof![
        connect(version).prop_map(Packet::Connect),
        connack(version).prop_map(Packet::ConnAck),
        publish(version).prop_map(Packet::Publish),
        acknowledgement(version),
        subscribe(version).prop_map(Packet::Subscribe),
        suback(version).prop_map(Packet::SubAck),
        unsubscribe(version).prop_map(Packet::Unsubscribe),
        unsuback(version).prop_map(Packet::UnsubAck),
        Just(Packet::PingReq(PingReq)),
        Just(Packet::PingResp(PingResp)),
        disconnect(version).prop_map(Packet::Disconnect),
    ];
    if version.is_v5() {
        prop_oneof![10 => both, 1 => auth().prop_map(Packet::Auth)].boxed()
    } else {
        both.boxed()
    }
}

/// Any topic name.
pub(crate) fn topic_name() -> impl Strategy<Value = TopicName<'static>> {
    let level = text().prop_map(|text| text.replace(['+', '#', '/'], "x"));
    vec(level, 1..6).prop_map(|levels| {
        let text = levels.join("/");
        TopicName::parse(keep_text(if text.is_empty() { "$".into() } else { text })).unwrap()
    })
}

/// Any topic filter, one in four shared.
pub(crate) fn topic_filter() -> impl Strategy<Value = TopicFilter<'static>> {
    let level =
        prop_oneof![3 => text().prop_map(|text| text.replace(['+', '#', '/'], "x")), 1 => Just("+".into())];
    (vec(level, 1..6), any::<bool>(), 0..4).prop_map(|(mut levels, all_below, shared)| {
        if all_below {
            levels.push("#".into());
        }
        let filter = levels.join("/");
        let filter = if filter.is_empty() { "/".into() } else { filter };
        let text = if shared == 0 { format!("$share/group/{filter}") } else { filter };
        TopicFilter::parse(keep_text(text)).unwrap()
    })
}

fn connect(version: Version) -> impl Strategy<Value = Connect<'static>> {
    let properties = properties(
        version,
        &[
            Property::SessionExpiryInterval(7),
            Property::ReceiveMaximum(65_535),
            Property::MaximumPacketSize(u32::MAX),
            Property::TopicAliasMaximum(0),
            Property::RequestResponseInformation(true),
            Property::RequestProblemInformation(false),
            Property::AuthenticationMethod("SCRAM"),
        ],
    );
    let credentials = (option::of(text().prop_map(keep_text)), option::of(bytes()));
    (any::<(bool, u16, bool)>(), text(), option::of(will(version)), credentials, properties).prop_map(
        move |((clean_start, keep_alive_s, bridge), client_id, will, (user_name, password), properties)| {
            Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id: keep_text(client_id),
                will,
                user_name,
                password: password.filter(|_| version.is_v5() || user_name.is_some()),
                properties,
                bridge: bridge && !version.is_v5(),
            }
        },
    )
}

fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    let properties = properties(
        version,
        &[
            Property::WillDelayInterval(1),
            Property::PayloadFormatIndicator(1),
            Property::MessageExpiryInterval(u32::MAX),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("re"),
            Property::CorrelationData(b"\0\xFF"),
        ],
    );
    (topic_name(), bytes(), qos(), any::<bool>(), properties).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    )
}

fn connack(version: Version) -> impl Strategy<Value = ConnAck<'static>> {
    let reasons: &[u8] = if version.is_v5() {
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x88, 0x8A, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C,
            0x9D, 0x9F,
        ]
    } else {
        &[0x00, 0x84, 0x85, 0x86, 0x87, 0x88]
    };
    let properties = properties(
        version,
        &[
            Property::SessionExpiryInterval(0),
            Property::ReceiveMaximum(1),
            Property::MaximumQos(1),
            Property::RetainAvailable(false),
            Property::MaximumPacketSize(1),
            Property::AssignedClientIdentifier("given"),
            Property::TopicAliasMaximum(9),
            Property::ReasonString("so"),
            Property::WildcardSubscriptionAvailable(true),
            Property::SubscriptionIdentifierAvailable(false),
            Property::SharedSubscriptionAvailable(true),
            Property::ServerKeepAlive(1),
            Property::ResponseInformation("re/"),
            Property::ServerReference("there"),
            Property::AuthenticationMethod("m"),
            Property::AuthenticationData(b""),
        ],
    );
    (any::<bool>(), reason(reasons), properties).prop_map(move |(session_present, reason, properties)| {
        ConnAck {
            session_present: session_present && !reason.is_error() && version != Version::V3_1,
            reason,
            properties,
        }
    })
}

fn publish(version: Version) -> impl Strategy<Value = Publish<'static>> {
    let properties = properties(
        version,
        &[
            Property::PayloadFormatIndicator(0),
            Property::MessageExpiryInterval(0),
            Property::TopicAlias(65_535),
            Property::ResponseTopic("a/b"),
            Property::CorrelationData(b""),
            Property::SubscriptionIdentifier(268_435_455),
            Property::ContentType(""),
        ],
    );
    (any::<(bool, bool, bool)>(), qos(), topic_name(), packet_id(), properties, bytes()).prop_map(
        |((dup, retain, alias_only), qos, topic, packet_id, properties, payload)| Publish {
            dup: dup && qos != Qos::AtMostOnce,
            qos,
            retain,
            topic: (!alias_only || properties.topic_alias().is_none()).then_some(topic),
            packet_id: (qos != Qos::AtMostOnce).then_some(packet_id),
            properties,
            payload,
        },
    )
}

fn acknowledgement(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let of_publish: &[u8] =
        if version.is_v5() { &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] } else { &[0] };
    let of_release: &[u8] = if version.is_v5() { &[0x00, 0x92] } else { &[0] };
    let properties = properties(version, &[Property::ReasonString("because")]);
    (0..4, packet_id(), reason(of_publish), reason(of_release), properties).prop_map(
        |(kind, packet_id, reason, release, properties)| match kind {
            0 => Packet::PubAck(PubAck { packet_id, reason, properties }),
            1 => Packet::PubRec(PubRec { packet_id, reason, properties }),
            2 => Packet::PubRel(PubRel { packet_id, reason: release, properties }),
            _ => Packet::PubComp(PubComp { packet_id, reason: release, properties }),
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe<'static>> {
    let handling =
        select(&[RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend][..]);
    let options = (qos(), any::<(bool, bool)>(), handling).prop_map(
        move |(qos, (no_local, retain_as_published), retain_handling)| match version {
            Version::V5 => SubscriptionOptions { qos, no_local, retain_as_published, retain_handling },
            _ => SubscriptionOptions { qos, ..SubscriptionOptions::default() },
        },
    );
    let properties = properties(version, &[Property::SubscriptionIdentifier(1)]);
    (packet_id(), properties, vec((topic_filter(), options), 1..5))
        .prop_map(|(packet_id, properties, filters)| Subscribe { packet_id, properties, filters })
}

fn suback(version: Version) -> impl Strategy<Value = SubAck<'static>> {
    let reasons: &[u8] = if version.is_v5() {
        &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]
    } else {
        &[0x00, 0x01, 0x02, 0x80]
    };
    (packet_id(), properties(version, &[Property::ReasonString("")]), vec(reason(reasons), 1..5))
        .prop_map(|(packet_id, properties, reasons)| SubAck { packet_id, properties, reasons })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe<'static>> {
    (packet_id(), properties(version, &[]), vec(topic_filter(), 1..5))
        .prop_map(|(packet_id, properties, filters)| Unsubscribe { packet_id, properties, filters })
}

fn unsuback(version: Version) -> impl Strategy<Value = UnsubAck<'static>> {
    let reasons = vec(reason(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]), 1..5);
    (packet_id(), properties(version, &[Property::ReasonString("x")]), reasons).prop_map(
        move |(packet_id, properties, reasons)| UnsubAck {
            packet_id,
            properties,
            reasons: if version.is_v5() { reasons } else { Vec::new() },
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Disconnect<'static>> {
    let reasons: &[u8] =
        if version.is_v5() { &[0x00, 0x04, 0x81, 0x8B, 0x8E, 0x98, 0x9D, 0xA0] } else { &[0] };
    let properties = properties(
        version,
        &[
            Property::SessionExpiryInterval(3),
            Property::ReasonString("enough"),
            Property::ServerReference("elsewhere"),
        ],
    );
    (reason(reasons), properties).prop_map(|(reason, properties)| Disconnect { reason, properties })
}

fn auth() -> impl Strategy<Value = Auth<'static>> {
    let optional = [Property::AuthenticationData(b"data"), Property::ReasonString("x")];
    (reason(&[0x00, 0x18, 0x19]), properties(Version::V5, &optional), any::<bool>()).prop_map(
        |(reason, others, is_empty)| {
            if is_empty {
                return Auth { reason: Reason::Success, properties: Properties::EMPTY };
            }
            let method = [Property::AuthenticationMethod("m")];
            let properties = keep(method.into_iter().chain(others.iter()).collect());
            Auth { reason, properties }
        },
    )
}

/// Some of `single` and some user properties, in any order; none before 5.0.
fn properties(version: Version, single: &[Property<'static>]) -> BoxedStrategy<Properties<'static>> {
    if !version.is_v5() {
        return Just(Properties::EMPTY).boxed();
    }
    let pair = (text(), text())
        .prop_map(|(name, value)| Property::UserProperty((keep_text(name), keep_text(value))));
    (subsequence(single.to_vec(), 0..=single.len()), vec(pair, 0..3))
        .prop_map(|(single, pairs)| [single, pairs].concat())
        .prop_shuffle()
        .prop_map(|list| keep(list.into_iter().collect()))
        .boxed()
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = Reason> {
    select(codes).prop_map(|code| Reason::from_u8(code).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..])
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().filter(|char| *char != '\0').collect())
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    // Now and then more than one byte of remaining length can say.
    prop_oneof![9 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 100..20_000)]
        .prop_map(|bytes| &*Box::leak(bytes.into_boxed_slice()))
}

/// Packets borrow; what they borrow from here lives as long as the test.
fn keep_text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn keep(properties: PropertiesBuf) -> Properties<'static> {
    Box::leak(Box::new(properties)).as_properties()
}
