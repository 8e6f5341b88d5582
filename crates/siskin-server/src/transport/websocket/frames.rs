//! Frames from clients, undone in place, and frames around what is sent.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::End;

/// Where in the stream of frames the client is.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the data frame at hand that are yet to come.
    left: u64,
    mask: [u8; 4],
    /// A message has begun whose last frame is yet to come.
    in_message: bool,
    message_bytes: u64,
    message_bytes_max: u64,
    /// The answer to the last ping; older ones need none.
    pong: Option<Vec<u8>>,
}

impl Frames {
    pub(super) fn new(message_bytes_max: u64) -> Self {
        Self { left: 0, mask: [0; 4], in_message: false, message_bytes: 0, message_bytes_max, pong: None }
    }

    /// Leaves in `bytes` what is payload of binary frames. The beginning of what is not whole goes to
    /// `head`, a closing answer to `own`.
    pub(super) fn decode(
        &mut self,
        bytes: &mut Vec<u8>,
        head: &mut Vec<u8>,
        own: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut from = 0;
        let mut to = 0;
        let outcome = loop {
            if self.left > 0 {
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - from);
                bytes.copy_within(from..from + len, to);
                self.unmask(&mut bytes[to..to + len]);
                self.left -= len as u64;
                from += len;
                to += len;
            }
            if from == bytes.len() {
                break Ok(());
            }
            match self.begin(&bytes[from..]) {
                Ok(Some(len)) => from += len,
                Ok(None) => {
                    head.extend_from_slice(&bytes[from..]);
                    break Ok(());
                }
                Err(failure) => {
                    // Behind a close frame nothing may follow.
                    self.pong = None;
                    close(failure.code, own);
                    break Err(failure.end);
                }
            }
        };
        bytes.truncate(to);
        outcome
    }

    /// Takes a frame header, or a whole control frame, off the front of `bytes`. Gives its length, None if
    /// it is not whole yet.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor);
        let (header, len) = match parsed {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            Err(error) => return Err(Failure::protocol(&error.to_string())),
        };
        let header_len = cursor.position() as usize;
        // RFC 6455, 5.1 and 5.2.
        let Some(mask) = header.mask else { return Err(Failure::protocol("a frame without a mask")) };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Failure::protocol("a reserved bit, without an extension"));
        }
        match header.opcode {
            OpCode::Control(kind) => {
                if len > CONTROL_BYTES_MAX || !header.is_final {
                    return Err(Failure::protocol("a control frame that is too long or in parts"));
                }
                let end = header_len + len as usize;
                let Some(payload) = bytes.get(header_len..end) else { return Ok(None) };
                let mut payload = payload.to_vec();
                xor(&mut payload, mask);
                self.control(kind, payload)?;
                Ok(Some(end))
            }
            OpCode::Data(kind) => {
                self.begin_data(kind, len, header.is_final)?;
                self.mask = mask;
                self.left = len;
                Ok(Some(header_len))
            }
        }
    }

    fn begin_data(&mut self, kind: Data, len: u64, is_final: bool) -> Result<(), Failure> {
        match (kind, self.in_message) {
            (Data::Binary, false) => self.message_bytes = 0,
            (Data::Continue, true) => {}
            // [MQTT-6.0.0-1] [MQTT5 6.0.0-1]
            (Data::Text, _) => return Err(Failure::new(UNSUPPORTED, "a text frame; MQTT is binary")),
            _ => return Err(Failure::protocol("a message that begins within another, or not at all")),
        }
        self.message_bytes = self.message_bytes.saturating_add(len);
        if self.message_bytes > self.message_bytes_max {
            let problem = format!("a message of {} bytes, above the limit", self.message_bytes);
            return Err(Failure::new(TOO_BIG, &problem));
        }
        self.in_message = !is_final;
        Ok(())
    }

    fn control(&mut self, kind: Control, payload: Vec<u8>) -> Result<(), Failure> {
        match kind {
            Control::Ping => self.pong = Some(payload),
            Control::Pong => {}
            Control::Close => return Err(closed(&payload)),
            Control::Reserved(_) => return Err(Failure::protocol("an unknown control frame")),
        }
        Ok(())
    }

    pub(super) fn has_pong(&self) -> bool {
        self.pong.is_some()
    }

    pub(super) fn take_pong(&mut self, out: &mut Vec<u8>) {
        if let Some(payload) = self.pong.take() {
            put_header(OpCode::Control(Control::Pong), payload.len(), out);
            out.extend(payload);
        }
    }

    /// Unmasks the next payload bytes, and turns the mask for those after them.
    fn unmask(&mut self, bytes: &mut [u8]) {
        xor(bytes, self.mask);
        self.mask.rotate_left(bytes.len() % 4);
    }
}

/// Why the stream of frames ends, and the code that says so.
#[derive(Debug)]
struct Failure {
    code: u16,
    end: End,
}

impl Failure {
    fn new(code: u16, problem: &str) -> Self {
        Self { code, end: End::Failed(format!("bad WebSocket frame: {problem}")) }
    }

    fn protocol(problem: &str) -> Self {
        Self::new(PROTOCOL_ERROR, problem)
    }
}

/// The client closes: it gets back the code it gave.
fn closed(payload: &[u8]) -> Failure {
    match payload {
        [] => Failure { code: NORMAL, end: End::Closed },
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // RFC 6455, 7.4
            let is_code = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !is_code || str::from_utf8(reason).is_err() {
                return Failure::protocol("a close frame with a bad code or reason");
            }
            Failure { code, end: End::Closed }
        }
        [_] => Failure::protocol("a close frame of one byte"),
    }
}

/// Appends the header of a frame around the next `len` bytes.
pub(super) fn data_header(len: usize, out: &mut Vec<u8>) {
    put_header(OpCode::Data(Data::Binary), len, out);
}

/// Appends a close frame.
pub(super) fn close(code: u16, out: &mut Vec<u8>) {
    put_header(OpCode::Control(Control::Close), 2, out);
    out.extend(code.to_be_bytes());
}

fn put_header(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing to memory does not fail.
    let _ = header.format(len as u64, out);
}

fn xor(bytes: &mut [u8], mask: [u8; 4]) {
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
    chunks.into_remainder().iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
}

/// Close codes of RFC 6455, 7.4.1.
pub(super) const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const TOO_BIG: u16 = 1009;

/// RFC 6455, 5.5
const CONTROL_BYTES_MAX: u64 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 0x84];

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        frame.extend(KEY);
        let mut payload = payload.to_vec();
        xor(&mut payload, KEY);
        frame.extend(payload);
        frame
    }

    struct Decoder {
        frames: Frames,
        head: Vec<u8>,
        own: Vec<u8>,
        payload: Vec<u8>,
    }

    impl Decoder {
        fn new() -> Self {
            let frames = Frames::new(1000);
            Self { frames, head: Vec::new(), own: Vec::new(), payload: Vec::new() }
        }

        fn feed(&mut self, bytes: &[u8]) -> Result<(), End> {
            let mut bytes = [&std::mem::take(&mut self.head)[..], bytes].concat();
            let outcome = self.frames.decode(&mut bytes, &mut self.head, &mut self.own);
            self.payload.append(&mut bytes);
            outcome
        }
    }

    #[test]
    fn frames_cut_anywhere_give_the_same_bytes() {
        let stream = [
            masked(0x02, b"ab"),
            masked(0x89, b"ping"),
            masked(0x80, b"cde"),
            masked(0x82, &[7; 300]),
            masked(0x82, b""),
            masked(0x8a, b"pong"),
            masked(0x82, b"f"),
        ]
        .concat();
        let expected = [&b"abcde"[..], &[7; 300], b"f"].concat();
        for cut in 0..=stream.len() {
            let mut decoder = Decoder::new();
            decoder.feed(&stream[..cut]).unwrap();
            decoder.feed(&stream[cut..]).unwrap();
            assert!(decoder.payload == expected && decoder.head.is_empty(), "cut at {cut}");
            let mut pong = Vec::new();
            decoder.frames.take_pong(&mut pong);
            assert_eq!(pong, b"\x8a\x04ping");
        }
    }

    #[test]
    fn what_rfc_6455_forbids_is_answered_by_its_code() {
        let cases: [(&[u8], u16); 14] = [
            (&masked(0x81, b"text"), 1003),
            (&masked(0x01, b"text"), 1003),
            (&[0x82, 0x01, b'x'], 1002),
            (&masked(0xc2, b"rsv1"), 1002),
            (&masked(0x92, b"rsv3"), 1002),
            (&masked(0x83, b"reserved"), 1002),
            (&masked(0x8b, b"reserved"), 1002),
            (&masked(0x80, b"nothing to continue"), 1002),
            (&[masked(0x02, b"a"), masked(0x82, b"b")].concat(), 1002),
            (&masked(0x09, b"in parts"), 1002),
            (&masked(0x89, &[0; 126]), 1002),
            (&masked(0x88, b"\x03"), 1002),
            (&masked(0x88, b"\x03\xed"), 1002),
            (&masked(0x82, &[0; 1001]), 1009),
        ];
        for (bytes, code) in cases {
            let mut decoder = Decoder::new();
            assert!(matches!(decoder.feed(bytes), Err(End::Failed(_))), "{bytes:?}");
            let [high, low] = code.to_be_bytes();
            assert_eq!(decoder.own, [0x88, 2, high, low], "{bytes:?}");
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_the_header_that_exceeds_it() {
        let mut decoder = Decoder::new();
        decoder.feed(&masked(0x02, &[0; 600])).unwrap();
        assert!(matches!(decoder.feed(&[0x80, 0xfe, 0x01, 0x91, 0, 0, 0, 0]), Err(End::Failed(_))));
        let mut decoder = Decoder::new();
        let announced = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert!(matches!(decoder.feed(&announced), Err(End::Failed(_))));
        assert!(decoder.payload.is_empty() && decoder.head.is_empty());
    }

    #[test]
    fn a_close_is_answered_by_its_own_code_after_what_came_before() {
        let mut decoder = Decoder::new();
        let bytes = [masked(0x82, b"last"), masked(0x88, b"\x0f\xa0bye"), masked(0x82, b"late")].concat();
        assert_eq!(decoder.feed(&bytes), Err(End::Closed));
        assert_eq!((&decoder.payload[..], &decoder.own[..]), (&b"last"[..], &[0x88, 2, 0x0f, 0xa0][..]));
    }
}
