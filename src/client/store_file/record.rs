//! The format of a session log: records behind a header, each with its checksums.
//!
//! ```text
//! file    "midgelog"  version u32  crc32 of the 12 bytes before          16 bytes
//! record  length u32  crc32 of the body u32  crc32 of these 8 bytes      12 bytes, then the body
//! body    kind u8  fields  0x5A
//! ```
//!
//! Numbers are little-endian. The length has a checksum of its own: were it damaged, all that
//! follows would look like a record that was cut off.

use bytes::Bytes;

use crate::codec::{self, Cut, EncodeError, PacketId, Publish, ReasonCode, TopicName, Version};
use crate::session::{Change, Message, Ticket};

/// Begins every session log.
pub(super) fn file_head() -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    head
}

/// When a message was admitted, and until when it is to be confirmed, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) admitted_at: u64,
    pub(super) deadline_at: Option<u64>,
}

/// The first bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Length of the body in bytes.
    pub(super) length: u32,
    crc: u32,
}

impl Head {
    /// Understands the head of a record; `None` when it is damaged.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
        let mut fields = Fields(bytes);
        let (length, crc, own) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let whole = own == crc32fast::hash(bytes.get(..8)?) && length >= SHORTEST_BODY;
        whole.then_some(Head { length, crc })
    }

    /// Whether a body is the one that was written.
    pub(super) fn fits(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.crc
    }
}

/// Appends the record of whose session it is.
pub(super) fn append_client(client_id: &str, out: &mut Vec<u8>) {
    append(out, CLIENT, |out| out.extend_from_slice(client_id.as_bytes()));
}

/// Appends the record of a message, which is kept as the PUBLISH that 5.0 would send.
pub(super) fn append_message(
    ticket: Ticket,
    times: Times,
    message: &Message,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let from = out.len();
    let mut result = Ok(());
    append(out, MESSAGE, |out| {
        out.extend_from_slice(&ticket.get().to_le_bytes());
        out.extend_from_slice(&times.admitted_at.to_le_bytes());
        out.extend_from_slice(&times.deadline_at.unwrap_or(0).to_le_bytes());
        result = message.encode(Version::V5, out);
    });
    if result.is_err() {
        out.truncate(from);
    }
    result
}

/// Appends the record of a change.
pub(super) fn append_change(change: Change, at: u64, out: &mut Vec<u8>) {
    let ticket = |out: &mut Vec<u8>, ticket: Ticket| {
        out.extend_from_slice(&ticket.get().to_le_bytes());
    };
    let id = |out: &mut Vec<u8>, id: PacketId| out.extend_from_slice(&id.get().to_le_bytes());
    match change {
        Change::Sent { ticket: of, packet_id } => append(out, SENT, |out| {
            ticket(out, of);
            id(out, packet_id);
        }),
        Change::Released { ticket: of } => append(out, RELEASED, |out| ticket(out, of)),
        Change::Finished { ticket: of } => append(out, FINISHED, |out| ticket(out, of)),
        Change::Taken { packet_id } => append(out, TAKEN, |out| id(out, packet_id)),
        Change::Freed { packet_id } => append(out, FREED, |out| id(out, packet_id)),
        Change::Received { packet_id, reason } => append(out, RECEIVED, |out| {
            id(out, packet_id);
            out.push(reason.into());
        }),
        Change::Completed { packet_id } => append(out, COMPLETED, |out| id(out, packet_id)),
        Change::SessionLost => append(out, SESSION_LOST, |_| {}),
        Change::Connected { expiry } => append(out, CONNECTED, |out| {
            out.extend_from_slice(&expiry.to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
        }),
        Change::Disconnected { expiry } => append(out, DISCONNECTED, |out| {
            out.extend_from_slice(&expiry.to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
        }),
    }
}

fn append(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let from = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.push(kind);
    fields(out);
    out.push(END);
    let Some((head, body)) =
        out.get_mut(from..).and_then(|new| new.split_at_mut_checked(HEAD_BYTES))
    else {
        return;
    };
    let mut numbers = [0; HEAD_BYTES];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let (fields, own) = numbers.split_at_mut(8);
    let (first, second) = fields.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    own.copy_from_slice(&crc32fast::hash(fields).to_le_bytes());
    head.copy_from_slice(&numbers);
}

/// What the first pass over a log wants to know of a record: messages are left where they are.
pub(super) enum Outline {
    Client { client_id: Box<str> },
    Message { ticket: Ticket },
    Change { change: Change, at: u64 },
}

impl Outline {
    /// Understands a body whose checksum is right; `None` when this version of the format has no
    /// such record.
    pub(super) fn read(body: &[u8]) -> Option<Outline> {
        let (&kind, fields) = body.strip_suffix(&[END])?.split_first()?;
        let mut fields = Fields(fields);
        let outline = match kind {
            CLIENT => Outline::Client { client_id: str::from_utf8(fields.rest()).ok()?.into() },
            MESSAGE => {
                let ticket = fields.ticket()?;
                fields.rest();
                Outline::Message { ticket }
            }
            _ => {
                let change = fields.change(kind)?;
                let timed =
                    matches!(change, Change::Connected { .. } | Change::Disconnected { .. });
                let at = if timed { fields.u64()? } else { 0 };
                Outline::Change { change, at }
            }
        };
        fields.0.is_empty().then_some(outline)
    }
}

/// Understands the body of a message.
pub(super) fn read_message(body: &[u8]) -> Option<(Times, Message)> {
    let (&kind, fields) = body.strip_suffix(&[END])?.split_first()?;
    let mut fields = Fields(fields);
    if kind != MESSAGE {
        return None;
    }
    fields.ticket()?;
    let admitted_at = fields.u64()?;
    let deadline_at = Some(fields.u64()?).filter(|&at| at > 0);
    let packet = fields.rest();
    let Ok(Cut::Frame { frame, len }) = codec::cut(packet, u32::MAX) else { return None };
    if len != packet.len() {
        return None;
    }
    let publish = Publish::decode(Version::V5, frame).ok()?;
    let mut message = Message::new(
        TopicName::try_from(publish.topic).ok()?,
        Bytes::copy_from_slice(publish.payload),
    );
    message.qos = publish.qos;
    message.retain = publish.retain;
    message.properties = publish.properties.into();
    Some((Times { admitted_at, deadline_at }, message))
}

/// Takes numbers off the front of what is left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn ticket(&mut self) -> Option<Ticket> {
        self.u64().map(Ticket::new)
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        self.u16().and_then(PacketId::new)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn change(&mut self, kind: u8) -> Option<Change> {
        Some(match kind {
            SENT => Change::Sent { ticket: self.ticket()?, packet_id: self.packet_id()? },
            RELEASED => Change::Released { ticket: self.ticket()? },
            FINISHED => Change::Finished { ticket: self.ticket()? },
            TAKEN => Change::Taken { packet_id: self.packet_id()? },
            FREED => Change::Freed { packet_id: self.packet_id()? },
            RECEIVED => Change::Received {
                packet_id: self.packet_id()?,
                reason: ReasonCode::new(self.u8()?),
            },
            COMPLETED => Change::Completed { packet_id: self.packet_id()? },
            SESSION_LOST => Change::SessionLost,
            CONNECTED => Change::Connected { expiry: self.u32()? },
            DISCONNECTED => Change::Disconnected { expiry: self.u32()? },
            _ => return None,
        })
    }
}

const MAGIC: &[u8; 8] = b"midgelog";
/// Version of the format.
const VERSION: u32 = 1;
/// Length of what begins a file.
pub(super) const FILE_HEAD_BYTES: usize = 16;
/// Length of what begins a record.
pub(super) const HEAD_BYTES: usize = 12;
/// A kind and the end.
const SHORTEST_BODY: u32 = 2;
/// Ends every body. A block that the file system never wrote reads as zeros, and so not as this.
const END: u8 = 0x5A;

const CLIENT: u8 = 1;
const MESSAGE: u8 = 2;
const SENT: u8 = 3;
const RELEASED: u8 = 4;
const FINISHED: u8 = 5;
const TAKEN: u8 = 6;
const FREED: u8 = 7;
const RECEIVED: u8 = 8;
const COMPLETED: u8 = 9;
const SESSION_LOST: u8 = 10;
const CONNECTED: u8 = 11;
const DISCONNECTED: u8 = 12;
