//! Tests of the table, and of contexts that the testing bench cannot make.

use super::table::Table;

/// The operations of `steps` on a table and on a list that is plainly right.
#[track_caller]
fn same_as_a_list(steps: impl Iterator<Item = (bool, u32)>) {
    let mut table = Table::new();
    let mut list: Vec<(u32, u32)> = Vec::new();
    for (step, (insert, id)) in steps.enumerate() {
        let step = u32::try_from(step).unwrap();
        let before = list.iter().position(|(other, _)| *other == id);
        if insert {
            table.insert(id, step);
            before.map(|place| list.remove(place));
            list.push((id, step));
        } else {
            let expected = before.map(|place| list.remove(place).1);
            assert_eq!(table.remove(id), expected, "step {step}: id {id}");
        }
        assert_eq!(table.len(), list.len(), "step {step}");
        for (id, entry) in &list {
            assert_eq!(table.find(*id).copied(), Some(*entry), "step {step}: id {id}");
        }
    }
}

#[test]
fn a_table_keeps_what_collides() {
    // 16 places: these ids all want places 0 and 1.
    let ids = [16, 32, 1, 17, 48, 33];
    let inserts = ids.iter().map(|id| (true, *id));
    let removes = ids.iter().map(|id| (false, *id));
    same_as_a_list(inserts.clone().chain(removes));
    same_as_a_list(inserts.chain(ids.iter().rev().map(|id| (false, *id))));
}

#[test]
fn a_table_behaves_as_a_list_in_any_order() {
    let mut random = 7_u32;
    let steps = (0..4000).map(move |_| {
        // Numerical Recipes' generator: enough to stir ids that collide often.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 30 != 0, (random >> 8) % 64)
    });
    same_as_a_list(steps);
}

#[test]
fn a_table_drops_what_is_refused() {
    let mut table = Table::new();
    for id in 1..100 {
        table.insert(id, id);
    }
    table.retain(|entry| entry % 3 == 0);
    assert_eq!(table.len(), 33);
    assert_eq!(table.find(30).copied(), Some(30));
    assert_eq!(table.find(31), None);
}
