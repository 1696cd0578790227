//! The frame in the driver's page, with each access bounded in the shape that the verifier follows.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
};
use penstock_l4::Packet;

use crate::launder;

/// The frame under way.
pub(crate) struct Frame {
    context: *mut xdp_md,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn new(context: *mut xdp_md) -> Self {
        Frame { context }
    }

    /// Where `N` bytes from `at` on are, if the frame has them. Start and end are read each time:
    /// a moved head makes all earlier ones invalid, and the verifier knows.
    #[inline(always)]
    fn place<const N: usize>(&self, at: usize) -> Option<usize> {
        if at > OFFSET_MAX {
            return None;
        }
        // SAFETY: the kernel's context, alive while the program runs.
        let (data, end) = unsafe { ((*self.context).data as usize, (*self.context).data_end) };
        let start = data + at;
        // For one byte LLVM compares its start with the end, which the verifier does not follow.
        let past = if N == 1 { launder(start + N) } else { start + N };
        // SAFETY: no packet is at address 0. Else `Some` of it would be told from `None` by
        // comparing a pointer with 0, which takes CAP_PERFMON.
        unsafe { core::hint::assert_unchecked(start != 0) };
        (past <= end as usize).then_some(start)
    }
}

impl Packet for Frame {
    const LINK_BYTES: usize = 14;

    #[inline(always)]
    fn length(&self) -> usize {
        // Not the difference of two pointers: that takes CAP_PERFMON.
        // SAFETY: the kernel's context.
        unsafe { bpf_xdp_get_buff_len(self.context) as usize }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel's context.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
        // SAFETY: `place` has compared with the end, and bytes have no alignment. The borrow of
        // the frame ends before its head can move.
        self.place::<N>(at).map(|start| unsafe { &*(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn bytes_mut<const N: usize>(&mut self, at: usize) -> Option<&mut [u8; N]> {
        // SAFETY: as above; the frame is ours alone while the program runs.
        self.place::<N>(at).map(|start| unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn grow_head(&mut self, bytes: usize) -> bool {
        // SAFETY: the kernel's context; it refuses what has no room.
        unsafe { bpf_xdp_adjust_head(self.context, -(bytes as i32)) == 0 }
    }

    #[inline(always)]
    fn shrink_head(&mut self, bytes: usize) -> bool {
        // SAFETY: as above; it refuses to leave less than a link header.
        unsafe { bpf_xdp_adjust_head(self.context, bytes as i32) == 0 }
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> bool {
        let excess = self.length() as i64 - length as i64;
        // SAFETY: as above.
        excess >= 0 && unsafe { bpf_xdp_adjust_tail(self.context, -excess as i32) == 0 }
    }

    #[inline(always)]
    fn sum(&self, at: usize, length: usize) -> Option<u16> {
        sum(self, at, length)
    }
}

/// The kernel sums blocks of a constant size: that is what the verifier can follow. How many there
/// were of each it is made to forget, or it would walk on with every number of them.
#[inline(never)]
fn sum(frame: &Frame, at: usize, length: usize) -> Option<u16> {
    let salt = frame.length();
    let end = at + length;
    if length > SUM_BYTES_MAX || end > salt {
        return None;
    }
    let (mut at, mut sum) = (at, 0);
    for _ in 0..SUM_BYTES_MAX / 256 {
        if at + 256 > end {
            break;
        }
        sum = sum_block::<256>(frame, forget(at, salt), sum)?;
        at += 256;
    }
    at = forget(at, salt);
    for _ in 0..8 {
        if at + 32 > end {
            break;
        }
        sum = sum_block::<32>(frame, forget(at, salt), sum)?;
        at += 32;
    }
    at = forget(at, salt);
    for _ in 0..8 {
        if at + 4 > end {
            break;
        }
        sum = sum_block::<4>(frame, forget(at, salt), sum)?;
        at += 4;
    }
    at = forget(at, salt);
    let mut last = 0;
    if at + 2 <= end {
        let [first, second] = *frame.bytes::<2>(at)?;
        last = u32::from(u16::from_ne_bytes([first, second]));
        at += 2;
    }
    if at < end {
        let [byte] = *frame.bytes::<1>(forget(at, salt))?;
        last += u32::from(u16::from_ne_bytes([byte, 0]));
    }
    let sum = u64::from(sum) + u64::from(last);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    Some((sum & 0xffff) as u16 + (sum >> 16) as u16)
}

#[inline(always)]
fn sum_block<const N: usize>(frame: &Frame, at: usize, sum: u32) -> Option<u32> {
    let block = frame.bytes::<N>(at)?;
    let to = block.as_ptr().cast::<u32>().cast_mut();
    // SAFETY: the helper reads N bytes, which were compared with the end of the frame.
    Some(unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, to, N as u32, sum) } as u32)
}

/// See `penstock_l4::forget`.
#[inline(always)]
fn forget(number: usize, salt: usize) -> usize {
    penstock_l4::forget(number as u64, salt as u64) as usize
}

/// Where a field may begin at most. The verifier wants a bound on each offset that is not
/// constant, and headers end long before this.
const OFFSET_MAX: usize = 0x7ff;
/// The longest run that is summed: what a frame of Ethernet carries.
const SUM_BYTES_MAX: usize = 1_536;
