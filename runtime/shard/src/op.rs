//! What an operation of the ring was for, and how its completion finds its way home.

use crate::slots::{GENERATION_BITS, SlotKey};

/// The operations, in one table: what is in it has a number, and a completion with that number is
/// read. One that were left out would lose its completions, and with each a slot for ever.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What an operation was for; the top byte of its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name,)*
        }

        impl Op {
            /// All of them, each at its own index.
            pub const ALL: &[Op] = &[$(Op::$name,)*];
        }
    };
}

operations! {
    /// A connection arrived; the key is the listener's.
    Accept,
    /// Bytes arrived.
    Recv,
    /// Bytes left.
    Send,
    /// A connect ended.
    Connect,
    /// A close ended.
    Close,
    /// An operation was cancelled; nobody waits for this.
    Cancel,
    /// The wheel's next tick.
    Tick,
    /// Somebody wrote to the shard's mailbox.
    Mail,
    /// A socket can be read from.
    Readable,
    /// A socket can be written to.
    Writable,
    /// Datagrams arrived; the key is the listener's.
    Datagrams,
}

impl Op {
    /// The number under which the kernel will answer. None is 0, as one that was forgotten is.
    #[inline]
    pub fn on(self, key: SlotKey) -> u64 {
        (self as u64 + 1) << 56 | u64::from(key.generation) << 32 | u64::from(key.index)
    }

    /// What a number stands for; `None` where we gave no such number.
    #[inline]
    pub fn parse(number: u64) -> Option<(Op, SlotKey)> {
        let op = *Op::ALL.get(((number >> 56) as usize).checked_sub(1)?)?;
        let generation = (number >> 32) as u32 & ((1 << GENERATION_BITS) - 1);
        Some((op, SlotKey { index: number as u32, generation }))
    }
}

#[cfg(test)]
mod tests {
    use super::Op;
    use crate::slots::SlotKey;

    #[test]
    fn a_number_carries_operation_place_and_generation() {
        let key = SlotKey { index: u32::MAX - 1, generation: 0xff_fffe };
        for (index, &op) in Op::ALL.iter().enumerate() {
            assert_eq!(op as usize, index);
            assert_eq!(Op::parse(op.on(key)), Some((op, key)));
        }
        let other = Op::ALL.len() as u64 + 1;
        assert_eq!((Op::parse(0), Op::parse(other << 56)), (None, None));
    }
}
