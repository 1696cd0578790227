//! What must hold for any bytes whatever, shared by the seeded test and the fuzz target.

use crate::batch::{Burst, taken_apart};
use crate::control::Control;
use crate::train::{TRAIN_BYTES_MAX, TRAIN_MAX, train_count};

/// What the kernel says beside datagrams is read without leaving its room; datagrams become trains
/// that the kernel takes, and a train that came becomes its datagrams, each once and in order.
///
/// The first bytes are 64 of control data, how many of them the kernel used, and a step; the rest
/// are lengths of datagrams.
pub fn check_datagrams(input: &[u8]) {
    let Some((control, rest)) = input.split_first_chunk::<64>() else { return };
    let Some((&[used, high, low], lengths)) = rest.split_first_chunk::<3>() else { return };
    let words = |at: usize| control[8 * at..][..8].try_into().expect("eight bytes");
    let said = Control::of_words(std::array::from_fn(|at| u64::from_ne_bytes(words(at))));
    let heard = said.heard(usize::from(used));
    assert!(heard.step != Some(0), "a train of datagrams that are none");
    let step = heard.step.or(Some(usize::from(u16::from_be_bytes([high, low]))));
    let bytes: Vec<u8> = (0..65_507_u32).map(|at| (at % 251) as u8).collect();
    let lengths = lengths.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let all: Vec<&[u8]> =
        lengths.map(|length| &bytes[..usize::from(length).min(bytes.len())]).collect();
    check_trains(&all);
    for one in &all {
        check_taken_apart(one, step.filter(|step| *step > 0));
    }
}

fn check_trains(mut all: &[&[u8]]) {
    while let Some(first) = all.first() {
        let (train, behind) = all.split_at(train_count(all));
        let (last, before) = train.split_last().expect("it goes on");
        let same = before.iter().all(|one| one.len() == first.len());
        assert!(same && last.len() <= first.len(), "{:?}", train.len());
        if train.len() > 1 {
            let bytes: usize = train.iter().map(|one| one.len()).sum();
            assert!(train.len() <= TRAIN_MAX && bytes <= TRAIN_BYTES_MAX && !last.is_empty());
        }
        all = behind;
    }
}

fn check_taken_apart(one: &[u8], step: Option<usize>) {
    let datagrams: Vec<&[u8]> = taken_apart(one, step).collect();
    assert_eq!(datagrams.concat(), one);
    let (last, before) = datagrams.split_last().expect("nothing is a datagram, too");
    let step = step.unwrap_or(one.len());
    assert!(before.iter().all(|datagram| datagram.len() == step) && last.len() <= step);
    let (mut burst, mut taken) = (Burst::new(), Vec::new());
    let mut take = |some: &[&[u8]]| {
        assert!((1..=TRAIN_MAX).contains(&some.len()));
        taken.extend(some.iter().map(|datagram| datagram.len()));
    };
    burst.add(datagrams.iter().copied(), &mut take);
    burst.flush(&mut take);
    assert!(taken.iter().copied().eq(datagrams.iter().map(|datagram| datagram.len())));
}

#[cfg(test)]
mod tests {
    use penstock_env::Rng;

    use super::check_datagrams;

    #[test]
    fn any_datagrams_keep_the_properties() {
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            // Small words, of which headers of control data are made, and any bytes.
            let mut input: Vec<u8> = (0..8)
                .flat_map(|_| match rng.below(4) {
                    0 => rng.next_u64().to_ne_bytes(),
                    1 => u64::from(rng.below(40)).to_ne_bytes(),
                    2 => (u64::from(rng.below(110)) << 32 | u64::from(rng.below(50))).to_ne_bytes(),
                    _ => u64::MAX.to_ne_bytes(),
                })
                .collect();
            input.extend([64, rng.below(8) as u8, rng.next_u64() as u8]);
            let length = rng.below(2_000) as u16;
            for _ in 0..rng.below(80) {
                let other = if rng.below(8) == 0 { rng.next_u64() as u16 } else { length };
                input.extend(other.to_be_bytes());
            }
            check_datagrams(&input);
        }
    }
}
