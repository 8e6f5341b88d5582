//! Against our own broker.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use rustix::process::Signal;
use siskin_server::{Config, Server};

use crate::tool::{Running, printed, run, run_with_input, stderr};

struct Broker {
    server: Option<Server>,
    address: SocketAddr,
}

impl Broker {
    fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config { workers: 2, listeners: vec![address.into()], ..Config::default() };
        config.store.durability = siskin_server::config::Durability::Memory;
        let server = Server::start(config).unwrap();
        let address = server.addresses()[0];
        Self { server: Some(server), address }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

#[test]
fn a_payload_arrives_byte_for_byte_in_every_version_at_every_qos() {
    let broker = Broker::start();
    let payload: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for version in ["31", "311", "5"] {
        for qos in 0..=2 {
            let words = format!("pub -V {version} -i p -q {qos} -t bytes -r -s");
            let output = run_with_input(&words, broker.address, &payload);
            assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{words}");
            let words = format!("sub -V {version} -i s -q {qos} -t bytes -C 1 -N -W 20");
            let output = run(&words, broker.address);
            assert_eq!(output.status.code(), Some(0), "{words}");
            assert!(output.stdout == payload, "{words}");
        }
    }
}

#[test]
fn a_file_of_some_megabytes_is_one_message() {
    let broker = Broker::start();
    let path = std::env::temp_dir().join(format!("siskin-pub-{}", std::process::id()));
    let payload = b"0123456789abcdef".repeat(300_000);
    std::fs::write(&path, &payload).unwrap();
    printed(&format!("pub -q 1 -r -t file -f {}", path.display()), broker.address);
    std::fs::remove_file(&path).unwrap();
    let output = run("sub -q 1 -t file -C 1 -N -W 20", broker.address);
    assert!(output.stdout == payload);
}

#[test]
fn a_message_over_the_servers_packet_size_is_not_sent() {
    let broker = Broker::start();
    let output = run_with_input("pub -V 5 -t big -s", broker.address, &vec![0; 17 << 20]);
    assert_eq!(output.status.code(), Some(25), "{}", stderr(&output));
}

#[test]
fn lines_arrive_in_order_and_none_is_missing() {
    let broker = Broker::start();
    let lines: String = (1..=5000).map(|line| format!("line {line}\n")).collect();
    for qos in 1..=2 {
        let session = format!("-i lines-{qos} -c -q {qos} -t lines/{qos}");
        printed(&format!("sub {session} -E"), broker.address);
        // The last line has no end.
        let input = lines.trim_end().as_bytes();
        let output = run_with_input(&format!("pub -l -q {qos} -t lines/{qos}"), broker.address, input);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        assert!(printed(&format!("sub {session} -C 5000 -W 20"), broker.address) == lines);
    }
}

#[test]
fn messages_are_printed_as_they_come() {
    let broker = Broker::start();
    let mut subscriber = Running::subscribed("sub -d -v -t a/+ -t b -C 4 -W 20", broker.address);
    for (words, expected) in
        [("pub -t a/1 -m one", "a/1 one"), ("pub -t b -m two -q 2", "b two"), ("pub -t a/2 -n", "a/2 (null)")]
    {
        printed(words, broker.address);
        assert_eq!(subscriber.message(), expected);
    }
    printed("pub -t a/3 -m last", broker.address);
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn lines_are_published_as_they_come() {
    let broker = Broker::start();
    let mut subscriber = Running::subscribed("sub -d -t live -W 20", broker.address);
    let mut publisher = Running::start("pub -l -t live", broker.address);
    for line in ["first", "second"] {
        writeln!(publisher.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        assert_eq!(subscriber.message(), line);
    }
    drop(publisher.child.stdin.take());
    assert_eq!(publisher.end(), (Some(0), String::new()));
}

#[test]
fn a_kept_session_receives_what_came_while_nobody_was_there() {
    let broker = Broker::start();
    printed("sub -i keeper -c -q 1 -t kept -E", broker.address);
    printed("pub -q 1 -t kept -m away", broker.address);
    assert_eq!(printed("sub -i keeper -c -q 1 -t kept -C 1 -W 20", broker.address), "away\n");
    printed("sub -i keeper -c -U kept -E", broker.address);
    printed("pub -q 1 -t kept -m late", broker.address);
    printed("pub -q 1 -r -t mark -m mark", broker.address);
    assert_eq!(printed("sub -i keeper -c -q 1 -t mark -C 1 -W 20", broker.address), "mark\n");
}

#[test]
fn messages_behind_the_last_wanted_stay_in_the_session() {
    let broker = Broker::start();
    printed("sub -i one-by-one -c -q 1 -t queue -E", broker.address);
    run_with_input("pub -l -q 1 -t queue", broker.address, b"1\n2\n3\n");
    for expected in ["1\n", "2\n", "3\n"] {
        assert_eq!(printed("sub -i one-by-one -c -q 1 -t queue -C 1 -W 20", broker.address), expected);
    }
}

#[test]
fn an_empty_retained_message_removes_the_one_before() {
    let broker = Broker::start();
    printed("pub -t r/1 -r -q 1 -m old", broker.address);
    printed("pub -t r/1 -r -q 1 -n", broker.address);
    printed("pub -t r/2 -r -q 1 -m there", broker.address);
    assert_eq!(printed("sub -t r/# -v -C 1 -W 20", broker.address), "r/2 there\n");
}

#[test]
fn retained_messages_are_removed_except_those_filtered_out() {
    let broker = Broker::start();
    for topic in ["r/1", "r/2", "r/3"] {
        printed(&format!("pub -t {topic} -r -q 1 -m x"), broker.address);
    }
    let removed = printed("sub -t r/# -T r/2 --remove-retained -v -C 2 -W 20", broker.address);
    assert_eq!(removed.lines().count(), 2);
    assert_eq!(printed("sub -t r/# -v -C 1 -W 20", broker.address), "r/2 x\n");
}

#[test]
fn retained_only_ends_at_the_first_fresh_message() {
    let broker = Broker::start();
    printed("pub -t r -r -q 1 -m kept", broker.address);
    let mut subscriber = Running::subscribed("sub -d -t r --retained-only -W 20", broker.address);
    assert_eq!(subscriber.message(), "kept");
    printed("pub -t r -m fresh", broker.address);
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn a_format_shows_topic_flags_and_properties() {
    let broker = Broker::start();
    let properties =
        "-D publish content-type text/plain -D publish user-property k v -D publish response-topic re";
    printed(&format!("pub -V 5 -t f/t -q 1 -r -m hello {properties}"), broker.address);
    let words = "sub -V 5 -t f/t -q 1 -C 1 -W 20 -D subscribe subscription-identifier 7 -F %t|%C|%P|%R|%S|%q|%r|%l|%x";
    assert_eq!(printed(words, broker.address), "f/t|text/plain|k:v|re|7|1|1|5|68656c6c6f\n");
}

#[test]
fn a_topic_alias_stands_for_the_topic_of_all_lines_but_the_first() {
    let broker = Broker::start();
    printed("sub -V 5 -i aliased -c -q 1 -t long/topic -E", broker.address);
    let words = "pub -V 5 -l -q 1 -t long/topic -D publish topic-alias 3";
    let output = run_with_input(words, broker.address, b"1\n2\n3\n");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let received = printed("sub -V 5 -i aliased -c -q 1 -t long/topic -C 3 -v -W 20", broker.address);
    assert_eq!(received, "long/topic 1\nlong/topic 2\nlong/topic 3\n");
}

#[test]
fn when_the_time_is_up_the_status_is_27() {
    let broker = Broker::start();
    let output = run("sub -t nothing -W 1", broker.address);
    assert_eq!((output.status.code(), stderr(&output)), (Some(27), "Timed out\n".into()));
    assert_eq!(stderr(&run("sub -t nothing -W 1 --quiet", broker.address)), "");
}

#[test]
fn a_signal_ends_in_good_order_and_releases_no_will() {
    let broker = Broker::start();
    let mut watcher = Running::subscribed("sub -d -t will -W 20", broker.address);
    for signal in [Signal::INT, Signal::TERM] {
        let words = "sub -d -t x --will-topic will --will-payload gone -W 20";
        let subscriber = Running::subscribed(words, broker.address);
        subscriber.signal(signal);
        assert_eq!(subscriber.end(), (Some(0), String::new()));
    }
    printed("pub -t will -m mark", broker.address);
    assert_eq!(watcher.message(), "mark");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let broker = Broker::start();
    let mut subscriber = Running::subscribed("sub -d -t pipe -W 20", broker.address);
    subscriber.close_output();
    while subscriber.child.try_wait().unwrap().is_none() {
        printed("pub -t pipe -m more", broker.address);
    }
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn a_session_taken_over_ends_with_its_reason_code() {
    let broker = Broker::start();
    let first = Running::subscribed("sub -d -V 5 -i same -t x -W 20", broker.address);
    printed("sub -V 5 -i same -t x -E", broker.address);
    let (status, errors) = first.end();
    assert_eq!(status, Some(0x8E));
    assert!(errors.contains("Session taken over"), "{errors}");
}

#[test]
fn repetitions_are_messages_of_their_own() {
    let broker = Broker::start();
    let mut subscriber = Running::subscribed("sub -d -t again -C 3 -W 20", broker.address);
    printed("pub -t again -m x --repeat 3 --repeat-delay 0.01", broker.address);
    for _ in 0..3 {
        assert_eq!(subscriber.message(), "x");
    }
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn a_url_says_where_and_to_which_topic() {
    let broker = Broker::start();
    let mut subscriber = Running::subscribed("sub -d -t by/url -C 1 -W 20", broker.address);
    let url = format!("mqtt://{}/by/url", broker.address);
    let mut publisher = Command::new(env!("CARGO_BIN_EXE_siskin"));
    assert!(publisher.args(["pub", "-m", "x", "-L", &url]).status().unwrap().success());
    assert_eq!(subscriber.message(), "x");
}
