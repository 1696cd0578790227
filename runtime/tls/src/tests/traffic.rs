//! Open TLS 1.3 sessions whose records are made here, with rustls or themselves at the other end.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection};

use super::world::{Authority, Fixed, NOW, Pair, Setup};
use crate::property::check_session;
use crate::provider::provider;
use crate::{Received, Refusal, Session, TicketSecrets, Tickets};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// Both sides settled.
fn settled() -> Pair {
    let mut pair = Setup::new(&Authority::new("root"), &["a.example"]).meet().unwrap();
    let mut out = Vec::new();
    pair.client.settle(&mut out);
    pair.server.settle(&mut out);
    assert!(out.is_empty());
    pair
}

/// rustls as a client that knows nothing of us, and our side.
struct Meeting {
    client: ClientConnection,
    server: Session,
    /// What the server has read.
    read: Vec<u8>,
}

impl Meeting {
    fn new(suite: usize) -> Meeting {
        let authority = Authority::new("root");
        let mut provider = Arc::unwrap_or_clone(provider());
        provider.cipher_suites = vec![provider.cipher_suites[suite]];
        let roots = Arc::unwrap_or_clone(authority.trusted().0);
        let config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Fixed))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let server = Setup::new(&authority, &["a.example"]).acceptor().begin().unwrap();
        let mut meeting = Meeting { client, server, read: Vec::new() };
        while meeting.client.is_handshaking() {
            meeting.turn();
        }
        meeting.turn();
        meeting
    }

    /// What each side has to say reaches the other, the server's first.
    fn turn(&mut self) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while self.client.wants_write() {
            self.client.write_tls(&mut up).unwrap();
        }
        self.server.receive(&up, &mut self.read, &mut down).unwrap();
        self.deliver(&down);
    }

    fn deliver(&mut self, mut down: &[u8]) {
        while !down.is_empty() {
            self.client.read_tls(&mut down).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    /// Data both ways, in many records.
    fn talk(&mut self) {
        let message: Vec<u8> = (0..50_000_u32).map(|i| (i * 7) as u8).collect();
        self.read.clear();
        self.client.writer().write_all(&message).unwrap();
        self.turn();
        assert_eq!(self.read, message);
        let mut down = Vec::new();
        self.server.seal(&message, &mut down).unwrap();
        let mut back = Vec::new();
        for piece in down.chunks(1000) {
            self.deliver(piece);
            let _ = self.client.reader().read_to_end(&mut back);
        }
        assert_eq!(back, message);
    }

    fn settle(&mut self) {
        let mut out = Vec::new();
        self.server.settle(&mut out);
        self.deliver(&out);
    }
}

#[test]
fn rustls_reads_and_writes_what_we_do_in_every_suite() {
    for suite in 0..3 {
        let mut meeting = Meeting::new(suite);
        meeting.settle();
        assert_eq!(meeting.server.protocol(), None);
        meeting.talk();
        meeting.talk();
        let mut down = Vec::new();
        meeting.server.close(&mut down);
        meeting.deliver(&down);
        let state = meeting.client.process_new_packets().unwrap();
        assert!(state.peer_has_closed());
        meeting.client.send_close_notify();
        let mut up = Vec::new();
        meeting.client.write_tls(&mut up).unwrap();
        // RFC 8446 §6.1: what follows is ignored.
        up.extend_from_slice(b"noise");
        let received = meeting.server.receive(&up, &mut Vec::new(), &mut Vec::new());
        assert_eq!(received, Ok(Received::Closed));
    }
}

#[test]
fn keys_change_when_either_side_wants() {
    // RFC 8446 §4.6.3 and §5.5.
    let mut meeting = Meeting::new(0);
    // A request from the time before: its answer is not lost.
    meeting.client.refresh_traffic_keys().unwrap();
    meeting.turn();
    meeting.settle();
    meeting.talk();
    meeting.server.traffic().limit_records(2);
    for _ in 0..4 {
        meeting.client.refresh_traffic_keys().unwrap();
        meeting.talk();
    }
    meeting.server.traffic().limit_records(1);
    meeting.talk();
}

#[test]
fn settled_sessions_read_each_other_however_the_bytes_are_cut() {
    let mut pair = settled();
    let message: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
    for piece in [1, 5, 7, 4096, 16_406, 1 << 20] {
        pair.client.traffic().limit_records(piece as u64 % 13 + 1);
        assert_eq!(pair.upload(&message, piece), message);
        assert!(!pair.server.holds_bytes());
    }
    assert_eq!(pair.upload(b"", 1), b"");
}

#[test]
fn tickets_in_parts_are_taken_before_and_after_settling() {
    let authority = Authority::new("root");
    let secret = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let mut setup = Setup::new(&authority, &["a.example"]);
    setup.tickets = Some(Tickets::new(Some(TicketSecrets::read(secret).unwrap()), b"", NOW));
    let (connector, acceptor) = (setup.connector(), setup.acceptor());
    for cut in (0..380).step_by(7) {
        let dialer = connector.dialer();
        let (mut client, mut server) = (dialer.begin(None).unwrap(), acceptor.begin().unwrap());
        let (mut up, mut down, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        client.receive(&[], &mut plain, &mut up).unwrap();
        server.receive(&std::mem::take(&mut up), &mut plain, &mut down).unwrap();
        client.receive(&std::mem::take(&mut down), &mut plain, &mut up).unwrap();
        server.receive(&up, &mut plain, &mut down).unwrap();
        // Tickets are all that is left to come.
        assert!(down.len() > 380, "{}", down.len());
        let mut none = Vec::new();
        client.receive(&down[..cut], &mut plain, &mut none).unwrap();
        client.settle(&mut none);
        server.settle(&mut none);
        client.receive(&down[cut..], &mut plain, &mut none).unwrap();
        let mut pair = Pair { client, server };
        assert_eq!(pair.upload(b"hello", 3), b"hello", "{cut}");
        pair.client.traffic();
        let mut again = Pair::new(dialer.begin(None).unwrap(), acceptor.begin().unwrap()).unwrap();
        assert!(again.facts().resumed, "{cut}");
    }
}

#[test]
fn a_message_that_rustls_holds_a_part_of_is_waited_for() {
    // RFC 8446 §4.6.1: lifetime, age, nonce, ticket, no extensions.
    const TICKET: &[u8] = &[4, 0, 0, 15, 0, 0, 1, 0, 0, 0, 0, 0, 1, 7, 0, 1, 9, 0, 0];
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    for cut in 1..TICKET.len() {
        let mut pair = setup.meet().unwrap();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        pair.server.settle(&mut out);
        for part in [&TICKET[..cut], &TICKET[cut..]] {
            let mut down = Vec::new();
            pair.server.traffic().seal_raw(HANDSHAKE, part, &mut down);
            pair.client.receive(&down, &mut plain, &mut out).unwrap();
            pair.client.settle(&mut out);
            assert_eq!(pair.client.holds_bytes(), part.len() == cut && part[0] == 4, "{cut}");
        }
        pair.client.traffic();
        let mut down = Vec::new();
        pair.server.seal(b"hello", &mut down).unwrap();
        pair.client.receive(&down, &mut plain, &mut out).unwrap();
        assert_eq!((plain.as_slice(), out.len()), (&b"hello"[..], 0), "{cut}");
    }
}

/// What the server makes of records that its peer sealed properly.
#[track_caller]
fn refuses(records: &[(u8, &[u8])], alert: AlertDescription, reason: &str) {
    let mut pair = settled();
    let mut up = Vec::new();
    for (kind, content) in records {
        pair.client.traffic().seal_raw(*kind, content, &mut up);
    }
    refuses_bytes(&mut pair, &up, alert, reason);
}

#[track_caller]
fn refuses_bytes(pair: &mut Pair, up: &[u8], alert: AlertDescription, reason: &str) {
    let (mut plain, mut told) = (Vec::new(), Vec::new());
    let error = pair.server.receive(up, &mut plain, &mut told).unwrap_err();
    assert!(error.reason.contains(reason), "{}", error.reason);
    assert!(plain.is_empty() && pair.server.is_over());
    let heard = pair.client.receive(&told, &mut plain, &mut Vec::new()).unwrap_err();
    assert_eq!(heard.refusal, Refusal::Alert);
    let expected = crate::explain(&rustls::Error::AlertReceived(alert)).1;
    assert_eq!(heard.reason, expected);
    assert_eq!(pair.server.seal(b"more", &mut told), Err(error));
}

#[test]
fn what_no_record_may_hold_ends_the_session_with_its_alert() {
    let unexpected = AlertDescription::UnexpectedMessage;
    // RFC 8446 §5: nothing else comes behind the handshake.
    refuses(&[(20, &[1])], unexpected, "");
    refuses(&[(99, b"x")], unexpected, "");
    // §5.1: messages are not empty, not interleaved, and end where keys change.
    refuses(&[(HANDSHAKE, &[])], unexpected, "");
    refuses(&[(HANDSHAKE, &[24, 0]), (DATA, b"x")], unexpected, "Interleaved");
    refuses(&[(HANDSHAKE, &[24, 0]), (ALERT, &[1, 0])], unexpected, "Interleaved");
    refuses(&[(HANDSHAKE, &[24, 0, 0, 1, 0, 24])], unexpected, "PendingFragment");
    // §4.6.3.
    refuses(&[(HANDSHAKE, &[24, 0, 0, 1, 2])], AlertDescription::IllegalParameter, "KeyUpdate");
    refuses(&[(HANDSHAKE, &[24, 0, 0, 2, 0])], AlertDescription::DecodeError, "TooLarge");
    // §4: a ClientHello, or a ticket for a server.
    refuses(&[(HANDSHAKE, &[1, 0, 0, 1, 0])], unexpected, "");
    refuses(&[(HANDSHAKE, &[4, 0, 0, 1, 0])], unexpected, "");
    // §5.4: a type there has to be, and no more than 2^14 bytes with it.
    refuses(&[(0, &[0; 64])], unexpected, "IllegalTlsInnerPlaintext");
    refuses(&[(DATA, &[7; 16_385])], AlertDescription::RecordOverflow, "");
    // §6: an alert has two bytes.
    refuses(&[(ALERT, &[1])], AlertDescription::DecodeError, "");
    refuses(&[(ALERT, &[2, 0, 2])], AlertDescription::DecodeError, "");
    // §6.1: it announces an end, once.
    refuses(&[(ALERT, &[1, 90][..]); 5], unexpected, "TooManyWarningAlerts");
}

#[test]
fn what_is_not_sealed_ends_the_session_with_its_alert() {
    let unexpected = AlertDescription::UnexpectedMessage;
    for (bytes, alert) in [
        // RFC 8446 §5: in the clear.
        (&[20, 3, 3, 0, 1, 1][..], unexpected),
        (&[21, 3, 3, 0, 2, 1, 0], unexpected),
        (&[22], unexpected),
        (b"GET / HTTP/1.1\r\n", unexpected),
        // §5.2: too long, which the header tells already.
        (&[23, 3, 3, 0x41, 1], AlertDescription::RecordOverflow),
        // §5.2: no room for a tag.
        (&[23, 3, 3, 0, 0], AlertDescription::BadRecordMac),
        (&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], AlertDescription::BadRecordMac),
    ] {
        refuses_bytes(&mut settled(), bytes, alert, "");
    }
}

#[test]
fn changes_of_keys_without_data_between_are_a_flood() {
    let mut pair = settled();
    let (mut plain, mut told) = (Vec::new(), Vec::new());
    for round in 0..33 {
        let mut up = Vec::new();
        pair.client.traffic().change_key(&mut up);
        let received = pair.server.receive(&up, &mut plain, &mut told);
        assert_eq!(received.is_err(), round == 32, "{round}");
    }
    let mut pair = settled();
    for _ in 0..100 {
        let mut up = Vec::new();
        pair.client.traffic().change_key(&mut up);
        pair.client.seal(b"x", &mut up).unwrap();
        assert_eq!(pair.server.receive(&up, &mut plain, &mut told), Ok(Received::Open));
    }
}

#[test]
fn an_alert_of_the_peer_is_its_reason_and_is_not_answered() {
    // RFC 8446 §6.2, and §6: the level says nothing.
    for level in [1, 2, 9] {
        let mut pair = settled();
        let (mut up, mut told) = (Vec::new(), Vec::new());
        pair.client.traffic().seal_raw(ALERT, &[level, 40], &mut up);
        let error = pair.server.receive(&up, &mut Vec::new(), &mut told).unwrap_err();
        assert_eq!(error.refusal, Refusal::Alert);
        assert!(told.is_empty());
    }
}

#[test]
fn any_script_of_a_peer_is_read_as_it_was_sent_or_ends_the_session() {
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    let (dialer, acceptor) = (setup.connector().dialer(), setup.acceptor());
    let mut rng = penstock_env::Rng::new(7);
    // Data whose type comes before its padding.
    let padded = [2, 9, b'd', b'a', b't', b'a', 23, 0, 0, 0, 0];
    check_session(dialer.begin(None).unwrap(), acceptor.begin().unwrap(), &padded);
    for _ in 0..300 {
        let length = rng.next_u64() as usize % 300;
        let script: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        check_session(dialer.begin(None).unwrap(), acceptor.begin().unwrap(), &script);
    }
}

#[test]
fn no_flipped_bit_is_ever_read() {
    const TEXT: &[u8] = b"forty-two bytes, or so, in one record each";
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    for bit in (0..3 * 64 * 8).step_by(5) {
        let mut pair = setup.meet().unwrap();
        let (mut plain, mut told, mut up) = (Vec::new(), Vec::new(), Vec::new());
        pair.client.settle(&mut told);
        pair.server.settle(&mut told);
        for _ in 0..3 {
            pair.client.seal(TEXT, &mut up).unwrap();
        }
        assert_eq!(up.len(), 3 * 64);
        up[bit / 8] ^= 1 << (bit % 8);
        let received = pair.server.receive(&up, &mut plain, &mut told);
        // A length that has grown makes it wait for the rest.
        assert!(received.is_err() || pair.server.holds_bytes(), "{bit}");
        assert_eq!(plain, TEXT.repeat(bit / 8 / 64), "{bit}");
    }
}
