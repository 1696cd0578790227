//! Servers on the backends, clients of them, and what they say to each other.
//!
//! Over TCP a client sends `get N` and a line's end, and is sent N bytes; or `put N`, a line's end
//! and N bytes, and is told how many came, their digest and who sent them. Over UDP everything is
//! sent back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use super::Net;

/// Long enough for a machine that does much else: nothing is proven by its end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts servers in a namespace: one for TCP on all of its addresses, and one for UDP on each of
/// `datagrams`, because one for all would answer by another address than it was asked by. Their
/// threads end with the process.
pub fn answer(net: &Net, name: &str, tcp: u16, datagrams: &[&str]) {
    let datagrams: Vec<_> = datagrams.iter().map(|one| (*one).to_owned()).collect();
    net.inside(name, move || {
        let any = SocketAddr::from(([0_u16; 8], tcp));
        let listener = TcpListener::bind(any).expect("nobody else is there");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        for address in datagrams {
            let socket = UdpSocket::bind(address).expect("nobody else is there");
            std::thread::spawn(move || {
                let mut bytes = [0; 2_048];
                while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], peer);
                }
            });
        }
    });
}

fn serve(stream: TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    match (words.next(), words.next().and_then(|number| number.parse().ok())) {
        (Some("get"), Some(length)) => writer.write_all(&payload(length)),
        (Some("put"), Some(length)) => {
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes)?;
            writer.write_all(format!("{length} {} {peer}", digest(&bytes)).as_bytes())
        }
        _ => Ok(()),
    }
}

/// Connects to port 80 of a VIP and asks for something.
pub fn ask(vip: &str, request: &[u8]) -> io::Result<TcpStream> {
    ask_at(&format!("{vip}:80"), request)
}

fn ask_at(address: &str, request: &[u8]) -> io::Result<TcpStream> {
    let address: SocketAddr = address.parse().expect("it is an address");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    Ok(stream)
}

/// Downloads that many bytes, and says whether they are the right ones.
pub fn get(vip: &str, length: usize) -> io::Result<bool> {
    let mut bytes = Vec::new();
    ask(vip, format!("get {length}\n").as_bytes())?.read_to_end(&mut bytes)?;
    Ok(bytes == payload(length))
}

/// Uploads that many bytes, and says whom the backend takes us for, if it has got all of them.
pub fn put(vip: &str, length: usize) -> io::Result<Option<String>> {
    put_to(&format!("{vip}:80"), length)
}

/// The same, with the port.
pub fn put_to(address: &str, length: usize) -> io::Result<Option<String>> {
    let (head, bytes) = (format!("put {length}\n"), payload(length));
    let mut stream = ask_at(address, &[head.as_bytes(), &bytes].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let expected = format!("{length} {} ", digest(&bytes));
    Ok(answer.strip_prefix(&expected).map(str::to_owned))
}

/// A socket that datagrams to port 53 of a VIP are sent by.
pub fn datagrams(vip: &str) -> UdpSocket {
    let any = if vip.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).expect("there is a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket.connect(format!("{vip}:53")).expect("there is a way");
    socket
}

/// Whether a datagram comes back as it was.
pub fn echo(socket: &UdpSocket, question: &[u8]) -> bool {
    let mut bytes = [0; 2_048];
    socket.send(question).is_ok()
        && socket.recv(&mut bytes).is_ok_and(|length| &bytes[..length] == question)
}

/// What is sent.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// Not a checksum of TCP's kind: it sees what those miss.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5_381, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Sends SYNs to both VIPs in turn from addresses that nobody has; gives the next seed, and how
/// many the kernel has sent.
pub fn flood(seed: u64, packets: usize) -> (u64, u64) {
    let raw = |family| {
        let socket = socket(family, SocketType::RAW, Some(ipproto::RAW));
        // Not UDP's, but sending is the same.
        let socket = UdpSocket::from(socket.expect("root may have a raw socket"));
        socket.set_write_timeout(Some(PATIENCE)).expect("it is not zero");
        socket
    };
    let (v4, v6) = (raw(AddressFamily::INET), raw(AddressFamily::INET6));
    let (mut seed, mut sent_count) = (seed, 0);
    for number in 0..packets {
        // xorshift64 (Marsaglia 2003).
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let random = seed.to_ne_bytes();
        let sent = match number % 2 {
            0 => v4.send_to(&syn_v4(random), "10.9.0.10:0"),
            _ => v6.send_to(&syn_v6(random), "[fd00:9::a]:0"),
        };
        // A queue that is full is what a flood meets.
        sent_count += u64::from(sent.is_ok());
    }
    (seed, sent_count)
}

fn syn_v4([first, b, c, d, e, f, g, h]: [u8; 8]) -> [u8; 40] {
    let mut packet = [0; 40];
    // The kernel fills in the header's checksum and identification.
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    packet[12..20].copy_from_slice(&[20 + first % 80, b, c, d, 10, 9, 0, 10]);
    syn(&mut packet[12..], 8, [e | 4, f], [g, h]);
    packet
}

fn syn_v6([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u8; 60] {
    let mut packet = [0; 60];
    packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 20, 6, 64]);
    // Of 2a00::/16, which is given out by RIPE: no martian.
    packet[8..16].copy_from_slice(&[0x2a, 0, a, b, c, d, g, h]);
    packet[24..40].copy_from_slice(&"fd00:9::a".parse::<Ipv6Addr>().expect("a VIP").octets());
    syn(&mut packet[8..], 32, [e | 4, f], [g, h]);
    packet
}

/// Writes a SYN's header behind the addresses of so many bytes (RFC 9293 §3.1).
fn syn(packet: &mut [u8], addresses: usize, port: [u8; 2], sequence: [u8; 2]) {
    let header = &mut packet[addresses..];
    header[..6].copy_from_slice(&[port[0], port[1], 0, 80, sequence[0], sequence[1]]);
    header[12..16].copy_from_slice(&[0x50, 2, 0xff, 0xff]);
    let words = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    // With the pseudo header's protocol, and its length.
    let sum = words.sum::<u32>() + 6 + 20;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[addresses + 16..][..2].copy_from_slice(&sum.to_be_bytes());
}
