//! What a log is worth after it was cut, damaged, compacted or opened twice.

use super::*;
use crate::codec::{PacketId, Properties, Property, PropertyValue, QoS, ReasonCode, TopicName};

fn message(qos: QoS, payload: &[u8]) -> Message {
    let mut message = Message::new(TopicName::try_from("a/b").unwrap(), payload.to_vec());
    message.qos = qos;
    message.retain = payload.len().is_multiple_of(2);
    let value = PropertyValue::Utf8("text/plain");
    message.properties = Properties::default().with(Property::ContentType, value).unwrap();
    message
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn ticket(number: u64) -> Ticket {
    Ticket::new(number)
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    (directory, path)
}

/// A log with something of every kind, and what it had to say after each write.
fn sample(path: &Path) -> Vec<(u64, Ledger)> {
    let mut log = Log::open(path, false).unwrap();
    let mut states = vec![(log.length, state(&log))];
    log.set_client_id("c");
    for step in 0..60u16 {
        let of = u64::from(step / 6 + 1);
        match step % 6 {
            0 => {
                let qos = if of.is_multiple_of(2) { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                let deadline = of.is_multiple_of(3).then_some(Duration::from_secs(1 << 20));
                let payload = vec![step as u8; usize::from(step)];
                log.admit(ticket(of), deadline, &message(qos, &payload)).unwrap();
            }
            1 => log.append(Change::Connected { expiry: u32::from(step) }),
            2 => log.append(Change::Sent { ticket: ticket(of), packet_id: id(step) }),
            3 => log.append(Change::Released { ticket: ticket(of) }),
            4 if of.is_multiple_of(4) => log.append(Change::SessionLost),
            4 if of % 4 == 1 => log.append(Change::Taken { packet_id: id(step) }),
            4 if of % 4 == 2 => log.append(Change::Freed { packet_id: id(step - 6) }),
            4 => {
                let reason = ReasonCode::NO_MATCHING_SUBSCRIBERS;
                log.append(Change::Received { packet_id: id(step), reason });
                log.append(Change::Completed { packet_id: id(step.saturating_sub(24).max(1)) });
            }
            _ if of.is_multiple_of(3) => log.append(Change::Finished { ticket: ticket(of) }),
            _ => log.append(Change::Disconnected { expiry: u32::MAX }),
        }
        log.flush().unwrap();
        states.push((log.length, state(&log)));
    }
    states
}

/// What is restored of a log, without what depends on the time.
fn state(log: &Log) -> Ledger {
    let mut ledger = log.restore().unwrap().ledger;
    ledger.messages.values_mut().for_each(|entry| entry.expires_in = None);
    ledger
}

#[test]
fn a_log_that_is_cut_anywhere_has_what_was_written_whole() {
    let (_directory, path) = path();
    let states = sample(&path);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let log = Log::open(&path, false).unwrap_or_else(|error| panic!("{length}: {error}"));
        // One write may be of several records.
        let (_, least) =
            states.iter().rfind(|(end, _)| *end <= length as u64).unwrap_or(&states[0]);
        let (_, most) = states.iter().find(|(end, _)| *end >= length as u64).unwrap();
        let found = state(&log);
        let known = |state: &Ledger| state.messages.keys().copied().collect::<Vec<_>>();
        assert!(
            found == *least || found == *most || known(&found) == known(least),
            "{length}: {found:?} is neither {least:?} nor {most:?}"
        );
        drop(log);
        // What was cut off is gone from the file, and it can be gone on with.
        let mut log = Log::open(&path, false).unwrap();
        assert_eq!((log.cut_bytes(), state(&log)), (0, found));
        log.admit(ticket(1000), None, &message(QoS::AtLeastOnce, b"more")).unwrap();
        drop(log);
        let log = Log::open(&path, false).unwrap();
        assert!(state(&log).messages.contains_key(&ticket(1000)), "{length}");
    }
}

#[test]
fn damage_anywhere_is_told_with_its_place_and_can_be_cut_off() {
    let (_directory, path) = path();
    sample(&path);
    let whole = fs::read(&path).unwrap();
    let before = state(&Log::open(&path, false).unwrap());
    for at in 0..whole.len() {
        for flip in [[0x01], [0x80], [0xFF]][at % 3] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(&path, &damaged).unwrap();
            match Log::open(&path, false) {
                Err(StoreError::NotAStore { path: named }) => {
                    assert!(at < FILE_HEAD_BYTES && named == path, "{at}");
                    continue;
                }
                Err(StoreError::Corrupt { path: named, offset, .. }) => {
                    assert!(named == path && offset <= at as u64, "{at}: {offset}");
                    assert!(offset + 200 > at as u64, "{at}: {offset} is another record");
                }
                Err(error) => panic!("{at}: {error}"),
                Ok(log) => panic!("{at}: {:?} for {before:?}", state(&log)),
            }
            // It is left as it is, until somebody says otherwise.
            assert!(fs::read(&path).unwrap() == damaged, "{at}");
            drop(Log::open(&path, true).unwrap_or_else(|error| panic!("{at}: {error}")));
            drop(Log::open(&path, false).unwrap_or_else(|error| panic!("{at}: {error}")));
        }
    }
}

#[test]
fn space_that_was_never_written_is_no_damage() {
    let (_directory, path) = path();
    let states = sample(&path);
    let whole = fs::read(&path).unwrap();
    for zeros in [1, 11, 12, 13, 5000, 100_000] {
        let mut longer = whole.clone();
        longer.resize(whole.len() + zeros, 0);
        fs::write(&path, &longer).unwrap();
        let log = Log::open(&path, false).unwrap();
        assert_eq!((log.cut_bytes(), &state(&log)), (zeros as u64, &states[60].1));
    }
    // A record whose end was not written.
    let mut holed = whole.clone();
    let from = holed.len() - 4;
    holed[from..].fill(0);
    holed.resize(whole.len() + 4096, 0);
    fs::write(&path, &holed).unwrap();
    assert!(Log::open(&path, false).unwrap().cut_bytes() > 4096);
}

#[test]
fn a_compacted_log_says_the_same() {
    let (_directory, path) = path();
    for steps in [0, 1, 59] {
        let _ = fs::remove_file(&path);
        let states = sample(&path);
        let mut whole = fs::read(&path).unwrap();
        whole.truncate(states[steps].0 as usize);
        fs::write(&path, whole).unwrap();
        let mut log = Log::open(&path, false).unwrap();
        let (before, client_id) = (shape(&log), log.client_id.clone());
        log.append(Change::Received { packet_id: id(7), reason: ReasonCode::SUCCESS });
        log.append(Change::Completed { packet_id: id(7) });
        log.compact(true).unwrap();
        log.admit(ticket(1000), None, &message(QoS::AtLeastOnce, b"more")).unwrap();
        log.append(Change::Finished { ticket: ticket(1000) });
        log.flush().unwrap();
        assert_eq!(shape(&log), before);
        assert_eq!(log.length, fs::metadata(&path).unwrap().len());
        drop(log);
        let log = Log::open(&path, false).unwrap();
        assert_eq!((shape(&log), log.client_id.clone()), (before, client_id), "{steps}");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}

/// What is restored, but for the order of PUBRECs as numbers.
fn shape(log: &Log) -> impl PartialEq + std::fmt::Debug + use<> {
    let ledger = state(log);
    let messages: Vec<_> = ledger
        .messages
        .into_iter()
        .map(|(ticket, entry)| (ticket, entry.message, entry.stage.packet_id(), entry.sent_before))
        .collect();
    let disconnected = log.disconnected_at.is_some();
    (messages, ledger.taken, ledger.received, ledger.session_expiry.is_some(), disconnected)
}

#[test]
fn a_log_does_not_grow_with_what_is_finished() {
    let (_directory, path) = path();
    let mut log = Log::open(&path, false).unwrap();
    let mut compactions = 0;
    log.admit(ticket(1), None, &message(QoS::AtLeastOnce, b"stuck")).unwrap();
    for n in 2..20_000 {
        log.admit(ticket(n), None, &message(QoS::AtLeastOnce, &[b'x'; 200])).unwrap();
        log.append(Change::Finished { ticket: ticket(n) });
        log.flush().unwrap();
        if log.wants_compaction() {
            log.compact(false).unwrap();
            compactions += 1;
        }
        assert!(log.length < 2 * COMPACT_FROM, "{}", log.length);
    }
    assert!(compactions > 3, "{compactions}");
    drop(log);
    let ledger = state(&Log::open(&path, false).unwrap());
    assert_eq!(ledger.messages[&ticket(1)].message.payload, "stuck");
    assert_eq!(ledger.messages.len(), 1);
}

#[test]
fn a_killed_compaction_is_cleared_away() {
    let (_directory, path) = path();
    let states = sample(&path);
    let left = path.with_file_name("log.new");
    fs::write(&left, "half of a file").unwrap();
    let mut log = Log::open(&path, false).unwrap();
    assert!(!left.exists());
    assert_eq!(state(&log), states[60].1);
    // In the way of the next one: the log goes on as it is.
    fs::create_dir(&left).unwrap();
    assert!(matches!(log.compact(false), Err(StoreError::Io { .. })));
    log.append(Change::Received { packet_id: id(9), reason: ReasonCode::SUCCESS });
    log.flush().unwrap();
    drop(log);
    fs::remove_dir(&left).unwrap();
    assert!(Log::open(&path, false).unwrap().ledger.received.contains_key(&id(9)));
}

#[test]
fn what_is_no_log_is_left_alone() {
    let (_directory, path) = path();
    for text in ["m", "midgelot and more", "some other file altogether\n"] {
        fs::write(&path, text).unwrap();
        let opened = Log::open(&path, false);
        if text == "m" {
            // The beginning of one that was just being made.
            drop(opened.unwrap());
            continue;
        }
        assert!(matches!(opened, Err(StoreError::NotAStore { .. })), "{text}");
        assert!(matches!(Log::open(&path, true), Err(StoreError::NotAStore { .. })), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;

    let (_directory, path) = path();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(Log::open(&path, false).unwrap());
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut log = Log::open(&path, false).unwrap();
    assert_eq!(mode(), 0o600);
    log.compact(false).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn one_process_has_it_at_a_time_compactions_or_not() {
    let (_directory, path) = path();
    let mut log = Log::open(&path, false).unwrap();
    let locked = |path: &Path| matches!(Log::open(path, false), Err(StoreError::Locked { .. }));
    assert!(locked(&path));
    log.compact(false).unwrap();
    assert!(locked(&path));
    log.close();
    drop(Log::open(&path, false).unwrap());
    assert!(matches!(log.flush(), Ok(())), "there is nothing to write");
    log.append(Change::SessionLost);
    assert!(matches!(log.flush(), Err(StoreError::Closed)));
}

#[test]
fn expiry_goes_on_while_no_process_runs() {
    let (_directory, path) = path();
    let mut log = Log::open(&path, false).unwrap();
    log.append(Change::Connected { expiry: 100 });
    assert_eq!(log.restore().unwrap().ledger.session_expiry, Some(100));
    for (ago, expiry, left) in [(30, 100, Some(70)), (300, 100, Some(0)), (9, u32::MAX, None)] {
        log.append(Change::Disconnected { expiry });
        log.disconnected_at = Some(wall_clock() - ago * 1000);
        let restored = log.restore().unwrap().ledger.session_expiry.unwrap();
        match left {
            Some(left) => assert!(restored.abs_diff(left) <= 1, "{restored} for {left}"),
            None => assert_eq!(restored, u32::MAX),
        }
    }
    log.append(Change::Disconnected { expiry: 0 });
    assert_eq!(log.restore().unwrap().ledger.session_expiry, None);
}

#[cfg(unix)]
#[test]
fn what_keeps_nothing_is_no_place_for_a_log() {
    for path in ["/dev/null", "/dev/full", "/dev/zero"] {
        let error = Log::open(Path::new(path), false).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    }
}

#[test]
fn what_a_failed_write_left_behind_is_cut_off_before_the_next_one() {
    let (_directory, path) = path();
    let mut log = Log::open(&path, false).unwrap();
    log.admit(ticket(1), None, &message(QoS::AtLeastOnce, b"first")).unwrap();
    // As after a write that failed in the middle, on a file that could not be cut then.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"half a record").unwrap();
    log.torn = true;
    log.admit(ticket(2), None, &message(QoS::AtLeastOnce, b"second")).unwrap();
    drop(log);
    let log = Log::open(&path, false).unwrap();
    assert_eq!(state(&log).messages.len(), 2);
}
