//! Words at any address: in one access where the machine can, also in the kernel's.
//!
//! LLVM takes words of unknown alignment byte by byte on BPF: the program then had 14,000
//! instructions and needed 800 bytes of stack, of which there are 512. The switch that changes it
//! holds for the stack too, where the verifier insists on alignment. So words in packets are
//! accessed by an instruction of ours; the kernels of x86-64 and aarch64 take them unaligned.

#[cfg(target_arch = "bpf")]
macro_rules! words {
    ($($load:ident, $store:ident, $type:ty, $size:literal;)*) => {$(
        /// Reads the word at `AT` bytes behind `base`.
        ///
        /// # Safety
        /// As many bytes can be read there.
        #[inline(always)]
        pub(crate) unsafe fn $load<const AT: usize>(base: *const u8) -> $type {
            let word: u64;
            // SAFETY: the caller's; the instruction reads these bytes and nothing else, and
            // leaves zeros in front of them.
            unsafe {
                core::arch::asm!(
                    concat!("{word} = *(", $size, " *)({base} + {at})"),
                    word = lateout(reg) word,
                    base = in(reg) base,
                    at = const AT,
                    options(pure, readonly, nostack),
                );
                core::hint::assert_unchecked(word <= <$type>::MAX as u64);
            }
            word as $type
        }

        /// Writes the word at `AT` bytes behind `base`.
        ///
        /// # Safety
        /// As many bytes can be written there.
        #[inline(always)]
        pub(crate) unsafe fn $store<const AT: usize>(base: *mut u8, word: $type) {
            let word = word as u64;
            // SAFETY: the caller's; the instruction writes these bytes and nothing else.
            unsafe {
                core::arch::asm!(
                    concat!("*(", $size, " *)({base} + {at}) = {word}"),
                    word = in(reg) word,
                    base = in(reg) base,
                    at = const AT,
                    options(nostack),
                );
            }
        }
    )*};
}

#[cfg(not(target_arch = "bpf"))]
macro_rules! words {
    ($($load:ident, $store:ident, $type:ty, $size:literal;)*) => {$(
        /// Reads the word at `AT` bytes behind `base`.
        ///
        /// # Safety
        /// As many bytes can be read there.
        #[inline(always)]
        pub(crate) unsafe fn $load<const AT: usize>(base: *const u8) -> $type {
            // SAFETY: the caller's; no alignment is assumed.
            unsafe { base.add(AT).cast::<$type>().read_unaligned() }
        }

        /// Writes the word at `AT` bytes behind `base`.
        ///
        /// # Safety
        /// As many bytes can be written there.
        #[inline(always)]
        pub(crate) unsafe fn $store<const AT: usize>(base: *mut u8, word: $type) {
            // SAFETY: the caller's; no alignment is assumed.
            unsafe { base.add(AT).cast::<$type>().write_unaligned(word) }
        }
    )*};
}

words! {
    load_u16, store_u16, u16, "u16";
    load_u32, store_u32, u32, "u32";
    load_u64, store_u64, u64, "u64";
}

/// The same number, of which the BPF verifier knows nothing any more; elsewhere just the number.
///
/// The verifier walks through the program once for each state that it can tell apart, a million
/// instructions at most. After a header has been looked through there are dozens of states that
/// differ in nothing but a number that it followed: with that forgotten they are one. `salt` is
/// any number that it does not know: read from a map, or given by a helper.
#[inline(always)]
pub fn forget(number: u64, salt: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: arithmetic on two registers.
        unsafe {
            core::arch::asm!(
                "{number} ^= {salt}",
                "{number} ^= {salt}",
                number = inout(reg) number,
                salt = in(reg) salt,
                options(pure, nomem, nostack),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = salt;
        number
    }
}
