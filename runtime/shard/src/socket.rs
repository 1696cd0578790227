//! One socket's state in the shard's table, and what each completion does to it.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;

use io_uring::{opcode, types};
use penstock_env::{SendBuf, Wake};

use crate::address::RawAddress;
use crate::ahead::{TaskMemory, prefetch};
use crate::buffers::Lent;
use crate::core::{Core, add};
use crate::gather::Gather;
use crate::life::{AfterSend, End};
use crate::op::Op;
use crate::ring::Completion;
use crate::slots::SlotKey;
use crate::stream::ShardStream;
use crate::wheel::TimerIndex;

/// Received chunks that may wait unread before the peer is made to wait: 8 x 4 KiB, the buffer
/// per direction of the defaults.
const INBOX_MAX: usize = 8;
/// The same where the shard holds much that nobody reads.
const INBOX_MAX_IF_CROWDED: usize = 2;

/// What fits one segment to everybody: the default MSS of IPv4 (RFC 9293 §3.7.1), of IPv6 it is
/// more.
const SEGMENT_BYTES_MIN: usize = 536;

/// What the shard keeps of one socket.
pub struct Socket {
    pub(crate) fd: i32,
    pub(crate) inbox: VecDeque<Lent>,
    pub(crate) recv_waker: Option<Waker>,
    /// Where the task that waits to receive has its state.
    pub(crate) reader: TaskMemory,
    pub(crate) send_waker: Option<Waker>,
    /// Errno that ended receiving.
    pub(crate) recv_error: i32,
    /// Errno that ended sending.
    pub(crate) send_error: i32,
    /// The peer has sent its end.
    pub(crate) ended: bool,
    /// Its receive ended for want of buffers; the pump arms it again.
    pub(crate) starved: bool,
    /// A stream that is dropped leaves a reset behind.
    pub(crate) reset_if_dropped: bool,
    /// A conduit takes what comes: the ring is not to receive.
    pub(crate) held: bool,
    /// The ring has said that there is something to read, and nobody has looked.
    pub(crate) is_ready: bool,
    /// Our end is to follow the send under way.
    pub(crate) fin_wanted: bool,
    /// The kernel may hold back the last bytes of the send under way: our end follows.
    pub(crate) is_last: bool,
    /// The kernel holds back what does not fill a segment while others are on their way (RFC 896).
    pub(crate) delays: bool,
    /// Something was sent.
    pub(crate) has_sent: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) out_at: usize,
    pub(crate) gather: Option<Box<Gather>>,
    pub(crate) address: Option<Box<RawAddress>>,
    pub(crate) parked: Option<Box<Parked>>,
    pub(crate) timer: Option<TimerIndex>,
}

/// A stream that waits without a task.
pub struct Parked {
    pub(crate) stream: ShardStream,
    pub(crate) resume: Box<dyn FnOnce(ShardStream, Wake)>,
}

impl Socket {
    pub(crate) fn new(fd: i32) -> Socket {
        Socket {
            fd,
            inbox: VecDeque::new(),
            recv_waker: None,
            reader: TaskMemory::default(),
            send_waker: None,
            recv_error: 0,
            send_error: 0,
            ended: false,
            starved: false,
            reset_if_dropped: false,
            held: false,
            is_ready: false,
            fin_wanted: false,
            is_last: false,
            delays: false,
            has_sent: false,
            out: Vec::new(),
            out_at: 0,
            gather: None,
            address: None,
            parked: None,
            timer: None,
        }
    }

    pub(crate) fn forget_reader(&mut self) {
        self.inbox = VecDeque::new();
        self.recv_waker = None;
        self.send_waker = None;
    }

    /// Makes the close a reset instead of an end of stream.
    pub(crate) fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        set_option(self.fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
    }

    pub(crate) fn unsent(&self) -> usize {
        self.gather.as_ref().map_or(self.out.len() - self.out_at, |gather| gather.unsent())
    }

    pub(crate) fn end_writing(&self) {
        // SAFETY: plain numbers; a socket that is not connected any more answers ENOTCONN.
        unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
    }
}

impl Socket {
    /// Has the kernel hold nothing back, before the first send that it could hold back of: one
    /// that fits a segment leaves at once where nothing is on its way. Many connections have but
    /// one such send, and are spared the call.
    fn prepare_send(&mut self, bytes: usize) {
        if self.delays && (self.has_sent || bytes > SEGMENT_BYTES_MIN) {
            self.delays = false;
            set_option(self.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32);
        }
        self.has_sent = true;
    }

    fn send_flags(&self) -> i32 {
        libc::MSG_NOSIGNAL | if self.is_last { libc::MSG_MORE } else { 0 }
    }
}

/// What follows a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nobody knows.
    More,
    /// Our end, at once.
    End,
}

/// Sets a socket option without which all goes on.
pub(crate) fn set_option<T>(fd: i32, level: i32, name: i32, value: &T) {
    let _ = try_option(fd, level, name, value);
}

/// Sets a socket option.
///
/// # Errors
/// The kernel does not know it, or we may not.
pub(crate) fn try_option<T>(fd: i32, level: i32, name: i32, value: &T) -> io::Result<()> {
    let (value, bytes) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `value` is valid for `bytes` bytes for the length of the call.
    match unsafe { libc::setsockopt(fd, level, name, value, bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Core {
    /// Asks the cache for the sockets of a pass, then for the tasks that wait on them.
    pub(crate) fn prefetch(&self, completions: &[Completion]) {
        if completions.len() < 2 {
            return;
        }
        let mut sockets = self.sockets.borrow_mut();
        for completion in completions {
            sockets.prefetch(completion.key);
        }
        for completion in completions.iter().filter(|completion| completion.op == Op::Recv) {
            let Some((socket, _)) = sockets.find(completion.key) else { continue };
            if let Some(waker) = &socket.recv_waker {
                prefetch(waker.data().cast());
                socket.reader.prefetch();
            }
        }
    }

    /// Starts a send: by system call when little is going on, else (or with what the socket did
    /// not take) through the ring.
    pub(crate) fn start_send(&self, key: SlotKey, data: SendBuf<Lent>, behind: Behind) {
        let mut sockets = self.sockets.borrow_mut();
        let (socket, life) = sockets.find(key).expect("a stream's socket outlives it");
        assert!(!life.has(Op::Send), "one send at a time: wait for poll_sent");
        if data.is_empty() || socket.send_error != 0 {
            self.recycle(data.into_parts().0);
            return;
        }
        socket.prepare_send(data.len());
        socket.is_last = behind == Behind::End;
        let (bytes, parts) = data.into_parts();
        if parts.is_empty() {
            socket.out_at = 0;
            if self.direct.get() {
                match send_now(socket.fd, &bytes, socket.send_flags()) {
                    Ok(sent) if sent == bytes.len() => return self.recycle(bytes),
                    Ok(sent) => socket.out_at = sent,
                    Err(errno) => {
                        socket.send_error = errno;
                        return self.recycle(bytes);
                    }
                }
            }
            socket.out = bytes;
        } else {
            socket.gather = Some(Gather::new(bytes, parts));
        }
        life.begin(Op::Send);
        self.submit_send(socket, key);
    }

    fn submit_send(&self, socket: &mut Socket, key: SlotKey) {
        let (fd, flags) = (types::Fd(socket.fd), socket.send_flags());
        let entry = match &mut socket.gather {
            Some(gather) => opcode::SendMsg::new(fd, gather.message()).flags(flags as u32).build(),
            None => {
                let rest = &socket.out[socket.out_at..];
                let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                opcode::Send::new(fd, rest.as_ptr(), len).flags(flags).build()
            }
        };
        // SAFETY: `out` and `gather` belong to the slot, which is not freed while the send is under
        // way, and neither is touched before the completion.
        unsafe { self.push(entry, Op::Send, key) }
    }

    pub(crate) fn on_send(&self, completion: &Completion) {
        let key = completion.key;
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(key) else { return };
        let unsent = match completion.outcome() {
            Ok(sent) => match &mut socket.gather {
                Some(gather) => gather.advance(sent),
                None => {
                    socket.out_at += sent;
                    socket.out.len() - socket.out_at
                }
            },
            Err(error) => {
                socket.send_error = error.raw_os_error().unwrap_or(libc::EIO);
                0
            }
        };
        let after = life.sent(unsent > 0);
        if after == AfterSend::Rest {
            // Nobody is woken: who watches for stalls asks `unsent_bytes`.
            return self.submit_send(socket, key);
        }
        self.recycle(std::mem::take(&mut socket.out));
        socket.out_at = 0;
        if let Some(gather) = socket.gather.take() {
            self.recycle(gather.into_bytes());
        }
        if std::mem::take(&mut socket.fin_wanted) {
            socket.end_writing();
        }
        match after {
            AfterSend::Owner => {
                if let Some(waker) = &socket.send_waker {
                    waker.wake_by_ref();
                }
            }
            AfterSend::Close => {
                drop(sockets);
                self.finish_close(key);
            }
            AfterSend::Rest | AfterSend::Nothing => {
                let over = sockets.free_if_over(key);
                drop((sockets, over));
            }
        }
    }

    pub(crate) fn on_recv(&self, completion: &Completion) {
        let key = completion.key;
        let len = usize::try_from(completion.result).unwrap_or(0);
        let chunk = completion.buffer.map(|id| self.buffers.lend(id, len));
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(key) else { return };
        life.received(completion.more);
        if !life.is_open() {
            let over = sockets.free_if_over(key);
            drop((sockets, over, chunk));
            return;
        }
        match completion.result {
            0 => socket.ended = true,
            len if len > 0 => {
                socket.inbox.extend(chunk);
                let crowded = self.buffers.are_crowded();
                let most = if crowded { INBOX_MAX_IF_CROWDED } else { INBOX_MAX };
                if socket.inbox.len() >= most {
                    if life.pause() {
                        self.cancel(Op::Recv, key);
                    }
                } else if !life.has(Op::Recv) && !socket.held {
                    self.arm_recv(socket.fd, life, key);
                }
            }
            error => match -error {
                // A conduit waits for this.
                _ if socket.held && matches!(-error, libc::ECANCELED | libc::ENOBUFS) => {}
                libc::ECANCELED => {
                    if socket.inbox.is_empty() {
                        self.arm_recv(socket.fd, life, key);
                    }
                    return;
                }
                libc::ENOBUFS => {
                    socket.starved = true;
                    if !self.buffers.offer_more() {
                        add(&self.counters.starved, 1);
                    }
                    self.starved.borrow_mut().push(key);
                    return;
                }
                errno => socket.recv_error = errno,
            },
        }
        if let Some(parked) = socket.parked.take() {
            self.unset_timer(socket);
            drop(sockets);
            (parked.resume)(parked.stream, Wake::Readable);
        } else if let Some(waker) = &socket.recv_waker {
            // It stays: the same task comes back, and need not leave another.
            waker.wake_by_ref();
        }
    }

    /// Arms again the receives that ended for want of buffers, while there are some.
    pub(crate) fn feed_starved(&self) {
        // A quarter back, so that a few buffers are not fought over by everybody.
        if self.starved.borrow().is_empty() || self.buffers.are_short() {
            return;
        }
        let starved = std::mem::take(&mut *self.starved.borrow_mut());
        for key in starved {
            let mut sockets = self.sockets.borrow_mut();
            let Some((socket, life)) = sockets.find(key) else { continue };
            socket.starved = false;
            let wanted = socket.inbox.len() < INBOX_MAX && !socket.held;
            if life.is_open() && !life.has(Op::Recv) && wanted {
                self.arm_recv(socket.fd, life, key);
            }
        }
    }

    pub(crate) fn on_connect(&self, completion: &Completion) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(completion.key) else { return };
        life.done(Op::Connect);
        socket.address = None;
        if completion.result < 0 {
            socket.send_error = -completion.result;
        } else if life.is_open() {
            self.arm_recv(socket.fd, life, completion.key);
        }
        let waker = socket.send_waker.take();
        let over = sockets.free_if_over(completion.key);
        drop(sockets);
        drop(over);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn on_close(&self, completion: &Completion) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((_, life)) = sockets.find(completion.key) else { return };
        life.closed();
        let over = sockets.free_if_over(completion.key);
        drop(sockets);
        drop(over);
    }

    /// A socket's own timer is due: its parking time is over, or its last send took too long.
    pub(crate) fn on_due(&self, key: SlotKey, wake: Wake) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(key) else { return };
        if let Some(parked) = socket.parked.take() {
            self.unset_timer(socket);
            drop(sockets);
            (parked.resume)(parked.stream, wake);
        } else if life.end() == End::Wanted && wake == Wake::Timeout {
            socket.reset_on_close();
            drop(sockets);
            self.finish_close(key);
        }
    }

    fn unset_timer(&self, socket: &mut Socket) {
        if let Some(timer) = socket.timer.take() {
            self.wheel.borrow_mut().remove(timer);
        }
    }
}

/// Sends what the socket takes at once; 0 when it takes nothing now.
fn send_now(fd: i32, bytes: &[u8], flags: i32) -> Result<usize, i32> {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: `bytes` is valid for the length of the call.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
            libc::EAGAIN | libc::EINTR => Ok(0),
            errno => Err(errno),
        },
    }
}
