//! Packets whose checksum the kernel has left open.
//!
//! A backend's kernel merges what arrives for one connection (GRO), inside of GRE and IP in IP too.
//! What a raw socket gives is then one packet of many, with only the pseudo-header summed up in its
//! checksum's place: the rest would be the work of whoever sends it on. So it is handed back with
//! that said of it. Of whole checksums one in 65,536 looks the same, and goes unverified.

/// Where the checksum begins that is open, and where it stands from there on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Open {
    pub(crate) start: u16,
    pub(crate) offset: u16,
}

/// Of a whole packet of TCP or UDP: whether its checksum is open.
pub(super) fn open(packet: &[u8]) -> Option<Open> {
    let (protocol, start, addresses) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, usize::from(packet[0] & 15) * 4, packet.get(12..20)?),
        // With extension headers the kernel merges nothing.
        _ => (*packet.get(6)?, 40, packet.get(8..40)?),
    };
    let offset = match protocol {
        6 => 16,
        17 => 6,
        _ => return None,
    };
    let field = packet.get(start + offset..start + offset + 2)?;
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    // RFC 9293 §3.1: addresses, protocol, length.
    let sum = words(addresses) + u32::from(protocol) + (packet.len() - start) as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (words(field) == sum).then_some(Open { start: start as u16, offset: offset as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(checksum: [u8; 2]) -> Vec<u8> {
        let mut packet = vec![0; 44];
        (packet[0], packet[9]) = (0x46, 6);
        packet[12..20].copy_from_slice(&[0xff, 0xff, 0, 1, 0, 2, 0, 3]);
        packet[24 + 16..24 + 18].copy_from_slice(&checksum);
        packet
    }

    #[test]
    fn the_pseudo_headers_sum_in_its_place_is_an_open_checksum() {
        // 0xffff + 1 + 2 + 3, protocol 6, 20 bytes of TCP; the carry comes back in.
        let open_at = Some(Open { start: 24, offset: 16 });
        assert_eq!(open(&v4([0, 1 + 2 + 3 + 6 + 20])), open_at);
        assert_eq!(open(&v4([0, 33])), None);
    }

    #[test]
    fn what_is_neither_tcp_nor_udp_or_ends_early_has_none() {
        let packet = v4([0, 32]);
        for end in 0..42 {
            assert_eq!(open(&packet[..end]), None);
        }
        let mut echo = packet;
        echo[9] = 1;
        assert_eq!(open(&echo), None);
    }
}
