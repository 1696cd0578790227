//! Datagrams that leave: those of one length one behind the other as a train, by one system call.
//!
//! The kernel takes a train through its layers as one and cuts it at the end (udp(7): UDP_SEGMENT,
//! since Linux 4.18). Where it can't, because a datagram would be longer than the way takes or the
//! device computes no checksums, each is sent for itself.

use std::io;

use penstock_env::Sent;

use crate::address::RawAddress;
use crate::control::Control;

/// Where datagrams are sent, by a socket that is not connected.
pub(crate) struct Way<'a> {
    /// To whom.
    pub(crate) to: &'a RawAddress,
    /// Said beside each: which address of ours it is from.
    pub(crate) control: Control,
}

/// Sends datagrams, in order, by a socket that is connected or has a `way` given. Each is lost for
/// itself; says how many were not, and the error of the last that was.
pub(crate) fn send(fd: i32, way: Option<&Way<'_>>, datagrams: &[&[u8]]) -> (Sent, Option<i32>) {
    let (mut sent, mut failed, mut rest) = (Sent::default(), None, datagrams);
    let mut trains = true;
    while !rest.is_empty() {
        let count = if trains { train_count(rest) } else { 1 };
        let (train, behind) = rest.split_at(count);
        match send_train(fd, way, train) {
            Ok(bytes) => {
                sent += Sent { datagrams: count, bytes };
                rest = behind;
            }
            Err(errno) if count > 1 && is_for_single(errno) => trains = false,
            Err(errno) => {
                failed = Some(errno);
                rest = behind;
            }
        }
    }
    (sent, failed)
}

/// How many of the first make one train: all as long as the first one, and one that is shorter.
pub(crate) fn train_count(datagrams: &[&[u8]]) -> usize {
    let Some(step) = datagrams.first().map(|first| first.len()).filter(|step| *step > 0) else {
        return 1;
    };
    let room = (TRAIN_BYTES_MAX / step).clamp(1, TRAIN_MAX);
    let same = datagrams.iter().take(room).take_while(|one| one.len() == step).count();
    match datagrams.get(same) {
        Some(last) if same < room && (1..step).contains(&last.len()) => same + 1,
        _ => same,
    }
}

/// Sends what one system call can carry.
fn send_train(fd: i32, way: Option<&Way<'_>>, train: &[&[u8]]) -> Result<usize, i32> {
    let sent = match (train, way) {
        // SAFETY: the bytes are valid for the length of the call.
        ([one], None) => unsafe { libc::send(fd, one.as_ptr().cast(), one.len(), FLAGS) },
        ([one], Some(_)) => send_parts(fd, way, &mut [part(one)]),
        _ => {
            let mut parts = [part(&[]); TRAIN_MAX];
            for (place, one) in parts.iter_mut().zip(train) {
                *place = part(one);
            }
            send_parts(fd, way, &mut parts[..train.len()])
        }
    };
    usize::try_from(sent).map_err(|_| {
        let error = io::Error::last_os_error();
        error.raw_os_error().unwrap_or(libc::EIO)
    })
}

/// Sends the parts, which are valid for the length of the call; several as a train.
fn send_parts(fd: i32, way: Option<&Way<'_>>, parts: &mut [libc::iovec]) -> isize {
    let mut control = way.map_or_else(Control::default, |way| way.control);
    if parts.len() > 1 {
        // No longer than a datagram can be: 65,535.
        control.say_step(parts[0].iov_len as u16);
    }
    // SAFETY: all zeros is a valid msghdr: no name, no parts, no control.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if let Some(way) = way {
        message.msg_name = way.to.as_ptr().cast_mut().cast();
        message.msg_namelen = way.to.len();
    }
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len() as _);
    let (said, bytes) = control.as_parts();
    if bytes > 0 {
        (message.msg_control, message.msg_controllen) = (said, bytes as _);
    }
    // SAFETY: everything that the message points to is valid for the length of the call.
    unsafe { libc::sendmsg(fd, &raw const message, FLAGS) }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Errors that say of a train that it can't be one.
fn is_for_single(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::EOPNOTSUPP)
}

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// Datagrams of a train, as every kernel that can do it takes them (UDP_MAX_SEGMENTS).
pub(crate) const TRAIN_MAX: usize = 64;
/// Bytes of a train: it is one datagram to the layers below, with their headers.
pub(crate) const TRAIN_BYTES_MAX: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::{TRAIN_MAX, train_count};

    #[track_caller]
    fn check(lengths: &[usize], expected: usize) {
        let bytes = vec![0; 65_507];
        let datagrams: Vec<&[u8]> = lengths.iter().map(|length| &bytes[..*length]).collect();
        assert_eq!(train_count(&datagrams), expected, "{lengths:?}");
    }

    #[test]
    fn a_train_has_datagrams_of_one_length_and_a_shorter_one_at_its_end() {
        check(&[100], 1);
        check(&[100, 100, 100], 3);
        check(&[100, 100, 99, 99], 3);
        check(&[100, 101], 1);
        check(&[100, 100, 101], 2);
        check(&[100, 99, 100], 2);
        check(&[0, 0], 1);
        check(&[100, 0, 100], 1);
        check(&[1_200; TRAIN_MAX], 65_000 / 1_200);
        check(&[10; 2 * TRAIN_MAX], TRAIN_MAX);
        check(&[65_507, 65_507], 1);
        check(&[32_500, 32_500, 1], 2);
        check(&[40_000, 20_000], 1);
    }
}
