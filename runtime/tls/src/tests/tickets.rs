//! Tickets: who opens whose, and when.

use rustls::server::ProducesTickets;

use crate::TlsError;
use crate::tickets::{TICKET_KEY_TURN_SECONDS, TicketSecrets, Tickets};

const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const TWO: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const NOW: u64 = 100 * TICKET_KEY_TURN_SECONDS;

fn secrets(text: &str) -> Option<TicketSecrets> {
    Some(TicketSecrets::read(text.as_bytes()).unwrap())
}

#[test]
fn a_ticket_is_opened_for_one_turn_after_its_key_has_turned() {
    for secrets in [None, secrets(ONE)] {
        let tickets = Tickets::new(secrets, b"", NOW);
        let ticket = tickets.encrypt(b"state").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert!(!tickets.turn(NOW + TICKET_KEY_TURN_SECONDS - 1));
        assert!(tickets.turn(NOW + TICKET_KEY_TURN_SECONDS));
        assert!(tickets.decrypt(&ticket).is_some());
        assert!(tickets.turn(NOW + 2 * TICKET_KEY_TURN_SECONDS));
        assert_eq!(tickets.decrypt(&ticket), None);
    }
}

#[test]
fn a_fleet_with_one_file_opens_each_others_tickets_and_nobody_else_does() {
    let ticket = Tickets::new(secrets(ONE), b"", NOW).encrypt(b"state").unwrap();
    // Another appliance, whose clock is a turn ahead or behind.
    for now in [NOW, NOW + TICKET_KEY_TURN_SECONDS, NOW - 1] {
        let other = Tickets::new(secrets(&format!("# old\n{TWO}\n\n  {ONE}\r\n")), b"", now);
        assert!(other.decrypt(&ticket).is_some(), "{now}");
    }
    assert_eq!(Tickets::new(secrets(TWO), b"", NOW).decrypt(&ticket), None);
    assert_eq!(Tickets::new(None, b"", NOW).decrypt(&ticket), None);
}

#[test]
fn a_ticket_for_one_audience_is_worth_nothing_to_another() {
    let ticket = Tickets::new(secrets(ONE), b"staff", NOW).encrypt(b"state").unwrap();
    assert!(Tickets::new(secrets(ONE), b"staff", NOW).decrypt(&ticket).is_some());
    for audience in [&b""[..], b"guests"] {
        assert_eq!(Tickets::new(secrets(ONE), audience, NOW).decrypt(&ticket), None);
    }
}

#[test]
fn no_changed_or_cut_ticket_is_opened() {
    let tickets = Tickets::new(None, b"", NOW);
    let ticket = tickets.encrypt(b"state").unwrap();
    for cut in 0..ticket.len() {
        assert_eq!(tickets.decrypt(&ticket[..cut]), None);
        let mut changed = ticket.clone();
        changed[cut] ^= 1;
        assert_eq!(tickets.decrypt(&changed), None, "byte {cut}");
    }
}

#[test]
fn key_files_say_which_line_is_wrong() {
    let check = |text: &str, expected: TlsError| {
        assert_eq!(TicketSecrets::read(text.as_bytes()), Err(expected), "{text}");
    };
    check("", TlsError::NoTicketSecret);
    check("# nothing\n", TlsError::NoTicketSecret);
    check("abc", TlsError::BadTicketSecret { line: 1 });
    check(&format!("{ONE}\n{}g", &TWO[1..]), TlsError::BadTicketSecret { line: 2 });
    check(&format!("{ONE}\n").repeat(9), TlsError::TooManyTicketSecrets { max: 8 });
}
