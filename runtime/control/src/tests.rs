//! The control side over shards that are none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use penstock_proxy::{Capacity, Snapshot};

use crate::{
    Boot, Control, ControlThread, Datapaths, Ended, Listening, LogCounts, NoDatapaths, Prepared,
    Refused, ShardCounts, Shards, ShardsError, Source,
};

/// Shards that only remember.
#[derive(Default)]
struct Pretended {
    snapshots: Vec<Arc<Snapshot>>,
    ended: Vec<Ended>,
    refuse: bool,
}

struct Turn<'a>(&'a mut Pretended, Arc<Snapshot>);

impl Prepared for Turn<'_> {
    fn commit(self: Box<Self>) {
        self.0.snapshots.push(self.1);
    }
}

impl Shards for Pretended {
    fn count(&self) -> usize {
        1
    }

    fn prepare<'a>(
        &'a mut self,
        next: &Arc<Snapshot>,
    ) -> Result<Box<dyn Prepared + 'a>, ShardsError> {
        match self.refuse {
            true => Err(ShardsError::Behind { index: 0 }),
            false => Ok(Box::new(Turn(self, Arc::clone(next)))),
        }
    }

    fn drain(&mut self, _longest: Duration) {
        self.ended.push(Ended { index: 0, error: None });
    }

    fn ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    fn restart(&mut self, _index: usize, _current: &Arc<Snapshot>) -> Result<(), ShardsError> {
        Ok(())
    }

    fn counts(&self, _index: usize) -> ShardCounts {
        ShardCounts::default()
    }

    fn listening(&self) -> Vec<Listening> {
        Vec::new()
    }

    fn reopen_log(&mut self) {}

    fn give_memory_back(&mut self) {}

    fn log_counts(&self) -> Option<LogCounts> {
        None
    }

    fn events_lost(&self) -> u64 {
        0
    }
}

const CONFIG: &str = r#"
[runtime]
shards = 1

[listener.web]
address = ":8080"
to = "app"

[cluster.app]
endpoints = ["127.0.0.1:9001"]
"#;

/// A config in a file of its own, and the control side over it.
fn control(name: &str, refuse: bool) -> (PathBuf, Control) {
    let path = std::env::temp_dir().join(format!("penstock-{name}-{}.toml", std::process::id()));
    let shards = Pretended { refuse, ..Pretended::default() };
    let control = started(&path, CONFIG, shards, Box::new(NoDatapaths));
    (path, control)
}

/// The control side over a config that is written to this file.
pub(crate) fn control_of(path: &Path, config: &str) -> Control {
    control_over(path, config, Box::new(NoDatapaths))
}

/// The same over datapaths that are there.
pub(crate) fn control_over(path: &Path, config: &str, datapaths: Box<dyn Datapaths>) -> Control {
    started(path, config, Pretended::default(), datapaths)
}

/// The same over shards that serve no other config.
pub(crate) fn control_refusing(path: &Path, text: &str, datapaths: Box<dyn Datapaths>) -> Control {
    let shards = Pretended { refuse: true, ..Pretended::default() };
    started(path, text, shards, datapaths)
}

fn started(path: &Path, config: &str, shards: Pretended, datapaths: Box<dyn Datapaths>) -> Control {
    std::fs::write(path, config).expect("a config");
    let boot = Boot::read(Source::new(path)).expect("a right config");
    let capacity = Capacity::new(1_000, 7);
    boot.start(capacity, datapaths, |_, _, _| Ok(shards)).expect("started")
}

#[test]
fn a_refused_config_changes_nothing_and_is_counted() {
    let (path, mut control) = control("refused", false);
    std::fs::write(&path, "[listener.web]\n").expect("write");
    assert!(matches!(control.reload(), Err(Refused::Findings(_))));
    let status = control.status();
    assert_eq!((status.config.generation, status.config.refused), (1, 1));
    assert!(status.config.last_refusal.is_some_and(|why| why.contains("listener.web")));
    std::fs::write(&path, CONFIG.replace("9001", "9002")).expect("write");
    let applied = control.reload().expect("a right config");
    assert_eq!((applied.generation, control.status().config.applied), (2, 1));
    assert_eq!(applied.changes, ["cluster.app.endpoints"]);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn shards_that_cannot_serve_a_config_keep_the_old_one() {
    let (path, mut control) = control("behind", true);
    assert!(matches!(control.reload(), Err(Refused::Shards(ShardsError::Behind { index: 0 }))));
    assert_eq!(control.snapshot().generation, 1);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_shard_that_died_is_started_again_and_counted() {
    let path = std::env::temp_dir().join(format!("penstock-died-{}.toml", std::process::id()));
    let ended = vec![Ended { index: 0, error: Some("it died".to_owned()) }];
    let shards = Pretended { ended, ..Pretended::default() };
    let mut control = started(&path, CONFIG, shards, Box::new(NoDatapaths));
    control.tend_shards();
    let metrics = control.metrics();
    assert!(!control.is_ready() && metrics.contains("penstock_shard_running{shard=\"0\"} 0"));
    // Not at once: it had only just begun.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !control.is_ready() {
        assert!(std::time::Instant::now() < deadline, "nobody starts it");
        std::thread::sleep(Duration::from_millis(20));
        control.on_time();
    }
    let metrics = control.metrics();
    assert!(metrics.contains("penstock_shard_restarts_total{shard=\"0\"} 1"), "{metrics}");
    assert_eq!(control.status().shards[0].restarts, 1);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_config_made_for_another_is_refused() {
    let (path, mut control) = control("stale", false);
    assert!(matches!(control.put_config(CONFIG.as_bytes(), "7"), Err(Refused::Stale { .. })));
    let text = CONFIG.replace("shards = 1", "shards = 2");
    let tag = control.tag();
    let applied = control.put_config(text.as_bytes(), &tag).expect("in force");
    assert_eq!(applied.needs_restart, ["runtime.shards"]);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn listeners_keep_their_places_over_reloads() {
    let (path, mut control) = control("places", false);
    let second = "[listener.api]\naddress = \":8081\"\nto = \"app\"\n";
    let mut put = |text: String| {
        let tag = control.tag();
        control.put_config(text.as_bytes(), &tag).expect("in force");
        let listeners = control.snapshot().listeners.iter();
        let places = listeners.map(|one| (one.config.name.to_string(), one.removed));
        places.collect::<Vec<_>>()
    };
    let (web, api) = ("web".to_owned(), "api".to_owned());
    // By name `api` comes first; by place it stays behind the one that was there.
    let both = [(web.clone(), false), (api.clone(), false)];
    assert_eq!(put(format!("{CONFIG}{second}")), both);
    let renamed = CONFIG.replace("listener.web", "listener.api");
    assert_eq!(put(renamed), [(web, true), (api, false)]);
    assert_eq!(put(format!("{CONFIG}{second}")), both);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn questions_are_answered_and_a_drain_ends_the_thread() {
    let (path, control) = control("thread", false);
    let thread = ControlThread::start(control, Vec::new()).expect("a thread");
    let handle = thread.handle().clone();
    assert_eq!(handle.ask_blocking(|control| control.is_ready()), Ok(true));
    // A question that panics costs the one who asked.
    assert!(handle.ask_blocking(|_| panic!("asked for")).is_err());
    let metrics = handle.ask_blocking(|control| control.metrics()).expect("metrics");
    assert!(metrics.contains("penstock_config_generation 1"), "{metrics}");
    handle.ask_blocking(Control::drain).expect("told");
    let outcome = thread.join().expect("an end");
    assert_eq!((outcome.cut, outcome.failed), (0, false));
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_certificate_for_endpoints_that_is_over_holds_nothing_else_up() {
    let path = std::env::temp_dir().join(format!("penstock-over-{}.toml", std::process::id()));
    let files = [path.with_extension("pem"), path.with_extension("key")];
    let make = |name: &str| {
        let mut wish = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        wish.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = wish.self_signed(&key).expect("a certificate");
        std::fs::write(&files[0], made.pem()).expect("written");
        std::fs::write(&files[1], key.serialize_pem()).expect("written");
    };
    let tls = format!(
        "[cluster.app.tls]\nverify = \"off\"\ncert = \"{}\"\nkey = \"{}\"\n",
        files[0].display(),
        files[1].display()
    );
    make("a.test");
    let mut control = control_of(&path, &format!("{CONFIG}{tls}"));
    // It serves with what there is, and goes on so.
    std::fs::write(&path, format!("{CONFIG}timeouts.connect = \"3s\"\n{tls}")).expect("written");
    control.reload().expect("in force");
    // One that was over before it came is another matter.
    make("b.test");
    let refused = control.reload().expect_err("it is over").to_string();
    assert!(refused.contains("cluster.app.tls") && refused.contains("expired"), "{refused}");
    std::fs::remove_file(path).expect("removed");
    files.iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
}
