//! What the fuzz target plays, seeded: any script for one side of a session.

use penstock_tests::http2_session::{check_session, play, samples, script_of};
use penstock_tests::sim::{Faults, check_seeds};

#[test]
fn any_script_of_a_session_leaves_the_proxy_as_it_was() {
    check_seeds("h2 session", Faults::CALM, |world| play(world, &script_of(world.seed())));
}

#[test]
fn the_scripts_that_fuzzing_begins_with_hold() {
    samples().iter().for_each(|script| check_session(script));
}
