//! `siskin sub`: subscribes, and prints the messages that come.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgAction, ValueEnum};
use jiff::Zoned;
use siskin_proto::{
    PacketId, Properties, Qos, Reason, RetainHandling, SubAck, SubscriptionOptions, TopicFilter, TopicName,
};

use super::client::{
    Client, ConnectionArgs, Failure, Format, Incoming, Message, Outgoing, PROPERTIES_HELP, Settings, Shown,
    TIMED_OUT, Woken, end, output_failure, packets, parse_qos, topic_filter, topic_name,
};

/// Subscribe to topics of an MQTT server and print the messages that come.
///
/// If the connection is lost it is opened again.
#[derive(clap::Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = after_help())]
#[command(override_usage = "siskin sub -t FILTER... [OPTIONS]")]
pub(crate) struct Args {
    /// Topic filter to subscribe to (repeatable); it may stand in the URL instead
    #[arg(short, long = "topic", value_name = "FILTER", action = ArgAction::Append, allow_hyphen_values = true, help_heading = SUBSCRIPTION)]
    topics: Vec<String>,

    /// Topic filter of messages not to print (repeatable)
    #[arg(short = 'T', long = "filter-out", value_name = "FILTER", action = ArgAction::Append, allow_hyphen_values = true, help_heading = SUBSCRIPTION)]
    filters_out: Vec<String>,

    /// Topic filter to unsubscribe from (repeatable), for a session that the server kept
    #[arg(short = 'U', long = "unsubscribe", value_name = "FILTER", action = ArgAction::Append, allow_hyphen_values = true, help_heading = SUBSCRIPTION)]
    unsubscribes: Vec<String>,

    /// Highest quality of service to receive: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = parse_qos, help_heading = SUBSCRIPTION)]
    qos: Qos,

    /// When to send retained messages: at each subscribing, for new subscriptions, or never (MQTT 5)
    #[arg(long, value_name = "WHEN", default_value = "always", help_heading = SUBSCRIPTION)]
    retain_handling: When,

    /// Keep the retain flag as the publisher set it (MQTT 5)
    #[arg(long, help_heading = SUBSCRIPTION)]
    retain_as_published: bool,

    /// End after so many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = ENDING)]
    count: Option<u64>,

    /// End after so many seconds, with exit status 27
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..), help_heading = ENDING)]
    timeout_s: Option<u32>,

    /// End when the server has acknowledged all subscriptions
    #[arg(short = 'E', help_heading = ENDING)]
    ends_subscribed: bool,

    /// Print only retained messages, and end at the first that is not
    #[arg(long, conflicts_with = "hides_retained", help_heading = ENDING)]
    retained_only: bool,

    /// Print no retained messages
    #[arg(short = 'R', help_heading = OUTPUT)]
    hides_retained: bool,

    /// Let the server forget each retained message that comes and is not filtered out by -T
    #[arg(long, help_heading = OUTPUT)]
    remove_retained: bool,

    /// Print the topic in front of the payload
    #[arg(short, long, help_heading = OUTPUT)]
    verbose: bool,

    /// Print messages in this format instead; see below
    #[arg(short = 'F', value_name = "FORMAT", allow_hyphen_values = true, help_heading = OUTPUT)]
    format: Option<String>,

    /// Print no end of line behind a message
    #[arg(short = 'N', help_heading = OUTPUT)]
    no_end_of_line: bool,

    /// Spread JSON over indented lines
    #[arg(long, help_heading = OUTPUT)]
    pretty: bool,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Retain handling by mosquitto's names.
#[derive(Clone, Copy, ValueEnum)]
enum When {
    Always,
    New,
    Never,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let is_quiet = args.connection.is_quiet();
    end(execute(args), is_quiet)
}

fn execute(args: Args) -> Result<u8, Failure> {
    let deadline = args.timeout_s.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let printer = Printer::new(&args)?;
    let options = SubscriptionOptions {
        qos: args.qos,
        no_local: false,
        retain_as_published: args.retain_as_published,
        retain_handling: args.retain_handling.into(),
    };
    let mut settings: Settings = args.connection.settings()?;
    let mut topics = args.topics;
    topics.extend(settings.topic.take());
    if topics.is_empty() && args.unsubscribes.is_empty() {
        return Err(Failure::usage("Error: You must specify a topic to subscribe to."));
    }
    let mut subscriber = Subscriber {
        topics: filters(&topics)?,
        filters_out: filters(&args.filters_out)?,
        unsubscribes: filters(&args.unsubscribes)?,
        options,
        printer,
        left: args.count,
        ends_subscribed: args.ends_subscribed,
        retained_only: args.retained_only,
        hides_retained: args.hides_retained,
        remove_retained: args.remove_retained,
        to_remove: VecDeque::new(),
        pending: 0,
        refusal: None,
        is_ending: false,
    };
    let mut client = Client::new(settings)?;
    let outcome = subscriber.run(&mut client, deadline);
    client.end(outcome)
}

/// What to subscribe to, what to do with messages, and how far it has come.
struct Subscriber<'a> {
    topics: Vec<TopicFilter<'a>>,
    filters_out: Vec<TopicFilter<'a>>,
    unsubscribes: Vec<TopicFilter<'a>>,
    options: SubscriptionOptions,
    printer: Printer,
    /// How many messages are still to be printed, if there is an end to it.
    left: Option<u64>,
    ends_subscribed: bool,
    retained_only: bool,
    hides_retained: bool,
    remove_retained: bool,
    /// Topics of retained messages that the server is to be asked to forget.
    to_remove: VecDeque<String>,
    /// How many of SUBACK and UNSUBACK have not come yet.
    pending: u8,
    /// Why the server refused a subscription.
    refusal: Option<Reason>,
    /// Messages are of no interest any more.
    is_ending: bool,
}

impl Subscriber<'_> {
    /// Opens connection after connection until there is a reason to end.
    fn run(&mut self, client: &mut Client, deadline: Option<Instant>) -> Result<u8, Failure> {
        if !client.open(deadline)? {
            return Ok(0);
        }
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            let began = Instant::now();
            let mut loss = match self.receive(client, deadline) {
                Err(failure) if failure.is_loss() => failure,
                outcome => return outcome,
            };
            if began.elapsed() > RECONNECT_DELAY_MAX {
                delay = RECONNECT_DELAY_MIN;
            }
            loop {
                client.console.warn(&format!("{} Connecting again.", loss.text().unwrap_or_default()))?;
                if !client.pause(delay, deadline)? {
                    return Ok(0);
                }
                delay = (2 * delay).min(RECONNECT_DELAY_MAX);
                match client.open(deadline) {
                    Ok(true) => break,
                    Ok(false) => return Ok(0),
                    Err(failure) if failure.is_loss() => loss = failure,
                    Err(failure) => return Err(failure),
                }
            }
        }
    }

    /// Subscribes on a new connection, and receives until there is a reason to end.
    fn receive(&mut self, client: &mut Client, deadline: Option<Instant>) -> Result<u8, Failure> {
        self.subscribe(client)?;
        loop {
            match client.wait(deadline)? {
                Woken::Packets(bytes) => {
                    for frame in packets(&bytes) {
                        // What is not wanted any more is not acknowledged: it stays in a session that is kept.
                        if self.is_ending && frame.first >> 4 == PUBLISH {
                            continue;
                        }
                        match client.handle(frame)? {
                            Incoming::Message(message) => self.handle_message(&message, client)?,
                            Incoming::SubAck(suback) => self.handle_suback(&suback, client)?,
                            Incoming::UnsubAck => self.pending = self.pending.saturating_sub(1),
                            Incoming::Refused(_, reason, _) => {
                                client
                                    .console
                                    .warn(&format!("Warning: A retained message stays: {reason}."))?;
                            }
                            Incoming::Settled => {}
                        }
                    }
                }
                Woken::Deadline => return Err(Failure::new(TIMED_OUT, "Timed out")),
                Woken::Interrupted => return Ok(0),
                Woken::Lines(_) | Woken::InputEnd => {}
            }
            self.remove_retained(client)?;
            if self.is_finished(client) {
                return Ok(self.refusal.map_or(0, |reason| reason as u8));
            }
        }
    }

    fn subscribe(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.pending = 0;
        if !self.topics.is_empty() {
            client.subscribe(SUBSCRIBE_ID, &self.topics, self.options)?;
            self.pending += 1;
        }
        if !self.unsubscribes.is_empty() {
            client.unsubscribe(UNSUBSCRIBE_ID, &self.unsubscribes)?;
            self.pending += 1;
        }
        Ok(())
    }

    fn is_finished(&self, client: &Client) -> bool {
        let is_subscribed = self.ends_subscribed && self.pending == 0;
        let is_removed = self.to_remove.is_empty() && client.unacknowledged() == 0;
        is_subscribed || (self.is_ending && is_removed)
    }

    fn handle_message(&mut self, message: &Message<'_>, client: &mut Client) -> Result<(), Failure> {
        if self.retained_only && !message.retain {
            self.is_ending = true;
            return Ok(());
        }
        if !self.filters_out.is_empty() {
            // A topic that cannot be parsed did not pass the decoder.
            let topic = topic_name(&message.topic)?;
            if self.filters_out.iter().any(|filter| filter.matches(topic)) {
                return Ok(());
            }
        }
        if self.remove_retained && message.retain && !message.payload.is_empty() {
            self.to_remove.push_back(message.topic.as_ref().into());
        }
        if self.hides_retained && message.retain {
            return Ok(());
        }
        self.printer.print(message, client)?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            self.is_ending = *left == 0;
        }
        Ok(())
    }

    fn handle_suback(&mut self, suback: &SubAck<'_>, client: &mut Client) -> Result<(), Failure> {
        self.pending = self.pending.saturating_sub(1);
        let codes: Vec<String> = suback.reasons.iter().map(|reason| (*reason as u8).to_string()).collect();
        client.trace(format_args!("Subscribed (mid: {}): {}", suback.packet_id.get(), codes.join(", ")))?;
        let refused = |reason: &&Reason| reason.is_error();
        self.refusal = suback.reasons.iter().find(refused).copied();
        let Some(refusal) = self.refusal else { return Ok(()) };
        for (topic, reason) in self.topics.iter().zip(&suback.reasons).filter(|(_, reason)| refused(reason)) {
            let text = format!("Warning: Subscription to '{}' was refused: {reason}.", topic.as_str());
            client.console.warn(&text)?;
        }
        if suback.reasons.iter().all(|reason| reason.is_error()) {
            return Err(Failure::new(refusal as u8, "Error: All subscription requests were denied."));
        }
        // Only the end of subscribing tells by its status that a part is missing.
        if !self.ends_subscribed {
            self.refusal = None;
        }
        Ok(())
    }

    /// Publishes empty retained messages, as many as the server takes at once.
    fn remove_retained(&mut self, client: &mut Client) -> Result<(), Failure> {
        while client.may_publish(Qos::AtLeastOnce) {
            let Some(topic) = self.to_remove.pop_front() else { break };
            let topic: TopicName<'_> = topic_name(&topic)?;
            let properties = Properties::EMPTY;
            client.publish(Outgoing {
                topic,
                payload: &[],
                qos: Qos::AtLeastOnce,
                retain: true,
                properties,
            })?;
        }
        Ok(())
    }
}

/// How a message is shown.
struct Printer {
    mode: Mode,
    ends_line: bool,
    line: Vec<u8>,
}

enum Mode {
    Payload,
    TopicAndPayload,
    Format(Format),
}

impl Printer {
    fn new(args: &Args) -> Result<Self, Failure> {
        let mode = match &args.format {
            Some(format) => Mode::Format(Format::parse(format, args.pretty)?),
            None if args.verbose => Mode::TopicAndPayload,
            None => Mode::Payload,
        };
        Ok(Self { mode, ends_line: !args.no_end_of_line, line: Vec::new() })
    }

    fn print(&mut self, message: &Message<'_>, client: &mut Client) -> Result<(), Failure> {
        let line = &mut self.line;
        line.clear();
        match &self.mode {
            Mode::Payload => line.extend_from_slice(message.payload),
            Mode::TopicAndPayload => {
                line.extend_from_slice(message.topic.as_bytes());
                line.push(b' ');
                line.extend_from_slice(if message.payload.is_empty() { b"(null)" } else { message.payload });
            }
            Mode::Format(format) => {
                if format.write(message, &Zoned::now(), line) == Shown::NotJson {
                    let text =
                        format!("Error: Message payload is not valid JSON on topic {}.", message.topic);
                    return client.console.warn(&text);
                }
            }
        }
        if self.ends_line {
            line.push(b'\n');
        }
        client.console.out().write_all(line).map_err(output_failure)
    }
}

impl From<When> for RetainHandling {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::SendAtSubscribe,
            When::New => Self::SendIfNew,
            When::Never => Self::DoNotSend,
        }
    }
}

fn filters(texts: &[String]) -> Result<Vec<TopicFilter<'_>>, Failure> {
    texts.iter().map(|text| topic_filter(text)).collect()
}

/// Ids from the far end, where those of messages to publish do not come.
const SUBSCRIBE_ID: PacketId = packet_id(u16::MAX);
const UNSUBSCRIBE_ID: PacketId = packet_id(u16::MAX - 1);

const fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("it is not 0")
}

/// The packet type of PUBLISH. [MQTT-2.2.1]
const PUBLISH: u8 = 3;

const RECONNECT_DELAY_MIN: Duration = Duration::from_secs(1);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);

const SUBSCRIPTION: &str = "Subscription";
const ENDING: &str = "When to end";
const OUTPUT: &str = "Output";

fn after_help() -> String {
    format!("{FORMAT_HELP}\n{PROPERTIES_HELP}\n{AFTER_HELP}")
}

const FORMAT_HELP: &str = r#"Format (-F):
  %t topic        %p payload      %x %X payload in hexadecimal
  %q QoS          %r retain flag  %l length of the payload in bytes
  %m packet id    %j all as JSON  %J all as JSON, the payload too (it must be JSON)
  %d %f           payload of 8 or 4 bytes, little-endian, as a floating point number
  %A topic alias  %C content type  %D correlation data  %E message expiry in seconds
  %F payload format indicator      %P user properties   %R response topic
  %S subscription identifier       %% @@ \\ themselves
  %I time as 2016-08-10T09:47:38+0100        %U seconds.nanoseconds since 1970
  @X is %X of strftime, like @H:@M:@S        @N nanoseconds of the second
  \n \r \t \v \a \e \0 control characters
  Between % and the letter: - left-aligned, 0 padded by zeros, least width, and
  behind a dot the most characters (with %x the bytes in a group, with %d and %f
  the decimals). %-20t is a column of topics.
"#;

const AFTER_HELP: &str = "\
Exit status:
  0         as asked, or a signal ended it
  1, 2      wrong flags, or the server cannot be reached
  1 to 5    the server refused the connection: return code of MQTT 3
  27        the time of -W was up
  from 128  reason code: the server refused the connection or all subscriptions, or ended it
  others    error numbers of mosquitto_sub

Examples:
  siskin sub -t 'home/#' -v
  siskin sub -h broker.example -t alarm -q 1 -c -i alarm-log -F '%I %t %p'
  siskin sub -t '$SYS/#' -v -W 5";

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
        Tool::try_parse_from(format!("sub {flags}").split_whitespace()).map(|tool| tool.args)
    }

    fn args(flags: &str) -> Args {
        parsed(flags).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn topics_filters_and_unsubscriptions_repeat() {
        let args = args("-t a -t b/# -T c -T d -U e --topic f");
        assert_eq!(args.topics, ["a", "b/#", "f"]);
        assert_eq!(args.filters_out, ["c", "d"]);
        assert_eq!(args.unsubscribes, ["e"]);
    }

    #[test]
    fn what_is_no_filter_is_refused_before_connecting() {
        for flags in ["-t a#", "-t a -T +b", "-t a -U #/b", "", "-t a -F %z"] {
            assert_eq!(execute(args(flags)).unwrap_err().text().map(|text| &text[..6]), Some("Error:"));
        }
    }

    #[test]
    fn retain_handling_has_three_names() {
        let handling = |flags: &str| RetainHandling::from(args(flags).retain_handling);
        assert_eq!(handling("-t a"), RetainHandling::SendAtSubscribe);
        assert_eq!(handling("-t a --retain-handling new"), RetainHandling::SendIfNew);
        assert_eq!(handling("-t a --retain-handling never"), RetainHandling::DoNotSend);
        assert!(parsed("-t a --retain-handling sometimes").is_err());
    }

    #[test]
    fn counts_and_times_begin_at_one() {
        assert!(parsed("-t a -C 0").is_err());
        assert!(parsed("-t a -W 0").is_err());
        assert!(parsed("-t a -W 1 -C 18446744073709551615").is_ok());
    }
}
