//! The access log: a line for each request, through rotations and reloads.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Folder, Origin, Penstock, until};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

fn wait_for(path: &Path, count: usize) -> Vec<Value> {
    until("the lines are written", || Some(lines(path)).filter(|lines| lines.len() >= count))
}

#[test]
fn every_request_is_a_line_in_the_file_of_now() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let (first, moved) = (folder.join("access.log"), folder.join("access.log.1"));
    let second = folder.join("other.log");
    let config =
        |target: &str| format!("[observe]\naccess_log = \"{target}\"\n{}", origin.config());
    let json = |path: &Path| config(&format!("json:{}", path.display()));
    let penstock = Penstock::start_in(folder, &json(&first));
    let mut client = Client::connect(penstock.address("web"));
    for number in 0..100 {
        client.get(&format!("/{number}?q=1")).expect("an answer");
    }
    let seen = wait_for(&first, 100);
    assert_eq!(seen.len(), 100);
    assert_eq!((&seen[7]["path"], &seen[7]["status"]), (&"/7?q=1".into(), &200.into()));
    assert_eq!((&seen[7]["listener"], &seen[7]["cluster"]), (&"web".into(), &"app".into()));
    assert_eq!(seen[7]["endpoint"], origin.address.to_string());
    // A rotation: the file is moved away, and a signal has it made anew.
    std::fs::rename(&first, &moved).expect("moved");
    penstock.signal(Signal::USR1);
    until("the file is made anew", || first.exists().then_some(()));
    client.get("/rotated").expect("an answer");
    assert_eq!(wait_for(&first, 1)[0]["path"], "/rotated");
    // A reload to another file, to none, and back.
    for (target, path) in [(json(&second), Some(&second)), (config("off"), None)] {
        penstock.write(&target);
        assert_eq!(penstock.reload().0, 200);
        client.get("/after").expect("an answer");
        if let Some(path) = path {
            assert_eq!(wait_for(path, 1)[0]["path"], "/after");
        }
    }
    penstock.write(&json(&first));
    assert_eq!(penstock.reload().0, 200);
    client.get("/again").expect("an answer");
    assert_eq!(wait_for(&first, 2)[1]["path"], "/again");
    assert_eq!((lines(&moved).len(), lines(&second).len()), (100, 1));
    assert_eq!(penstock.metric("penstock_access_log_lost_total"), 0.0);
}

#[test]
fn what_was_served_is_written_before_the_end() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let path = folder.join("access.log");
    let config = format!("[observe]\naccess_log = \"text:{}\"\n", path.display());
    let mut penstock = Penstock::start_in(folder, &format!("{config}{}", origin.config()));
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..500 {
        client.get("/").expect("an answer");
    }
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success());
    let text = std::fs::read_to_string(&path).expect("the log");
    assert_eq!(text.lines().count(), 500);
}

#[test]
fn the_shipped_filter_counts_the_bytes_that_the_log_has() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let path = folder.join("access.log");
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../../filters/compiled/access-metrics.wasm");
    let config =
        origin.config().replace("[listener.web]\n", "[listener.web]\nfilters = [\"count\"]\n");
    let config = format!(
        "[observe]\naccess_log = \"json:{}\"\n[filter.count]\nwasm = \"{module}\"\n\
         config = {{ by = \"none\" }}\n{config}",
        path.display()
    );
    let penstock = Penstock::start_in(folder, &config);
    let mut client = Client::connect(penstock.address("web"));
    for _ in 0..3 {
        client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").expect("sent");
        assert_eq!(client.reply().expect("an answer").status, 200);
    }
    let lines = wait_for(&path, 3);
    for (field, metric) in [("bytes_in", "request_bytes"), ("bytes_out", "response_bytes")] {
        let logged = lines.iter().map(|line| line[field].as_f64().expect("a number")).sum::<f64>();
        assert!(logged > 3.0 * 30.0, "{field} {logged}");
        let name = format!("penstock_wasm_{metric}_all_sum{{filter=\"count\"}}");
        assert_eq!(penstock.metric(&name), logged, "{name}");
    }
}
