//! `nat`: both ways through the appliance, with whole connections.

use std::collections::BTreeSet;

use super::ground::peers::{answer, datagrams, echo};
use super::site::{BACKENDS, LARGE, Site, VIPS, can_be};

#[test]
fn requests_downloads_uploads_and_datagrams_pass_in_both_families() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let datagram_ports = ["[::]:8080"];
    for name in BACKENDS {
        answer(&site.net, name, 8_081, &datagram_ports);
    }
    // So that flows are there to be counted at the end, however long all this takes.
    let timeouts = "timeouts = { closed = \"1h\", datagram = \"1h\" }";
    let penstock = site.start("lb0", &site.config("lb0", "nat", &BACKENDS, timeouts));
    for (vip, own) in VIPS.into_iter().zip(["10.2.0.2", "fd00:2::2"]) {
        let url = format!("http://{vip}/who");
        let answers: BTreeSet<String> = (0..40).map(|_| site.curl(&[&url])).collect();
        // The backends see the appliance's own address, and all of them are seen.
        let expected = BACKENDS.map(|name| format!("{name} {own}\n"));
        assert_eq!(answers, BTreeSet::from(expected), "{vip}");
        let large =
            site.curl(&["-o", "/dev/null", "-w", "%{size_download}", &url.replace("who", "large")]);
        assert_eq!(large, LARGE.to_string());
        let echoes = site.net.inside("client", move || {
            (0..20).filter(|_| echo(&datagrams(vip), b"a question")).count()
        });
        assert_eq!(echoes, 20, "{vip}");
    }
    let service = &penstock.json("/v1/services")[0];
    assert_eq!((&service["mode"], &service["datapath"]), (&"nat".into(), &"xdp".into()));
    let backends = service["backends"].as_array().expect("a list");
    assert_eq!(backends.len(), 6);
    for backend in backends {
        assert!(backend["packets"].as_u64() > Some(10), "{service:#}");
        assert!(backend["return_packets"].as_u64() > Some(10), "{service:#}");
        assert!(backend["flows"].as_u64() > Some(0), "{service:#}");
    }
    let bytes =
        "penstock_vip_return_bytes_total{service=\"s\",vip=\"10.9.0.10:80\",transport=\"tcp\"}";
    assert!(penstock.metric(bytes) > LARGE as f64);
    let flows = penstock.json("/v1/flows?client=10.1.0.2&limit=3");
    assert_eq!(flows["flows"].as_array().map(Vec::len), Some(3), "{flows:#}");
    let largest = &flows["flows"][0];
    assert!(largest["return_bytes"].as_u64() > Some(LARGE as u64), "{flows:#}");
    assert_eq!((&largest["service"], &largest["transport"]), (&"s".into(), &"tcp".into()));
    assert_eq!(penstock.json("/v1/flows?client=10.1.0.9")["count"], 0);
    assert_eq!(penstock.ask("GET", "/v1/flows?client=nobody").0, 400);
}
