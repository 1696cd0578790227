//! The file that BIRD's configuration includes.

use std::fmt::Write as _;

use penstock_config::{Bgp, Cidr, Config};

/// What is announced: what was said, or every VIP by itself.
pub(super) fn routes(config: &Config, bgp: &Bgp) -> Vec<Cidr> {
    let mut routes: Vec<Cidr> = match bgp.announce.is_empty() {
        false => bgp.announce.clone(),
        true => {
            let vips = config.services.iter().flat_map(|service| &service.vips);
            let vips = vips.map(|vip| vip.ip()).filter(|ip| !ip.is_unspecified());
            vips.map(Cidr::host).collect()
        }
    };
    routes.sort();
    routes.dedup();
    routes
}

/// The file's text: sessions always, so that they are up when there is something to say; these
/// routes, or none.
pub(super) fn text(bgp: &Bgp, routes: &[Cidr]) -> String {
    let mut text = String::from(HEAD);
    for (family, is_v4) in FAMILIES {
        let _ = writeln!(text, "\nprotocol static penstock_ip{family} {{\n\tipv{family};");
        for route in routes.iter().filter(|route| route.network().is_ipv4() == is_v4) {
            // Never to be forwarded by the kernel: our own addresses take the packets before.
            let _ = writeln!(text, "\troute {route} blackhole;");
        }
        text.push_str("}\n");
    }
    for (number, peer) in (1..).zip(&bgp.peers) {
        let (asn, id, address) = (bgp.asn, bgp.router_id, peer.address());
        let theirs = peer.asn().map_or("external".to_owned(), |asn| format!("as {asn}"));
        let bfd = if bgp.bfd { "on" } else { "off" };
        let from = bgp.template.as_ref().map_or_else(String::new, |name| format!("from {name} "));
        let _ = write!(
            text,
            "\nprotocol bgp {} {from}{{\n\trouter id {id};\n\tlocal as {asn};\n\
             \tneighbor {address} {theirs};\n\tbfd {bfd};\n",
            session_name(number),
        );
        for (family, _) in FAMILIES {
            let _ = writeln!(
                text,
                "\tipv{family} {{ import none; export where proto = \"penstock_ip{family}\"; }};",
            );
        }
        text.push_str("}\n");
    }
    text
}

/// The file when there is nothing to say to anybody.
pub(super) fn empty() -> String {
    HEAD.to_owned()
}

/// What BIRD calls the session with the peer of this number, from 1 on.
pub(super) fn session_name(number: usize) -> String {
    format!("penstock_{number}")
}

const HEAD: &str = "# Written by penstock, for `include` in BIRD's own configuration.\n";
const FAMILIES: [(u8, bool); 2] = [(4, true), (6, false)];

#[cfg(test)]
mod tests {
    use penstock_config::{Config, UncheckedFiles};

    use super::{routes, text};

    #[test]
    fn vips_are_announced_to_every_peer_and_taken_back() {
        let config = r#"
            [fleet.bgp]
            asn = 65010
            router_id = "10.0.0.2"
            peers = ["10.0.0.1", "fd00::1 as 65001"]
            bfd = false
            [service.a]
            vip = ["203.0.113.10", "2001:db8::10"]
            ports = "tcp/80"
            to = "app"
            [service.b]
            vip = "203.0.113.10"
            ports = "tcp/443"
            to = "app"
            [service.c]
            vip = "0.0.0.0"
            ports = "tcp/25"
            to = "app"
            [cluster.app]
            endpoints = ["127.0.0.1:1"]
        "#;
        let config = Config::parse("f", config.as_bytes(), &UncheckedFiles);
        let config = config.unwrap_or_else(|findings| panic!("{findings}"));
        let bgp = config.fleet.bgp.as_ref().expect("it was said");
        let session = |number, neighbor| {
            format!(
                "\nprotocol bgp penstock_{number} {{\n\trouter id 10.0.0.2;\n\tlocal as 65010;\n\
                 \tneighbor {neighbor};\n\tbfd off;\n\
                 \tipv4 {{ import none; export where proto = \"penstock_ip4\"; }};\n\
                 \tipv6 {{ import none; export where proto = \"penstock_ip6\"; }};\n}}\n"
            )
        };
        let sessions = session(1, "10.0.0.1 external") + &session(2, "fd00::1 as 65001");
        let head = "# Written by penstock, for `include` in BIRD's own configuration.\n";
        let serving = "\nprotocol static penstock_ip4 {\n\tipv4;\n\
                       \troute 203.0.113.10/32 blackhole;\n}\n\
                       \nprotocol static penstock_ip6 {\n\tipv6;\n\
                       \troute 2001:db8::10/128 blackhole;\n}\n";
        assert_eq!(text(bgp, &routes(&config, bgp)), format!("{head}{serving}{sessions}"));
        let mut uplink = bgp.clone();
        uplink.template = Some("uplink".parse().expect("a name"));
        assert!(text(&uplink, &[]).contains("\nprotocol bgp penstock_2 from uplink {\n"));
        let silent = "\nprotocol static penstock_ip4 {\n\tipv4;\n}\n\
                      \nprotocol static penstock_ip6 {\n\tipv6;\n}\n";
        assert_eq!(text(bgp, &[]), format!("{head}{silent}{sessions}"));
    }
}
