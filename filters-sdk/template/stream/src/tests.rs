//! Tests of the filter's own code: native, with the SDK's host double.

use penstock::testing::StreamInstance;

use super::Knock;

#[test]
fn takes_the_word_off() {
    let filter = StreamInstance::<Knock>::new(r#"{ "word": "sesame " }"#).unwrap();
    let mut connection = filter.connect();
    connection.downstream("ses", false);
    assert!(connection.waits());
    connection.downstream("ame hello", false);
    assert_eq!(connection.passed(), b"hello");
    connection.downstream("sesame ", true);
    assert_eq!(connection.passed(), b"sesame ");
}

#[test]
fn turns_strangers_away() {
    let config = r#"{ "word": "sesame ", "closed_to": ["192.0.2.7"] }"#;
    let filter = StreamInstance::<Knock>::new(config).unwrap();
    let mut connection = filter.connect();
    connection.downstream("hello", false);
    assert!(connection.is_closed());
    filter.set_property(&["source", "address"], "192.0.2.7:4711");
    assert!(filter.connect().is_closed());
}

#[test]
fn a_wrong_configuration_says_where() {
    let error = StreamInstance::<Knock>::new(r#"{ "word": "" }"#).err().unwrap();
    assert_eq!(error.to_string(), "word: must not be empty");
}
