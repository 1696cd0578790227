//! Property paths: `request\0headers\0x-id`, parts separated by one NUL.

/// The most parts that a path of use has (`upstream_host_metadata`, `filter_metadata`, ...).
pub const PARTS_MAX: usize = 8;

/// A path has more parts than [`PARTS_MAX`], or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath;

/// A property path, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    parts: [&'a [u8]; PARTS_MAX],
    count: usize,
}

impl<'a> Path<'a> {
    /// Cuts `bytes` at each NUL. One NUL at the end is dropped: some SDKs write it.
    ///
    /// # Errors
    /// When there are no parts, or more than [`PARTS_MAX`].
    pub fn parse(bytes: &'a [u8]) -> Result<Path<'a>, BadPath> {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(BadPath);
        }
        let mut path = Path { parts: [&[]; PARTS_MAX], count: 0 };
        for part in bytes.split(|&byte| byte == 0) {
            *path.parts.get_mut(path.count).ok_or(BadPath)? = part;
            path.count += 1;
        }
        Ok(path)
    }

    /// The parts, in order; at least one.
    #[inline]
    pub fn parts(&self) -> &[&'a [u8]] {
        &self.parts[..self.count]
    }
}
