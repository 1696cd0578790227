//! Data that all shards see: small values under keys, changed by compare-and-swap.

use penstock_filters_sdk_abi::Status;

use crate::sys;

/// A value that can be shared: how it is written down.
pub trait SharedValue: Sized {
    /// Appends the value's bytes to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl SharedValue for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
}

impl SharedValue for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl SharedValue for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// A shared value of type `T` under one key. Filters with the same `vm_id` share keys.
///
/// ```
/// # extern crate penstock_filters_sdk as penstock;
/// # use penstock::Shared;
/// let seen = Shared::<u64>::new("requests_seen");
/// let count = seen.update(|count| Some(count.unwrap_or(0) + 1));
/// assert_eq!(count, Ok(Some(1)));
/// ```
#[derive(Clone, Debug)]
pub struct Shared<T> {
    key: String,
    value: core::marker::PhantomData<fn() -> T>,
}

impl<T: SharedValue> Shared<T> {
    /// The value under `key`. Nothing is read or made yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: core::marker::PhantomData }
    }

    /// The value now; `None` where there is none, or one of another type.
    pub fn load(&self) -> Option<T> {
        sys::shared(&self.key).ok().and_then(|(bytes, _)| T::decode(bytes))
    }

    /// Sets the value, over whatever is there.
    pub fn store(&self, value: &T) -> Result<(), NotShared> {
        self.write(value, 0).map_err(|_| NotShared::Refused)
    }

    /// Changes the value: `change` is given the present one and answers the next, or `None` to
    /// leave it. Where another shard was faster, `change` is asked again with what that one wrote.
    ///
    /// The very first write of a key is unconditional in the ABI: of two shards that make the same
    /// key at the same moment, the later wins.
    pub fn update(
        &self,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<T>, NotShared> {
        for _ in 0..UPDATE_ATTEMPTS_MAX {
            let (present, cas) = match sys::shared(&self.key) {
                Ok((bytes, cas)) => (T::decode(bytes), cas),
                Err(_) => (None, 0),
            };
            let Some(next) = change(present) else { return Ok(None) };
            match self.write(&next, cas) {
                Ok(()) => return Ok(Some(next)),
                Err(Status::CasMismatch) => {}
                Err(_) => return Err(NotShared::Refused),
            }
        }
        Err(NotShared::Contended)
    }

    fn write(&self, value: &T, cas: u32) -> Result<(), Status> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        sys::set_shared(&self.key, &bytes, cas)
    }
}

/// Why a shared value did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotShared {
    /// The host did not take it: out of the memory that it grants to shared data.
    Refused,
    /// Other shards changed it at every attempt.
    Contended,
}

/// Each attempt means that another shard made progress; 32 lost in a row is a key that is far too
/// hot, and a filter must not spin on it.
const UPDATE_ATTEMPTS_MAX: u32 = 32;
