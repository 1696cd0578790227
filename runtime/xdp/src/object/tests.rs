//! What the committed object may hold.

use super::*;

/// Whether a name is in the object's string table, where a name may be the end of a longer one.
fn has_symbol(name: &str) -> bool {
    let needle = [name.as_bytes(), &[0]].concat();
    OBJECT.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn zeroes_and_copies_no_memory_by_a_call() {
    // Each would be a loop over bytes: slow, and refused by the verifier without CAP_PERFMON.
    for name in ["memset", "memcpy", "memmove", "memcmp", "bcmp"] {
        assert!(!has_symbol(name), "{name} is in the object");
    }
}

#[test]
fn has_the_program_and_every_map() {
    assert!(has_symbol(PROGRAM));
    for shape in shapes(&Sizes::default()) {
        assert!(has_symbol(shape.name), "{}", shape.name);
    }
}

#[test]
fn other_value_types_are_another_layout() {
    // When this fails, LAYOUT_VERSION moves on with the numbers below: a process must not read
    // the pins of one that meant something else by them.
    let sizes = shapes(&Sizes::default()).map(|shape| (shape.key_bytes, shape.value_bytes));
    let counters = size_of::<Counters>() as u32;
    let expected = [
        (4, 104),
        (24, 4),
        (4, 32),
        (4, 4),
        (4, 40),
        (40, 88),
        (40, 88),
        (20, 12),
        (8, 8),
        (4, counters),
        (4, counters),
    ];
    assert_eq!((LAYOUT_VERSION, sizes), (1, expected));
    assert_eq!(counters, 216);
}
