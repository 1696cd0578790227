//! Versions beside each other on two shards: who gets them, what takes one back, what reloads do.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::testing::{FakeSession, FakeWorld};
use crate::tests::module;
use crate::{
    Chain, ChainLink, Code, Engine, EngineSettings, FilterHost, FilterSettings, Filters, Flow,
    Installed, PluginSettings, Role, Rollback, Stage, TrialKind, Wanted, World,
};

/// Marks requests; those for `/t` trap.
fn marks(mark: &str) -> Vec<u8> {
    module(&format!(
        r#"(data (i32.const 512) "{mark}")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $value
                (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 1024) (i32.const 1028)))
            (if (i32.eq (i32.load8_u offset=1 (i32.load (i32.const 1024))) (i32.const 116))
                (then unreachable))
            (drop (call $add
                (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 512) (i32.const 3)))
            i32.const 0)"#
    ))
}

/// Fails at every request.
const BROKEN: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)"#;

struct Shards {
    host: FilterHost,
    world: Rc<FakeWorld>,
    shards: [Filters; 2],
    installed: Option<Installed>,
}

impl Shards {
    fn new() -> Shards {
        let engine = EngineSettings { deadlines: false, fuel_max: None };
        let engine = Engine::new(engine).expect("this machine runs WebAssembly");
        let world = Rc::new(FakeWorld::new(7));
        let seen: Rc<dyn World> = world.clone();
        Shards {
            host: FilterHost::new(engine, None, 2, 7),
            shards: [0, 1].map(|shard| Filters::new(shard, seen.clone())),
            world,
            installed: None,
        }
    }

    /// A config with this module, and perhaps a canary of that share.
    fn reload(&mut self, own: &[u8], canary: Option<(&[u8], u32)>) -> &mut Shards {
        self.reload_with(own, canary, Rollback::default(), &[""])
    }

    fn reload_with(
        &mut self,
        own: &[u8],
        canary: Option<(&[u8], u32)>,
        rollback: Rollback,
        configs: &[&str],
    ) -> &mut Shards {
        let plugin = |config: &&str| PluginSettings {
            config: config.as_bytes().into(),
            ..PluginSettings::default()
        };
        let plugins = configs.iter().map(plugin).collect();
        let settings = FilterSettings { plugins, ..FilterSettings::new("f") };
        let wanted = Wanted {
            canary: canary.map(|(_, share)| (settings.clone(), share)),
            settings,
            rollback,
        };
        let seen: Rc<dyn World> = self.world.clone();
        let canary = canary.map(|(wasm, _)| Code::Wasm(wasm));
        let previous = self.installed.as_ref();
        let next = self.host.install(wanted, Code::Wasm(own), canary, previous, &seen);
        let next = next.expect("the modules start");
        self.shards.iter().for_each(|shard| shard.apply(std::slice::from_ref(&next)));
        self.installed = Some(next);
        self
    }

    /// What a request is marked with on a shard; `None` where it is denied.
    fn ask_on(&self, shard: usize, path: &str) -> Option<String> {
        let fields = [(":method", "GET"), (":path", path), (":authority", "h")];
        let (mut session, mut chain) = (FakeSession::new(&fields), Chain::new());
        chain.begin(&self.shards[shard], &[ChainLink { filter: 0, plugin: 0 }]);
        let flow = chain.request_headers(&mut session, true);
        chain.finish(&mut session);
        let mark = session.request.values("x-seen").next();
        let mark = mark.map(|mark| String::from_utf8_lossy(mark).into_owned());
        assert_eq!(flow == Flow::Continue, mark.is_some());
        mark
    }

    fn ask(&self, path: &str) -> Option<String> {
        self.ask_on(0, path)
    }

    /// Of that many requests in turn on both shards, those that get this mark.
    fn count(&self, requests: usize, mark: &str) -> usize {
        let marked = (0..requests).map(|at| self.ask_on(at % 2, "/"));
        marked.filter(|found| found.as_deref() == Some(mark)).count()
    }

    fn trial(&self) -> Option<(TrialKind, Stage)> {
        let trial = self.installed.as_ref()?.trial()?;
        Some((trial.kind, trial.stage()))
    }

    fn rollbacks(&self) -> u64 {
        let filter = self.installed.as_ref().expect("it has a config").filter();
        filter.stats().serving().map(|shard| shard.rollbacks.value()).sum()
    }
}

#[test]
fn a_canary_gets_its_share_on_every_shard() {
    let (old, new) = (marks("old"), marks("new"));
    let mut stage = Shards::new();
    stage.reload(&old, Some((&new, 2_000)));
    let count = stage.count(10_000, "new");
    assert!((1_850..2_150).contains(&count), "{count}");
    let trial = stage.installed.as_ref().and_then(Installed::trial).expect("it runs").clone();
    assert_eq!(trial.requests(Role::Candidate), count as u64);
    assert_eq!(trial.requests(Role::Stable), 10_000 - count as u64);
    assert_eq!((trial.share_of(Role::Stable), trial.share_of(Role::Candidate)), (8_000, 2_000));
    // Nothing changed: it goes on, with its counts. Another share is another trial.
    stage.reload(&old, Some((&new, 2_000)));
    assert_eq!(trial.requests(Role::Candidate), count as u64);
    assert!(
        stage
            .installed
            .as_ref()
            .and_then(Installed::trial)
            .is_some_and(|now| { Arc::ptr_eq(now, &trial) })
    );
    assert_eq!(stage.reload(&old, Some((&new, 0))).count(100, "old"), 100);
    assert_eq!(stage.reload(&old, Some((&new, 10_000))).count(100, "new"), 100);
    assert_eq!(stage.reload(&old, None).count(100, "old"), 100);
    assert_eq!(stage.trial(), None);
}

#[test]
fn a_canary_that_fails_is_taken_back_everywhere() {
    let (old, broken) = (marks("old"), module(BROKEN));
    let mut stage = Shards::new();
    stage.reload(&old, Some((&broken, 5_000)));
    let denied = 200 - stage.count(200, "old");
    assert_eq!(denied, 5, "failures until it is taken back");
    assert_eq!(stage.trial(), Some((TrialKind::Canary, Stage::TakenBack)));
    assert!(stage.world.logged("taken back: the new version"));
    assert_eq!(stage.rollbacks(), 1);
    // Until the config says something else of it.
    assert_eq!(stage.reload(&old, Some((&broken, 5_000))).count(50, "old"), 50);
    assert!(stage.reload(&old, Some((&broken, 6_000))).count(50, "old") < 50);
    assert_eq!(stage.rollbacks(), 2);
}

#[test]
fn what_fails_seldom_is_not_taken_back() {
    let (old, new) = (marks("old"), marks("new"));
    let mut stage = Shards::new();
    stage.reload(&old, Some((&new, 10_000)));
    // One in 200: half of what takes it back.
    for _ in 0..20 {
        assert_eq!(stage.count(199, "new"), 199);
        assert_eq!(stage.ask("/t"), None);
    }
    assert_eq!(stage.trial(), Some((TrialKind::Canary, Stage::Running)));
    // A minute later that was another window's.
    stage.world.advance(Duration::from_secs(61));
    assert_eq!((0..4).filter(|_| stage.ask("/t").is_none()).count(), 4);
    assert_eq!(stage.trial(), Some((TrialKind::Canary, Stage::Running)));
    assert_eq!(stage.ask("/t"), None);
    assert_eq!(stage.trial(), Some((TrialKind::Canary, Stage::TakenBack)));
    assert_eq!(stage.ask("/").as_deref(), Some("old"));
}

#[test]
fn a_swap_that_fails_from_its_first_requests_goes_back() {
    let (old, broken) = (marks("old"), module(BROKEN));
    let mut stage = Shards::new();
    assert_eq!(stage.reload(&old, None).count(10, "old"), 10);
    stage.reload(&broken, None);
    assert_eq!(stage.count(50, "old"), 45);
    assert_eq!(stage.trial(), Some((TrialKind::Swap, Stage::TakenBack)));
    // A reload that changes nothing brings it not back, and one that takes the old one ends it.
    assert_eq!(stage.reload(&broken, None).count(10, "old"), 10);
    assert_eq!(stage.reload(&old, None).count(10, "old"), 10);
    assert_eq!(stage.trial(), None);
    // Who wants it nonetheless says so.
    let never = Rollback { failures_min: 0, ..Rollback::default() };
    stage.reload_with(&broken, None, never, &[""]);
    assert_eq!((stage.count(20, "old"), stage.trial()), (0, None));
}

#[test]
fn a_swap_that_holds_out_stays() {
    let (old, new) = (marks("old"), marks("new"));
    let mut stage = Shards::new();
    stage.reload(&old, None).reload(&new, None);
    assert_eq!(stage.count(10, "new"), 10);
    assert_eq!(stage.trial(), Some((TrialKind::Swap, Stage::Running)));
    stage.world.advance(Duration::from_secs(601));
    assert_eq!(stage.count(10, "new"), 10);
    assert_eq!(stage.trial(), Some((TrialKind::Swap, Stage::Passed)));
    assert_eq!((0..10).filter(|_| stage.ask("/t").is_none()).count(), 10);
    assert_eq!(stage.ask("/").as_deref(), Some("new"));
    assert_eq!((stage.reload(&new, None).trial(), stage.rollbacks()), (None, 0));
    assert_eq!(stage.count(10, "new"), 10);
}

#[test]
fn a_promoted_canary_is_watched_as_any_other() {
    let (old, new) = (marks("old"), marks("new"));
    let mut stage = Shards::new();
    stage.reload(&old, Some((&new, 5_000)));
    let before = stage.count(100, "new");
    assert!((30..70).contains(&before), "{before}");
    stage.reload(&new, None);
    assert_eq!(stage.trial(), Some((TrialKind::Promotion, Stage::Running)));
    assert_eq!(stage.count(100, "new"), 100);
    assert_eq!((0..5).filter(|_| stage.ask("/t").is_none()).count(), 5);
    assert_eq!(stage.trial(), Some((TrialKind::Promotion, Stage::TakenBack)));
    assert_eq!(stage.count(10, "old"), 10);
}

#[test]
fn going_back_keeps_the_configurations_of_chains() {
    let (old, broken) = (marks("old"), module(BROKEN));
    let mut stage = Shards::new();
    stage.reload_with(&old, None, Rollback::default(), &["own"]);
    // Of chains alone: there is nothing to go back to.
    stage.reload_with(&old, None, Rollback::default(), &["own", "route"]);
    assert_eq!(stage.trial(), None);
    stage.reload_with(&broken, None, Rollback::default(), &["new", "other", "third"]);
    assert_eq!(stage.count(50, "old"), 45);
    let installed = stage.installed.as_ref().expect("it has a config");
    let plugins = &installed.in_use().settings().plugins;
    let configs: Vec<&[u8]> = plugins.iter().map(|plugin| &*plugin.config).collect();
    assert_eq!(configs, [b"own" as &[u8], b"other", b"third"]);
}
