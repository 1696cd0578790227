//! What must hold for any bytes whatever, shared by the seeded tests and the fuzz target.

use super::{
    Code, Kind, MessageError, MessageReader, Messages, TextDecoder, TextError, Timeout,
    message_prefix, put_status_message, put_text, status_message,
};

/// Fields are read or refused, bodies are read the same however they are cut.
pub fn check_grpc(input: &[u8]) {
    check_fields(input);
    let (cut, body) = input.split_first().unwrap_or((&1, &[]));
    // Never 0, or it would not end.
    let step = usize::from(*cut).max(1);
    check_messages(body, step);
    check_text(body, step);
}

fn check_fields(input: &[u8]) {
    if let Some(timeout) = Timeout::of_field(input) {
        let mut field = Vec::new();
        timeout.put(&mut field);
        let again = Timeout::of_field(&field).expect("what is written can be read");
        // Nothing is longer than what it was read from, but for no time, which has no field.
        assert!(again.duration() <= timeout.duration().max(std::time::Duration::from_nanos(1)));
    }
    let text = String::from_utf8_lossy(input);
    let mut field = Vec::new();
    put_status_message(&text, &mut field);
    assert_eq!(status_message(&field), text);
    if let Some(code) = Code::of_field(input) {
        let known = code.digits().as_bytes() == input;
        assert!(known || code == Code::Unknown);
    }
    if let Some(kind) = Kind::of_field(input) {
        let other = Kind::renamed(input, Kind::Grpc).expect("it names a form");
        assert_eq!(Kind::of_field(&other), Some(Kind::Grpc));
        assert_eq!(
            Kind::renamed(&other, kind).map(|one| one.to_ascii_lowercase()),
            Some(input.to_ascii_lowercase())
        );
    }
}

fn check_messages(body: &[u8], step: usize) {
    let (mut whole, mut cut) = (Messages::default(), Messages::default());
    whole.feed(body);
    body.chunks(step).for_each(|piece| cut.feed(piece));
    assert_eq!(whole, cut);
    assert!(whole.count() <= body.len() as u64);
    let read = |step: usize| {
        let (mut reader, mut messages) = (MessageReader::new(64), Vec::new());
        for mut piece in body.chunks(step) {
            while let Some(message) = reader.read(&mut piece)? {
                messages.push(message);
            }
        }
        Ok::<_, MessageError>((messages, reader.is_whole()))
    };
    let read_whole = read(body.len().max(1));
    assert_eq!(read_whole, read(step));
    if let Ok((messages, true)) = read_whole {
        let prefixed = messages.iter().flat_map(|message| {
            // At most 64.
            [&message_prefix(message.len() as u32), &message[..]].concat()
        });
        assert!(prefixed.eq(body.iter().copied()));
    }
}

fn check_text(body: &[u8], step: usize) {
    let read = |step: usize, text: &[u8]| -> Result<(Vec<u8>, bool), TextError> {
        let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
        text.chunks(step).try_for_each(|piece| decoder.feed(piece, &mut out))?;
        Ok((out, decoder.is_whole()))
    };
    assert_eq!(read(body.len().max(1), body), read(step, body));
    let mut text = Vec::new();
    body.chunks(step).for_each(|piece| put_text(piece, &mut text));
    assert_eq!(read(7, &text), Ok((body.to_vec(), true)));
}
