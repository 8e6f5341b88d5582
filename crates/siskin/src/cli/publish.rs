//! `siskin pub`: publishes one message, many, or the lines of standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgGroup;
use siskin_proto::{PACKET_SIZE_MAX, PropertiesBuf, Qos, Reason};

use super::client::{
    CONNECTION_LOST, Client, ConnectionArgs, Failure, Incoming, Outgoing, PAYLOAD_SIZE, PROPERTIES_HELP,
    Woken, end, packets, parse_qos, topic_name,
};

/// Publish messages to an MQTT server.
///
/// With QoS 1 or 2 it ends when the server has acknowledged every message.
#[derive(clap::Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = after_help())]
#[command(override_usage = "siskin pub -t TOPIC {-m PAYLOAD | -f PATH | -l | -s | -n} [OPTIONS]")]
#[command(group(ArgGroup::new("payload").required(true)))]
pub(crate) struct Args {
    /// Topic to publish to; it may stand in the URL instead
    #[arg(short, long, value_name = "TOPIC", allow_hyphen_values = true, help_heading = MESSAGE)]
    topic: Option<String>,

    /// Payload
    #[arg(short, long, value_name = "PAYLOAD", group = "payload", allow_hyphen_values = true, help_heading = MESSAGE)]
    message: Option<String>,

    /// File with the payload, up to 256 MiB
    #[arg(short, long, value_name = "PATH", group = "payload", help_heading = MESSAGE)]
    file: Option<PathBuf>,

    /// Publish each line of standard input as a message, as it comes
    #[arg(short = 'l', long, group = "payload", help_heading = MESSAGE)]
    stdin_line: bool,

    /// Publish all of standard input as one message
    #[arg(short = 's', long, group = "payload", help_heading = MESSAGE)]
    stdin_file: bool,

    /// Publish an empty message; with -r it removes what the server retains
    #[arg(short, long, group = "payload", help_heading = MESSAGE)]
    null_message: bool,

    /// Quality of service: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = parse_qos, help_heading = MESSAGE)]
    qos: Qos,

    /// Let the server retain the message for later subscribers
    #[arg(short, long, help_heading = MESSAGE)]
    retain: bool,

    /// Publish the same message so many times
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "stdin_line", value_parser = clap::value_parser!(u64).range(1..), help_heading = MESSAGE)]
    repeat: u64,

    /// Seconds between two repetitions, also with a fraction
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_delay, help_heading = MESSAGE)]
    repeat_delay: Duration,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let is_quiet = args.connection.is_quiet();
    end(execute(args), is_quiet)
}

fn execute(args: Args) -> Result<u8, Failure> {
    let mut source = Source::open(&args)?;
    let mut settings = args.connection.settings()?;
    let Some(topic) = args.topic.or(settings.topic.take()) else {
        return Err(Failure::usage("Error: Both topic and message must be supplied."));
    };
    topic_name(&topic)?;
    let properties =
        if settings.version.is_v5() { settings.properties.publish.clone() } else { PropertiesBuf::new() };
    let publication = Publication { topic, qos: args.qos, retain: args.retain, properties };
    let mut client = Client::new(settings)?;
    let outcome = publication.publish_all(&mut source, &mut client);
    client.end_delivered(outcome)
}

/// What all messages have in common.
struct Publication {
    topic: String,
    qos: Qos,
    retain: bool,
    properties: PropertiesBuf,
}

impl Publication {
    /// Publishes until the source is empty and everything is acknowledged.
    fn publish_all(&self, source: &mut Source, client: &mut Client) -> Result<u8, Failure> {
        if !client.open(None)? {
            return Ok(0);
        }
        // The server takes the others all the same, so the first refusal only decides how it ends.
        let mut refusal = None;
        loop {
            self.publish_ready(source, client)?;
            if source.is_done() && client.unacknowledged() == 0 {
                return Ok(refusal.map_or(0, |reason: Reason| reason as u8));
            }
            if source.wants_lines() {
                client.ask_lines();
            }
            match client.wait(source.next_time()) {
                Ok(Woken::Packets(bytes)) => {
                    for frame in packets(&bytes) {
                        if let Incoming::Refused(id, reason, why) = client.handle(frame)? {
                            refusal = refusal.or(Some(reason));
                            let why = why.map_or(String::new(), |why| format!(" ({why})"));
                            let text = format!("Warning: Publish {} failed: {reason}{why}.", id.get());
                            client.console.warn(&text)?;
                        }
                    }
                }
                Ok(Woken::Lines(lines)) => source.add_lines(lines),
                Ok(Woken::InputEnd) => source.end_input(),
                Ok(Woken::Deadline) => {}
                Ok(Woken::Interrupted) => return Ok(0),
                Err(failure) if failure.is_loss() => return Err(unacknowledged(failure, client)),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Sends as much as is there and as the server takes at once.
    fn publish_ready(&self, source: &mut Source, client: &mut Client) -> Result<(), Failure> {
        let topic = topic_name(&self.topic)?;
        let properties = self.properties.as_properties();
        while client.may_publish(self.qos) {
            let Some(payload) = source.next() else { break };
            client.publish(Outgoing { topic, payload, qos: self.qos, retain: self.retain, properties })?;
        }
        Ok(())
    }
}

/// Where payloads come from.
enum Source {
    /// The same one, `left` times more, the next not before its time.
    Same { payload: Vec<u8>, left: u64, delay: Duration, next: Instant },
    /// Lines of standard input, those from `at` on still to be sent.
    Lines { batch: Vec<u8>, at: usize, is_ended: bool },
}

impl Source {
    fn open(args: &Args) -> Result<Self, Failure> {
        let payload = match (&args.message, &args.file) {
            (Some(message), _) => message.clone().into_bytes(),
            (None, Some(path)) => read_file(path)?,
            (None, None) if args.stdin_file => {
                let payload = read_all(std::io::stdin().lock(), "Standard input")?;
                // A program that failed must not clear a retained message: -n does that.
                if payload.is_empty() {
                    return Err(Failure::usage(
                        "Error: Standard input is empty; -n publishes an empty message.",
                    ));
                }
                payload
            }
            (None, None) if args.stdin_line => {
                return Ok(Self::Lines { batch: Vec::new(), at: 0, is_ended: false });
            }
            (None, None) => Vec::new(),
        };
        Ok(Self::Same { payload, left: args.repeat, delay: args.repeat_delay, next: Instant::now() })
    }

    /// The next payload, if it is time for one.
    fn next(&mut self) -> Option<&[u8]> {
        match self {
            Self::Same { payload, left, delay, next } => {
                if *left == 0 || *next > Instant::now() {
                    return None;
                }
                *left -= 1;
                // Late repetitions do not come in a rush.
                *next = Instant::now() + *delay;
                Some(payload)
            }
            Self::Lines { batch, at, .. } => {
                let rest = batch.get(*at..).filter(|rest| !rest.is_empty())?;
                let len = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                *at += len + 1;
                Some(&rest[..len])
            }
        }
    }

    /// Whether nothing will ever come again.
    fn is_done(&self) -> bool {
        match self {
            Self::Same { left, .. } => *left == 0,
            Self::Lines { is_ended, .. } => *is_ended && self.is_used_up(),
        }
    }

    /// When the next payload will be there, if time alone brings it.
    fn next_time(&self) -> Option<Instant> {
        match self {
            Self::Same { left, next, .. } if *left > 0 && *next > Instant::now() => Some(*next),
            _ => None,
        }
    }

    fn wants_lines(&self) -> bool {
        matches!(self, Self::Lines { is_ended: false, .. }) && self.is_used_up()
    }

    fn is_used_up(&self) -> bool {
        matches!(self, Self::Lines { batch, at, .. } if *at >= batch.len())
    }

    fn add_lines(&mut self, lines: Vec<u8>) {
        if let Self::Lines { batch, at, .. } = self {
            // Lines are asked for when those before are used up, except the last, which come unasked.
            if *at >= batch.len() {
                *batch = lines;
                *at = 0;
            } else {
                batch.extend_from_slice(&lines);
            }
        }
    }

    fn end_input(&mut self) {
        if let Self::Lines { is_ended, .. } = self {
            *is_ended = true;
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::usage(format!("Error: File '{name}' cannot be opened: {error}.")))?;
    read_all(file, &format!("File '{name}'"))
}

/// Reads a payload, and no more of it than fits into a packet.
fn read_all(input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let max = u64::from(PACKET_SIZE_MAX);
    let mut payload = Vec::new();
    match input.take(max + 1).read_to_end(&mut payload) {
        Ok(len) if len as u64 > max => {
            Err(Failure::new(PAYLOAD_SIZE, format!("Error: {name} is over 256 MiB, too long for a message.")))
        }
        Ok(_) => Ok(payload),
        Err(error) => Err(Failure::usage(format!("Error: {name} cannot be read: {error}."))),
    }
}

/// The connection is lost: how much of it matters.
fn unacknowledged(loss: Failure, client: &Client) -> Failure {
    let text = loss.text().unwrap_or("Error: The connection was lost.");
    match client.unacknowledged() {
        0 => loss,
        1 => Failure::new(CONNECTION_LOST, format!("{text} 1 message is not acknowledged.")),
        count => Failure::new(CONNECTION_LOST, format!("{text} {count} messages are not acknowledged.")),
    }
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

const MESSAGE: &str = "Message";

fn after_help() -> String {
    format!("{PROPERTIES_HELP}\n{AFTER_HELP}")
}

const AFTER_HELP: &str = "\
Exit status:
  0         everything was published, with QoS 1 and 2 also acknowledged; or a signal ended it
  1, 2      wrong flags, or the server cannot be reached
  1 to 5    the server refused the connection: return code of MQTT 3
  7         the connection was lost
  from 128  reason code of MQTT 5: the server refused the connection or a message
  others    error numbers of mosquitto_pub

Examples:
  siskin pub -t home/temperature -m 21.5
  siskin pub -h broker.example -t home/lamp -m on -q 1 -r
  tail -f log | siskin pub -t logs/web -l";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(flags: &str) -> Result<Args, clap::Error> {
        Tool::try_parse_from(format!("pub {flags}").split_whitespace()).map(|tool| tool.args)
    }

    fn lines(source: &mut Source) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = source.next() {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn exactly_one_kind_of_payload_is_needed() {
        assert!(parsed("-t a").is_err());
        assert!(parsed("-t a -m x -n").is_err());
        assert!(parsed("-t a -l -f x").is_err());
        for flag in ["-m x", "-f x", "-l", "-s", "-n"] {
            assert!(parsed(&format!("-t a {flag}")).is_ok(), "{flag}");
        }
    }

    #[test]
    fn a_payload_may_begin_with_a_hyphen() {
        assert_eq!(parsed("-t a -m -5").unwrap_or_else(|e| panic!("{e}")).message.as_deref(), Some("-5"));
        assert_eq!(parsed("-t -t -m -m").unwrap_or_else(|e| panic!("{e}")).topic.as_deref(), Some("-t"));
    }

    #[test]
    fn a_flag_given_twice_counts_as_last_given() {
        let args = parsed("-t a -t b -m x -q 1 -q 2").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((args.topic.as_deref(), args.qos), (Some("b"), Qos::ExactlyOnce));
    }

    #[test]
    fn a_delay_may_have_a_fraction_but_not_be_negative() {
        assert_eq!(parse_delay("0.25"), Ok(Duration::from_millis(250)));
        assert!(parse_delay("-1").is_err());
        assert!(parse_delay("soon").is_err());
        assert!(parse_delay("inf").is_err());
    }

    #[test]
    fn lines_keep_everything_but_their_end_and_the_last_needs_none() {
        let mut source = Source::Lines { batch: Vec::new(), at: 0, is_ended: false };
        assert!(source.wants_lines() && !source.is_done());
        source.add_lines(b"a\r\n\n b\n".to_vec());
        assert!(!source.wants_lines());
        assert_eq!(lines(&mut source), ["a\r", "", " b"]);
        source.add_lines(b"end".to_vec());
        source.end_input();
        assert!(!source.is_done());
        assert_eq!(lines(&mut source), ["end"]);
        assert!(source.is_done() && !source.wants_lines());
    }

    #[test]
    fn a_repetition_waits_for_its_time() {
        let delay = Duration::from_secs(1000);
        let mut source = Source::Same { payload: b"x".to_vec(), left: 2, delay, next: Instant::now() };
        assert_eq!(source.next(), Some(&b"x"[..]));
        assert_eq!(source.next(), None);
        assert!(source.next_time().is_some_and(|time| time > Instant::now()));
        assert!(!source.is_done());
    }
}
