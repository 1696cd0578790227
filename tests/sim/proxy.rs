//! The real proxy between clients and origins of the simulated world.
//!
//! After every run: each request has the outcome that its plan allows, no byte came from another
//! session (the actors look at every one), and all of the proxy's counts are back to zero.

use std::fmt::Write;
use std::ops::Deref;
use std::time::Duration;

use penstock_env::Address;
use penstock_tests::proxy::{Outfit, ProxyNode};
use penstock_tests::sim::{
    Death, Faults, SimEnv, World, check_few_seeds, check_seeds, check_some_seeds,
};

use crate::http::ledger::{Outcome, Policy};
use crate::http::origin::HOST;
use crate::http::plan::Menu;
use crate::http::scene::{Scene, Stage};
use crate::modules::Loader;

const TAME: Menu = Menu {
    faults: false,
    malformed: false,
    aborts: false,
    idle_closes: false,
    marks: false,
    body_bytes_max: 20_000,
};
const WILD: Menu = Menu { faults: true, malformed: true, aborts: true, idle_closes: true, ..TAME };

#[test]
fn every_request_is_answered_by_its_origin() {
    check_some_seeds("proxy, tame", Faults::CALM, |world| play(world, TAME, None));
}

#[test]
fn what_goes_wrong_upstream_or_downstream_stays_where_it_went_wrong() {
    check_some_seeds("proxy, wild", Faults::CALM, |world| play(world, WILD, None));
}

#[test]
fn a_network_that_breaks_connections_breaks_nothing_else() {
    check_seeds("proxy, rough", Faults::ROUGH, |world| play(world, WILD, None));
}

#[test]
fn the_death_of_an_origin_costs_what_it_had() {
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("proxy, death", Faults::CALM, |world| play(world, TAME, Some(death)));
    }
}

/// Clients, the proxy, origins; with reloads in the middle of it.
fn play(world: &World, menu: Menu, death: Option<Death>) {
    let mut stage = Scene { menu, proxied: true, death, filters: Policy::NONE }.set(world);
    let proxy = Proxy::start(world, &stage.origins);
    perform(world, &mut stage, proxy);
    if !stage.rules.rough && !menu.faults {
        assert!(stage.ledger.count(|outcome| outcome == Outcome::Exact) > 0);
    }
}

/// Sends the stage's clients to `proxy`, and judges what comes of it.
pub(crate) fn perform(world: &World, stage: &mut Stage, proxy: Proxy) {
    act(world, stage, &proxy);
    proxy.end(world);
}

/// The same, but for the end of the proxy.
pub(crate) fn act(world: &World, stage: &mut Stage, proxy: &Proxy) {
    stage.play(&proxy.front);
    let reloads = world.rng().below(3);
    for _ in 0..reloads {
        let wait = Duration::from_micros(u64::from(world.rng().below(60_000)));
        let proxy = proxy.clone();
        world.after(wait, move |_| proxy.reload());
    }
    let ledger = stage.ledger.clone();
    let done = || ledger.is_settled() || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "requests without an outcome; still there: {:#?}", world.leaks());
    stage.ledger.judge(&stage.rules);
}

/// The proxy on its node, with the filters and certificates of this suite.
#[derive(Clone)]
pub(crate) struct Proxy(ProxyNode);

impl Proxy {
    /// Starts it in front of `origins`.
    pub(crate) fn start(world: &World, origins: &[Address]) -> Proxy {
        // An endpoint that leaves, and comes back.
        let fewer = &origins[..origins.len().div_ceil(2)];
        Proxy::serve_in_turn(world, &[config(origins, "", ""), config(fewer, "", "")])
    }

    /// Starts it with a config in which `FRONT` is the address that it listens at.
    pub(crate) fn serve(world: &World, text: &str) -> Proxy {
        Proxy::serve_in_turn(world, &[text.to_owned()])
    }

    /// [`Proxy::serve`], with configs to be applied in turn.
    pub(crate) fn serve_in_turn(world: &World, texts: &[String]) -> Proxy {
        Proxy::serve_on(world, texts, 1)
    }

    /// [`Proxy::serve_in_turn`], on several shards.
    pub(crate) fn serve_on(world: &World, texts: &[String], shards: usize) -> Proxy {
        let outfit = |env: &SimEnv| Box::new(Loader::new(env, shards)) as Box<dyn Outfit>;
        Proxy(ProxyNode::serve(world, texts, shards, outfit))
    }

    /// Drains it, and finds nothing left.
    pub(crate) fn end(self, world: &World) {
        self.0.end(world);
    }
}

impl Deref for Proxy {
    type Target = ProxyNode;

    fn deref(&self) -> &ProxyNode {
        &self.0
    }
}

/// The config in which all requests go to `origins`; with more for the listener, and more blocks.
pub(crate) fn config(origins: &[Address], listener: &str, blocks: &str) -> String {
    let mut text = format!(
        "[observe]\ncause_header = true\n\
         [listener.web]\naddress = \"FRONT\"\n{listener}\
         [[listener.web.route]]\nhost = \"{HOST}\"\nto = \"app\"\nupgrade = \"sim-echo\"\n\
         {blocks}[cluster.app]\nendpoints = ["
    );
    for origin in origins {
        write!(text, "\"{origin}\", ").expect("strings take everything");
    }
    text + "]\ntimeouts.upgrade_idle = \"120s\"\n"
}
