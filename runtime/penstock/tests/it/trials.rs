//! New versions of a filter under load: a canary that is promoted, and swaps that are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::{Client, Folder, Origin, Penstock, until};

/// Clients that ask for `/` on connections of their own, and what they were answered.
struct Load {
    going: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(penstock: &Penstock) -> Load {
        let going = Arc::new(AtomicBool::new(true));
        let (answered, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let address = penstock.address("web");
        let client = |_| {
            let (going, answered) = (Arc::clone(&going), Arc::clone(&answered));
            let failed = Arc::clone(&failed);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while going.load(Relaxed) {
                    let reply = client.get("/").expect("the same connection answers");
                    let count = if reply.status == 200 { &answered } else { &failed };
                    count.fetch_add(1, Relaxed);
                }
            })
        };
        let threads = (0..8).map(client).collect();
        Load { going, answered, failed, threads }
    }

    /// Waits until so many more were served.
    #[track_caller]
    fn serve(&self, more: usize) {
        let before = self.answered.load(Relaxed);
        until("requests are answered", || {
            (self.answered.load(Relaxed) >= before + more).then_some(())
        });
    }

    /// Ends it: how many requests failed.
    fn end(self) -> usize {
        self.going.store(false, Relaxed);
        for thread in self.threads {
            thread.join().expect("no connection was closed");
        }
        self.failed.load(Relaxed)
    }
}

fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 0)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body}))"#
    );
    wat::parse_str(text).expect("the text is a module")
}

/// The one filter's view, and its versions: state, and the share and failures of each.
fn versions(penstock: &Penstock) -> (String, Vec<(f64, u64)>) {
    let filters = penstock.json("/v1/filters");
    let view = &filters[0];
    let versions = view["versions"].as_array().into_iter().flatten();
    let version = |one: &Value| {
        (one["share"].as_f64().expect("a share"), one["failures"].as_u64().expect("a count"))
    };
    (view["state"].as_str().expect("a state").to_owned(), versions.map(version).collect())
}

/// A proxy with modules in its folder, and what a config is with this block.
fn penstock(origin: &Origin, block: &str) -> (Penstock, impl Fn(&str) -> String) {
    let folder = Folder::new();
    for (name, body) in [
        ("good", "i32.const 0"),
        ("better", "(drop (i32.const 1)) i32.const 0"),
        ("broken", "unreachable"),
        ("loops", "(loop $on (br $on)) i32.const 0"),
    ] {
        std::fs::write(folder.join(&format!("{name}.wasm")), module(body)).expect("written");
    }
    let text = origin.config().replace("to =", "filters = [\"f\"]\nto =");
    let path = folder.join("x").display().to_string();
    let path = path.trim_end_matches('x').to_owned();
    let config = move |block: &str| format!("{text}[filter.f]\n{}", block.replace("DIR/", &path));
    (Penstock::start_in(folder, &config(block)), config)
}

#[test]
fn a_canary_gets_a_share_and_is_promoted_without_a_failed_request() {
    let origin = Origin::named("one");
    let own = "wasm = \"DIR/good.wasm\"\n";
    let (penstock, config) = penstock(&origin, own);
    let load = Load::start(&penstock);
    let steps = [
        (format!("{own}canary = {{ share = \"20%\", wasm = \"DIR/better.wasm\" }}\n"), "canary"),
        (format!("{own}canary = {{ share = \"80%\", wasm = \"DIR/better.wasm\" }}\n"), "canary"),
        ("wasm = \"DIR/better.wasm\"\n".to_owned(), "promoted"),
    ];
    let shares = [0.2, 0.8, 1.0];
    for ((block, state), share) in steps.iter().zip(shares) {
        penstock.write(&config(block));
        let (status, body) = penstock.reload();
        assert_eq!(status, 200, "{body}");
        load.serve(400);
        let (found, versions) = versions(&penstock);
        assert_eq!((&*found, versions[1]), (*state, (share, 0)), "{versions:?}");
        let asked = "penstock_filter_version_requests_total{filter=\"f\",version=\"candidate\"}";
        assert!(penstock.metric(asked) > 0.0);
    }
    // Back to the one that was there before: there is nothing to try.
    penstock.write(&config(own));
    assert_eq!(penstock.reload().0, 200);
    load.serve(400);
    assert_eq!(versions(&penstock), ("serving".to_owned(), Vec::new()));
    assert_eq!(load.end(), 0);
    assert_eq!(penstock.metric("penstock_filter_rollbacks_total{filter=\"f\"}"), 0.0);
}

#[test]
fn versions_that_trap_or_loop_are_taken_back_under_load() {
    let origin = Origin::named("one");
    let own = "wasm = \"DIR/good.wasm\"\n";
    let (penstock, config) = penstock(&origin, own);
    let load = Load::start(&penstock);
    load.serve(100);
    let steps = [
        "wasm = \"DIR/broken.wasm\"\n".to_owned(),
        format!("{own}canary = {{ share = \"50%\", wasm = \"DIR/loops.wasm\" }}\n"),
    ];
    for (block, taken) in steps.iter().zip(1..) {
        penstock.write(&config(block));
        let (status, body) = penstock.reload();
        assert_eq!(status, 200, "{body}");
        until("it is taken back", || (versions(&penstock).0 == "rolled-back").then_some(()));
        let rollbacks = penstock.metric("penstock_filter_rollbacks_total{filter=\"f\"}");
        assert_eq!(rollbacks, f64::from(taken));
        let (_, versions) = versions(&penstock);
        assert_eq!((versions[0], versions[1].0), ((1.0, 0), 0.0));
        // Requests that were on their way beside the last failure may fail, too: one on each
        // of two shards.
        assert!((5..=7).contains(&versions[1].1), "{versions:?}");
        assert!(penstock.errors().contains("taken back: the new version"), "{}", penstock.errors());
        load.serve(200);
    }
    let failed = load.end();
    assert!((10..=14).contains(&failed), "{failed}");
}
