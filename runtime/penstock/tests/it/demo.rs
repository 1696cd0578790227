//! `penstock demo --for`: the promise of the front page.

use crate::harness::run;

#[test]
fn the_demo_answers_every_request_and_repeats_what_the_flaky_origin_cut() {
    let output = run(&["demo", "--for", "3s"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{shown}{errors}");
    assert!(shown.contains("listener  http://127.0.0.1:"), "{shown}");
    assert!(!shown.contains(" 0 tries repeated"), "the flaky origin was not met: {shown}");
}
