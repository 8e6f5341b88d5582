use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use siskin_proto::{PropertiesBuf, Property};

use super::super::Op;
use super::*;

/// What `record` is on disk.
fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match record {
        Record::Node { seed } => write_node(&mut out, *seed),
        Record::Session(session) => write_session(&mut out, session),
        Record::Subscription(subscription) => write_subscription(&mut out, subscription),
        Record::Message(MessageRecord { parts, is_retained, receivers }) => {
            write_message(&mut out, parts, *is_retained, receivers);
        }
        Record::Received { session, packet_id } => write_received(&mut out, *session, *packet_id),
        Record::Will(will) => write_will(&mut out, will),
        Record::Feed(feed) => write_feed(&mut out, feed),
    }
    out
}

/// The record comes back as it went in, and cut short it is damaged or another that is whole.
fn check(record: &Record<'_>) {
    let bytes = encode(record);
    let decoded = Record::decode(&bytes).expect("what was written can be read");
    assert_eq!(format!("{decoded:?}"), format!("{record:?}"));
    for len in 0..bytes.len() {
        if let Ok(shorter) = Record::decode(&bytes[..len]) {
            assert_eq!(encode(&shorter), bytes[..len], "{len} of {} bytes", bytes.len());
        }
    }
}

/// Whatever the bytes are, what they are read as is a record that can be kept.
fn check_any(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let again = encode(&record);
        let read = Record::decode(&again).expect("what was written can be read");
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
    }
}

fn ids() -> impl Strategy<Value = RecordId> {
    prop_oneof![1..300_u64, 1..=u64::MAX].prop_map(|number| RecordId::new(number).expect("not zero"))
}

fn packet_ids() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).expect("not zero"))
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1), Just(Version::V5)]
}

fn qualities() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

/// Any but the end of time, which is not told from the moment before it.
fn moments() -> impl Strategy<Value = Now> {
    prop_oneof![0..1000_u64, 0..u64::MAX].prop_map(Now::from_millis)
}

fn handlings() -> impl Strategy<Value = RetainHandling> {
    prop_oneof![
        Just(RetainHandling::SendAtSubscribe),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ]
}

fn subscription_options() -> impl Strategy<Value = SubscriptionOptions> {
    (qualities(), any::<bool>(), any::<bool>(), handlings()).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn filters() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zäß/]{1,200}", Just("#".into()), "\\$share/[a-z]{1,9}/[a-z]{1,9}/\\+/#", "\\+/[a-z]{0,9}"]
}

fn properties() -> impl Strategy<Value = PropertiesBuf> {
    let users = vec(("[a-zä]{0,9}", "[a-z]{0,200}"), 0..4);
    (users, option::of("[a-z]{0,9}"), option::of(vec(any::<u8>(), 0..200))).prop_map(
        |(users, content_type, correlation)| {
            let mut buffer = PropertiesBuf::new();
            for (name, value) in &users {
                buffer.push(Property::UserProperty((name, value)));
            }
            content_type.iter().for_each(|text| buffer.push(Property::ContentType(text)));
            correlation.iter().for_each(|data| buffer.push(Property::CorrelationData(data)));
            buffer
        },
    )
}

fn receivers() -> impl Strategy<Value = Receiver> {
    let share = option::of("\\$share/[a-z]{1,9}/[a-z]{1,9}");
    let ids = vec(prop_oneof![1..300_u32, 1..=SUBSCRIPTION_ID_MAX], 0..4);
    (ids_or_none(), qualities(), any::<bool>(), ids, share).prop_map(
        |(session, qos, retain, subscription_ids, share)| Receiver {
            session,
            qos,
            retain,
            subscription_ids,
            share: share.map(Into::into),
        },
    )
}

#[test]
fn a_session_without_a_user_name_is_written_as_before_there_were_any() {
    let mut body = Vec::new();
    let session =
        SessionRecord { client_id: "id", user_name: None, version: Version::V5, expiry_s: 7, since: None };
    write_session(&mut body, &session);
    assert_eq!(body, b"\x02\x05\x07\0id");
    body.clear();
    write_session(&mut body, &SessionRecord { user_name: Some("me"), ..session });
    assert_eq!(body, b"\x02\x85\x07\0\x02meid");
}

fn ids_or_none() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, any::<u64>()]
}

proptest! {
    #[test]
    fn node_and_packet_id_come_back_as_they_were(
        seed in any::<u64>(), session in ids(), packet_id in packet_ids(),
    ) {
        check(&Record::Node { seed });
        check(&Record::Received { session, packet_id });
    }

    #[test]
    fn feeds_come_back_as_they_were(session in ids(), subscription in ids(), after in "\\PC{0,200}") {
        check(&Record::Feed(FeedRecord { session, subscription, after: &after }));
    }

    #[test]
    fn sessions_come_back_as_they_were(
        client_id in "\\PC{0,200}", user_name in option::of("\\PC{0,20}"),
        version in versions(), expiry_s in any::<u32>(), since in option::of(moments()),
    ) {
        let user_name = user_name.as_deref();
        check(&Record::Session(SessionRecord { client_id: &client_id, user_name, version, expiry_s, since }));
    }

    #[test]
    fn subscriptions_come_back_as_they_were(
        session in ids(), options in subscription_options(), id in 0..=SUBSCRIPTION_ID_MAX, filter in filters(),
    ) {
        let id = NonZeroU32::new(id);
        check(&Record::Subscription(SubscriptionRecord { session, options, id, filter: &filter }));
    }

    #[test]
    fn messages_come_back_as_they_were(
        (topic, properties, payload) in ("[a-zä/]{1,200}", properties(), vec(any::<u8>(), 0..300)),
        (qos, retain, is_retained) in (qualities(), any::<bool>(), any::<bool>()),
        publisher in option::of(1..=u64::MAX),
        (expires_at, kept_until) in (option::of(moments()), option::of(moments())),
        receivers in vec(receivers(), 0..5),
    ) {
        let parts = Parts {
            topic: &topic,
            properties: properties.as_properties(),
            payload: &payload,
            qos,
            retain,
            publisher: publisher.and_then(Publisher::from_hash),
            received_at: Now::default(),
            expires_at,
            kept_until,
            record: None,
        };
        check(&Record::Message(MessageRecord { parts, is_retained, receivers }));
    }

    #[test]
    fn wills_come_back_as_they_were(
        session in option::of(ids()),
        (client_id, topic) in ("\\PC{0,200}", "[a-zä/]{1,200}"),
        (delay_s, expiry_s, due_at) in (any::<u32>(), option::of(any::<u32>()), option::of(moments())),
        (properties, payload) in (properties(), vec(any::<u8>(), 0..300)),
        (qos, retain) in (qualities(), any::<bool>()),
        user_name in option::of("\\PC{0,20}"),
    ) {
        check(&Record::Will(WillRecord {
            session,
            client_id: &client_id,
            user_name: user_name.as_deref(),
            delay_s,
            expiry_s,
            due_at,
            topic: &topic,
            properties: properties.as_properties(),
            payload: &payload,
            qos,
            retain,
        }));
    }

    #[test]
    fn any_bytes_are_damaged_or_a_record(
        kind in 0..=WILL + 1, bytes in vec(prop_oneof![any::<u8>(), 0..8_u8, Just(b'a')], 0..200),
    ) {
        check_any(&[&[kind], bytes.as_slice()].concat());
    }

    #[test]
    fn a_record_with_a_byte_changed_is_damaged_or_a_record(
        receivers in vec(receivers(), 0..3), properties in properties(), at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let parts = Parts {
            topic: "a/b",
            properties: properties.as_properties(),
            payload: b"payload",
            qos: Qos::AtLeastOnce,
            retain: true,
            publisher: Publisher::from_hash(7),
            received_at: Now::default(),
            expires_at: Some(Now::from_millis(1000)),
            kept_until: Some(Now::from_millis(2000)),
            record: None,
        };
        let mut bytes = encode(&Record::Message(MessageRecord { parts, is_retained: true, receivers }));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check_any(&bytes);
    }

    #[test]
    fn any_bytes_are_operations_up_to_where_they_are_none(
        bytes in vec(prop_oneof![any::<u8>(), 0..4_u8], 0..200),
    ) {
        let mut rest = bytes.as_slice();
        while let Ok(op) = Op::decode(&mut rest) {
            if let Op::Put { body, .. } = op {
                prop_assert!(body.len() < bytes.len());
                check_any(body);
            }
        }
        prop_assert!(rest.len() <= bytes.len());
    }

    #[test]
    fn notes_come_back_as_they_were_and_others_mean_nothing(id in packet_ids(), note in any::<u32>()) {
        for progress in [Progress::Queued, Progress::Sent(id), Progress::Released(id)] {
            prop_assert_eq!(Progress::from_note(progress.note()), Some(progress));
        }
        if let Some(progress) = Progress::from_note(note) {
            prop_assert_eq!(progress.note(), note);
        }
    }
}

#[test]
fn a_count_of_more_than_there_is_takes_no_memory_for_it() {
    // A message on `a` without properties, of four billion receivers.
    let bytes = [MESSAGE, 0, 1, b'a', 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(Record::decode(&bytes).is_err());
    // A receiver of four billion identifiers, of which none is there.
    let bytes = [MESSAGE, 0, 1, b'a', 0, 1, 1, HAS_IDS, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(Record::decode(&bytes).is_err());
}

#[test]
fn an_identifier_that_fits_into_no_packet_is_damaged() {
    let subscription = |id: u32| {
        let mut bytes = vec![SUBSCRIPTION, 1, 0];
        write_varint(&mut bytes, id.into());
        bytes.push(b'a');
        Record::decode(&bytes).is_ok()
    };
    assert!(subscription(0) && subscription(SUBSCRIPTION_ID_MAX) && !subscription(SUBSCRIPTION_ID_MAX + 1));
}
