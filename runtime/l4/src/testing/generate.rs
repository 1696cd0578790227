//! Packets of all kinds, good and bad, from a seed.

use super::spec::{Carried, Spec, reply_to};
use super::world::{World, client_v4, client_v6};
use super::{ETHERNET_BYTES, inside};
use crate::value::Address;

/// How many frames that were sent on are remembered, to be answered.
const REMEMBERED: usize = 32;

/// Numbers that look random and replay: SplitMix64 (Steele et al., OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Dice { state: seed }
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// That many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }
}

/// An endless row of frames for the VIPs of a world.
#[derive(Clone, Debug)]
pub struct Generator {
    dice: Dice,
    vips: Vec<Address>,
    pools: [Address; 2],
    sent: Vec<Vec<u8>>,
}

impl Generator {
    /// The same seed makes the same frames, as long as the same frames are sent on.
    pub fn new(seed: u64, world: &World) -> Self {
        let pools = [world.settings.pool_v4.address, world.settings.pool_v6.address];
        let vips = world.addresses().into_iter().filter(|one| !pools.contains(one)).collect();
        Generator { dice: Dice::new(seed), vips, pools, sent: Vec::new() }
    }

    /// Tells of a frame that was sent on, so that backends answer it and routers complain of it.
    pub fn learn(&mut self, frame: &[u8]) {
        if self.sent.len() < REMEMBERED {
            self.sent.push(frame.to_vec());
        } else {
            let at = self.dice.below(REMEMBERED);
            self.sent[at] = frame.to_vec();
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.dice.below(10) {
            0..3 if !self.sent.is_empty() => self.answer(),
            0 => self.stranger(),
            1 => self.complaint(),
            _ => self.request(),
        };
        if self.dice.once_in(8) {
            self.spoil(&mut frame);
        }
        frame
    }

    /// From a client to a VIP.
    fn request(&mut self) -> Vec<u8> {
        let vip = self.dice.of(&self.vips);
        self.spec(vip).frame()
    }

    fn spec(&mut self, vip: Address) -> Spec {
        let dice = &mut self.dice;
        let number = dice.of(&[1, 2, 3, 66, 129, 130]);
        let client = if vip.is_v4() { client_v4(number) } else { client_v6(number) };
        let port = 40_000 + dice.below(16) as u16;
        let mut spec = match dice.below(8) {
            0..4 => {
                let flags = dice.of(&[0x02, 0x02, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x03, 0]);
                let service = dice.of(&[80, 80, 80, 80, 81]);
                let mut spec = Spec::tcp((client, port), (vip, service), flags);
                spec.carried = Carried::Tcp { flags, options: tcp_options(dice) };
                spec
            }
            4..6 => Spec::new((client, port), (vip, dice.of(&[53, 53, 54])), Carried::Udp),
            6 => Spec::new((client, port), (vip, 0), Carried::Echo { answer: dice.once_in(6) }),
            _ => {
                let other = Carried::Other(dice.of(&[0, 2, 4, 41, 47, 50, 59, 132, 255]));
                Spec::new((client, 0), (vip, 0), other)
            }
        };
        let bytes = dice.of(&[0, 1, 7, 64, 500, 1_400, 1_440, 1_460]);
        spec.payload = dice.bytes(bytes);
        spec.hops = dice.of(&[0, 1, 2, 64, 64, 64, 64, 255]);
        if vip.is_v4() {
            if dice.once_in(8) {
                let words = dice.below(11);
                spec.options = dice.bytes(4 * words);
            }
            spec.fragment = dice.of(&[0x4000, 0x4000, 0x4000, 0, 0x2000, 0x0010, 0x8000]);
        } else if dice.once_in(4) {
            let count = dice.below(6);
            spec.extensions = (0..count).map(|_| extension(dice)).collect();
        }
        spec
    }

    /// What a backend answers to a frame that was sent on, or a client to an answer.
    fn answer(&mut self) -> Vec<u8> {
        let at = self.dice.below(self.sent.len());
        let flags = self.dice.of(&[0x12, 0x10, 0x18, 0x11, 0x14]);
        if self.dice.once_in(4) {
            return self.complaint();
        }
        reply_to(&self.sent[at], flags).unwrap_or_else(|| self.request())
    }

    /// An ICMP error: about a packet that was sent on, or about one that a VIP may have sent.
    fn complaint(&mut self) -> Vec<u8> {
        let known =
            if self.sent.is_empty() { None } else { Some(self.dice.below(self.sent.len())) };
        let quoted = match known.map(|at| self.sent[at].clone()) {
            Some(sent) if !self.dice.once_in(3) => sent,
            _ => {
                let vip = self.dice.of(&self.vips);
                let request = self.spec(vip).frame();
                reply_to(&request, 0x10).unwrap_or(request)
            }
        };
        let quoted = &quoted[ETHERNET_BYTES..];
        let Ok(outer) = inside(quoted) else { return self.stranger() };
        let is_v4 = outer.source.is_v4();
        let router = if is_v4 { client_v4(250) } else { client_v6(250) };
        let icmp_type = if is_v4 {
            self.dice.of(&[3, 3, 3, 11, 12, 5, 13])
        } else {
            self.dice.of(&[1, 2, 2, 3, 4, 0, 135])
        };
        let code = self.dice.of(&[0, 1, 3, 4]);
        let mut spec = Spec::new((router, 0), (outer.source, 0), Carried::Icmp { icmp_type, code });
        let kept = self.dice.of(&[0, 19, 28, 28, 48, 60, 1_000]).min(quoted.len());
        spec.payload = quoted[..kept].to_vec();
        spec.frame()
    }

    /// What is for no VIP, or no IP at all.
    fn stranger(&mut self) -> Vec<u8> {
        let dice = &mut self.dice;
        let (client, pool) = (client_v4(9), dice.of(&self.pools));
        match dice.below(6) {
            // ARP.
            0 => [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2, 8, 6], &dice.bytes(28)].concat(),
            // A VLAN tag.
            1 => {
                let mut frame = Spec::tcp((client, 1), (self.vips[0], 80), 2).frame();
                frame.splice(12..12, [0x81, 0, 0, 5]);
                frame
            }
            // LAND and martians.
            2 => {
                let vip = dice.of(&self.vips);
                Spec::tcp((vip, 80), (vip, 80), 2).frame()
            }
            3 => {
                let source = dice.of(&[[127, 0, 0, 1], [0, 1, 2, 3], [255; 4], [224, 0, 0, 1]]);
                let vip = Address::v4([203, 0, 113, 1]);
                Spec::tcp((Address::v4(source), 9), (vip, 80), 2).frame()
            }
            // For a pool, of no flow.
            4 => {
                let from = if pool.is_v4() { client } else { client_v6(9) };
                Spec::tcp((from, 80), (pool, 20_000), 0x10).frame()
            }
            _ => Spec::tcp((client, 1), (Address::v4([198, 51, 100, 77]), 22), 2).frame(),
        }
    }

    /// Makes a frame a bad one.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        let dice = &mut self.dice;
        match dice.below(4) {
            0 => frame.truncate(dice.below(frame.len() + 1)),
            1 => {
                let flips = dice.below(4) + 1;
                for _ in 0..flips {
                    let at = dice.below(frame.len());
                    frame[at] ^= 1 << dice.below(8);
                }
            }
            // As from a sender with checksum offload: the sum of the pseudo-header alone.
            2 => {
                make_partial(frame);
            }
            // Padding, as Ethernet adds it to short frames.
            _ => frame.extend(dice.bytes(10)),
        }
    }
}

/// Options of a segment; also some that make no sense.
fn tcp_options(dice: &mut Dice) -> Vec<u8> {
    let mut options = Vec::new();
    while options.len() < 36 && !dice.once_in(3) {
        match dice.below(6) {
            0 | 1 => options.extend([2, 4, 5, dice.of(&[0xb4, 0x00, 0xff])]),
            2 => options.push(1),
            3 => options.extend([4, 2]),
            4 => options.extend([8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
            _ => options.extend([dice.bits() as u8, dice.below(5) as u8]),
        }
    }
    options.truncate(40);
    options
}

/// An extension header: its number, and its bytes from the third on.
fn extension(dice: &mut Dice) -> (u8, Vec<u8>) {
    let number = dice.of(&[0, 60, 60, 60, 44, 43]);
    if number == 44 {
        let offset: [u8; 2] = dice.of(&[[0, 0], [0, 0], [0, 1], [0, 8]]);
        return (44, [&offset[..], &dice.bytes(4)].concat());
    }
    let units = dice.below(3);
    (number, dice.bytes(6 + 8 * units))
}

/// Puts the sum of the pseudo-header where the checksum of a TCP or UDP frame stands. False when
/// it is none.
pub fn make_partial(frame: &mut [u8]) -> bool {
    let packet = frame.get(ETHERNET_BYTES..).unwrap_or_default();
    let Ok(outer) = inside(packet) else { return false };
    let at = match outer.protocol {
        6 => 16,
        17 => 6,
        _ => return false,
    };
    if outer.carried.len() < at + 2 {
        return false;
    }
    // Where the packet ends, so does what it carries; padding would be behind.
    let length = if packet[0] >> 4 == 4 {
        usize::from(u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
    };
    let field = ETHERNET_BYTES + length - outer.carried.len() + at;
    let sum = !super::verify::pseudo_checksum(&outer);
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}
