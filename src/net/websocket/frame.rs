//! Frames (RFC 6455 §5): taken apart in place on the way in, put together and masked on the way out.

use super::error::{CloseReason, GOING_AWAY, NORMAL_CLOSURE, WebSocketError};

/// Takes the frames of a server apart, in whatever pieces they come.
///
/// ```text
///              ┌──────── payload complete ────────┐
///              ▼                                  │
///  ──▶ header incomplete ── header complete ──▶ payload (data: to the reader; control: kept)
/// ```
///
/// An error is final: everything after it is refused with the same error.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: u8,
    in_payload: bool,
    opcode: u8,
    payload_left: u64,
    /// Whether a message is under way whose last frame has not come yet.
    in_message: bool,
    /// The payload of a control frame as far as it has come: at most 125 bytes.
    control: Vec<u8>,
    ending: Option<Ending>,
}

/// What a server's control frame asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// A ping, to be answered with the same payload.
    Ping(Vec<u8>),
    /// The end, to be answered with the same code.
    Close { code: Option<u16> },
}

/// How reading came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server closed the WebSocket in the normal way.
    Closed,
    /// Something else.
    Failed(WebSocketError),
}

impl Deframer {
    /// Moves the payload of data frames to the front of `bytes` and returns how much it is. Control
    /// frames are handed to `on_control`. Bytes after an ending are ignored.
    pub(super) fn deframe(
        &mut self,
        bytes: &mut [u8],
        mut on_control: impl FnMut(Control),
    ) -> usize {
        let mut from = 0;
        let mut to = 0;
        while self.ending.is_none() {
            if self.in_payload {
                let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let count = left.min(bytes.len() - from);
                if self.is_control() {
                    self.control.extend(bytes.iter().skip(from).take(count));
                } else {
                    if from != to {
                        bytes.copy_within(from..from + count, to);
                    }
                    to += count;
                }
                from += count;
                self.payload_left -= count as u64;
                if self.payload_left > 0 {
                    break;
                }
                self.in_payload = false;
                if self.is_control() {
                    self.end_control(&mut on_control);
                }
            } else {
                let Some(byte) = bytes.get(from) else { break };
                from += 1;
                if let Err(error) = self.push_header_byte(*byte) {
                    self.ending = Some(Ending::Failed(error));
                }
            }
        }
        to
    }

    /// Returns how reading came to its end, if it did.
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    fn is_control(&self) -> bool {
        self.opcode & CONTROL_BIT != 0
    }

    fn push_header_byte(&mut self, byte: u8) -> Result<(), WebSocketError> {
        let index = usize::from(self.header_bytes);
        let slot = self.header.get_mut(index);
        *slot.expect("a complete header is taken before the next byte comes") = byte;
        self.header_bytes += 1;

        let [first, second, extended @ ..] = self.header;
        match index {
            0 => return self.check_first_byte(first),
            1 if second & MASK_BIT != 0 => {
                return Err(WebSocketError::Protocol("a masked frame"));
            }
            _ => {}
        }
        let short = second & !MASK_BIT;
        let length = match (short, index) {
            (0..=125, _) => u64::from(short),
            (126, 3) => u64::from(u16::from_be_bytes([extended[0], extended[1]])),
            (127, 9) => u64::from_be_bytes(extended),
            _ => return Ok(()),
        };
        let is_minimal = match short {
            126 => length > 125,
            127 => length > u64::from(u16::MAX),
            _ => true,
        };
        if !is_minimal {
            return Err(WebSocketError::Protocol("a length in a longer form than needed"));
        }
        if self.is_control() && length > MAX_CONTROL_BYTES {
            return Err(WebSocketError::Protocol("a control frame of more than 125 bytes"));
        }
        if length > MAX_FRAME_BYTES {
            return Err(WebSocketError::TooLarge { bytes: length });
        }
        self.header_bytes = 0;
        self.payload_left = length;
        self.in_payload = true;
        Ok(())
    }

    fn check_first_byte(&mut self, first: u8) -> Result<(), WebSocketError> {
        if first & RESERVED_BITS != 0 {
            return Err(WebSocketError::Protocol("reserved bits, though no extension is in use"));
        }
        let is_final = first & FINAL_BIT != 0;
        self.opcode = first & OPCODE_BITS;
        match self.opcode {
            CONTINUATION if !self.in_message => {
                return Err(WebSocketError::Protocol("a continuation of nothing"));
            }
            BINARY if self.in_message => {
                return Err(WebSocketError::Protocol("a message within a message"));
            }
            CONTINUATION | BINARY => self.in_message = !is_final,
            TEXT => return Err(WebSocketError::Text), // [MQTT-6.0.0-1]
            CLOSE | PING | PONG if !is_final => {
                return Err(WebSocketError::Protocol("a control frame in fragments"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err(WebSocketError::Protocol("an unknown kind of frame")),
        }
        Ok(())
    }

    fn end_control(&mut self, on_control: &mut impl FnMut(Control)) {
        let payload = std::mem::take(&mut self.control);
        match self.opcode {
            PING => on_control(Control::Ping(payload)),
            CLOSE => match parse_close(&payload) {
                Ok((code, ending)) => {
                    self.ending = Some(ending);
                    on_control(Control::Close { code });
                }
                Err(error) => self.ending = Some(Ending::Failed(error)),
            },
            // A pong that nobody asked for is allowed and means nothing (RFC 6455 §5.5.3).
            _ => {}
        }
    }
}

fn parse_close(payload: &[u8]) -> Result<(Option<u16>, Ending), WebSocketError> {
    let (code, reason) = match payload.split_first_chunk() {
        Some((code, reason)) => (u16::from_be_bytes(*code), reason),
        None if payload.is_empty() => return Ok((None, Ending::Closed)),
        None => return Err(WebSocketError::Protocol("a close frame with half a code")),
    };
    let reason = std::str::from_utf8(reason)
        .map_err(|_| WebSocketError::Protocol("a close reason that is not UTF-8"))?;
    match code {
        NORMAL_CLOSURE | GOING_AWAY => Ok((Some(code), Ending::Closed)),
        // 1004 is reserved; 1005, 1006 and 1015 never stand in a frame (RFC 6455 §7.4).
        1004..=1006 | 1015 | 0..=999 | 5000.. => {
            Err(WebSocketError::Protocol("a close code out of range"))
        }
        _ => {
            let reason = CloseReason(reason.to_owned());
            Ok((Some(code), Ending::Failed(WebSocketError::Closed { code, reason })))
        }
    }
}

/// The kinds of frame that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Binary,
    Close,
    Pong,
}

/// Appends one unfragmented frame, masked as a client's frames are.
pub(super) fn append_frame<'a>(
    out: &mut Vec<u8>,
    kind: Kind,
    mask: [u8; 4],
    payload: impl Iterator<Item = &'a [u8]> + Clone,
) {
    let opcode = match kind {
        Kind::Binary => BINARY,
        Kind::Close => CLOSE,
        Kind::Pong => PONG,
    };
    let length: usize = payload.clone().map(<[u8]>::len).sum();
    out.reserve(MAX_HEADER_BYTES + mask.len() + length);
    out.push(FINAL_BIT | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => out.push(MASK_BIT | length),
        (_, Ok(length)) => {
            out.push(MASK_BIT | 126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(MASK_BIT | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    let begin = out.len();
    for part in payload {
        out.extend_from_slice(part);
    }
    let (_, payload) = out.split_at_mut(begin);
    apply_mask(payload, mask);
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

const FINAL_BIT: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE_BITS: u8 = 0x0F;
const CONTROL_BIT: u8 = 0x08;
const MASK_BIT: u8 = 0x80;

/// Of a server's frame, which has no mask.
const MAX_HEADER_BYTES: usize = 10;

const MAX_CONTROL_BYTES: u64 = 125;

/// The largest MQTT packet: five bytes of fixed header and a remaining length of 268,435,455.
const MAX_FRAME_BYTES: u64 = 5 + 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader gets from these frames, cut into pieces of a size.
    fn deframed(frames: &[u8], piece: usize) -> (Vec<u8>, Vec<Control>, Option<Ending>) {
        let mut deframer = Deframer::default();
        let (mut payload, mut controls) = (Vec::new(), Vec::new());
        for bytes in frames.chunks(piece) {
            let mut bytes = bytes.to_vec();
            let count = deframer.deframe(&mut bytes, |control| controls.push(control));
            payload.extend_from_slice(&bytes[..count]);
        }
        (payload, controls, deframer.ending().cloned())
    }

    fn failure(frames: &[u8]) -> WebSocketError {
        let whole = deframed(frames, frames.len());
        assert_eq!(deframed(frames, 1), whole);
        match whole {
            (_, _, Some(Ending::Failed(error))) => error,
            other => panic!("{frames:02x?}: {other:?}"),
        }
    }

    #[test]
    fn payload_comes_out_however_the_frames_are_cut() {
        let mut frames = Vec::new();
        let mut expected = Vec::new();
        for length in [0, 1, 2, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            frames.push(0x82);
            match length {
                0..=125 => frames.push(length as u8),
                126..=65_535 => {
                    frames.push(126);
                    frames.extend((length as u16).to_be_bytes());
                }
                _ => {
                    frames.push(127);
                    frames.extend((length as u64).to_be_bytes());
                }
            }
            frames.extend(&payload);
            expected.extend(payload);
        }
        for piece in [1, 2, 3, 7, 1000, 4096, frames.len()] {
            let (payload, controls, ending) = deframed(&frames, piece);
            assert!(payload == expected && controls.is_empty() && ending.is_none(), "{piece}");
        }
    }

    #[test]
    fn fragments_with_control_frames_between() {
        let frames = [
            &[0x02, 2, 1, 2][..], // begins a message
            &[0x89, 2, 0xAA, 0xBB],
            &[0x00, 0],
            &[0x8A, 1, 0],
            &[0x80, 1, 3], // ends it
            &[0x82, 1, 4],
            &[0x89, 0],
            &[0x88, 5, 0x03, 0xE8, b'b', b'y', b'e'],
            &[0x82, 1, 5], // after the end
        ]
        .concat();
        for piece in 1..frames.len() {
            let (payload, controls, ending) = deframed(&frames, piece);
            assert_eq!(payload, [1, 2, 3, 4]);
            assert_eq!(
                controls,
                [
                    Control::Ping(vec![0xAA, 0xBB]),
                    Control::Ping(Vec::new()),
                    Control::Close { code: Some(1000) }
                ]
            );
            assert_eq!(ending, Some(Ending::Closed));
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        assert_eq!(failure(&[0x81, 5, b'h', b'e', b'l', b'l', b'o']), WebSocketError::Text);
        assert_eq!(failure(&[0x81, 5]).close_code(), 1003);
        for frame in [
            &[0x82, 0x81, 0, 0, 0, 0, 0][..], // masked
            &[0xC2, 1, 0],                    // RSV1, as compression sets it
            &[0x92, 1, 0],
            &[0x83, 1, 0], // unknown opcodes
            &[0x8B, 1, 0],
            &[0x80, 1, 0],             // continuation of nothing
            &[0x02, 1, 0, 0x82, 1, 0], // message within a message
            &[0x09, 1, 0],             // fragmented ping
            &[0x89, 126, 0, 126],      // long ping
            &[0x88, 126, 0, 126],      // long close
            &[0x82, 126, 0, 125],      // length not minimal
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            &[0x88, 1, 0x03],       // half a close code
            &[0x88, 2, 0x03, 0xED], // 1005
            &[0x88, 2, 0x00, 0x00],
            &[0x88, 2, 0xFF, 0xFF],
            &[0x88, 3, 0x03, 0xE8, 0xFF], // reason not UTF-8
        ] {
            let error = failure(frame);
            assert!(matches!(error, WebSocketError::Protocol(_)), "{frame:02x?}: {error:?}");
            assert_eq!(error.close_code(), 1002);
        }
        for length in [1 << 63, u64::MAX, (1 << 63) - 1, MAX_FRAME_BYTES + 1] {
            let error = failure(&[&[0x82, 127][..], &u64::to_be_bytes(length)].concat());
            assert_eq!(error, WebSocketError::TooLarge { bytes: length });
            assert_eq!(error.close_code(), 1009);
        }
    }

    #[test]
    fn an_unusual_close_is_told() {
        let error = failure(&[0x88, 5, 0x03, 0xF0, b'n', b'o', b'\n']);
        assert_eq!(error.to_string(), "the server closed the WebSocket with code 1008: no\\n");
        assert_eq!(deframed(&[0x88, 0], 1).2, Some(Ending::Closed));
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        let mut deframer = Deframer::default();
        let mut bytes = [&[0x82, 127][..], &u64::to_be_bytes(MAX_FRAME_BYTES), b"abc"].concat();
        assert_eq!(deframer.deframe(&mut bytes, |_| {}), 3);
        assert_eq!(&bytes[..3], b"abc");
        assert_eq!(deframer.control.capacity(), 0);
    }

    #[test]
    fn frames_of_a_client_are_masked() {
        for length in [0, 1, 7, 8, 9, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let (one, two) = payload.split_at(length / 3);
            let mask = [0x11, 0x22, 0x33, 0x44];
            let mut out = vec![0xEE];
            append_frame(&mut out, Kind::Binary, mask, [one, two].into_iter());
            assert_eq!(out[..2], [0xEE, 0x82]);
            let (header, form) = match length {
                0..=125 => (3, length as u8),
                126..=65_535 => (5, 126),
                _ => (11, 127),
            };
            assert_eq!(out[2], 0x80 | form);
            assert_eq!(out[header..header + 4], mask);
            let unmasked: Vec<u8> = out[header + 4..]
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key)
                .collect();
            assert!(unmasked == payload, "{length}");
        }
    }

    proptest::proptest! {
        /// Frames that are likely to be valid, and then anything.
        #[test]
        fn cutting_changes_nothing(
            frames in proptest::collection::vec(
                (0x80_u8..0x90, proptest::collection::vec(proptest::num::u8::ANY, 0..126)),
                0..8,
            ),
            garbage in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
            piece in 1_usize..64,
        ) {
            let mut bytes = Vec::new();
            for (first, payload) in frames {
                bytes.extend([first, payload.len() as u8]);
                bytes.extend(payload);
            }
            bytes.extend(garbage);
            let whole = deframed(&bytes, bytes.len().max(1));
            proptest::prop_assert!(whole.0.len() <= bytes.len());
            proptest::prop_assert_eq!(deframed(&bytes, piece), whole);
        }
    }
}
