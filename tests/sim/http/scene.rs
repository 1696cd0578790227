//! Clients and origins around whatever is under test.

use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, Rng};
use penstock_tests::sim::{Death, Limits, SimEnv, World};

use super::client::Session;
use super::ledger::{Ledger, Policy, Rules};
use super::origin;
use super::plan::{Fault, Menu, Plan, one_in};
use super::wire::Wire;
use crate::modules::Mark;

/// A scene: who is there and what may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) menu: Menu,
    pub(crate) proxied: bool,
    /// An origin dies in the middle of it.
    pub(crate) death: Option<Death>,
    /// What filters may do.
    pub(crate) filters: Policy,
}

/// A scene that was set up.
pub(crate) struct Stage {
    pub(crate) rules: Rules,
    pub(crate) ledger: Rc<Ledger>,
    /// Where the origins listen.
    pub(crate) origins: Vec<Address>,
    client: SimEnv,
    rng: Rng,
    menu: Menu,
}

impl Scene {
    /// Sets up the origins.
    pub(crate) fn set(&self, world: &World) -> Stage {
        let mut rng = world.rng();
        let ledger = Rc::new(Ledger::default());
        let count = if self.proxied { 1 + rng.below(3) } else { 1 };
        let mut origins = Vec::new();
        for number in 0..count {
            let env = world.node("origin", Limits::AMPLE);
            let address = match rng.below(4) {
                0 => format!("unix:/run/origin-{number}.sock").parse().expect("an address"),
                _ => env.address(8080),
            };
            origin::listen(&env, &address, &ledger, self.proxied);
            if let Some(death) = self.death.filter(|_| number == 0) {
                let wait = Duration::from_micros(u64::from(rng.below(50_000)));
                world.after(wait, move |world| world.kill(&env, death));
            }
            origins.push(address);
        }
        let client = world.node("client", Limits::AMPLE);
        let rough = world.faults().resets_per_mille > 0 || self.death.is_some();
        let idle_closes = self.menu.idle_closes;
        let rules = Rules { proxied: self.proxied, rough, idle_closes, filters: self.filters };
        Stage { rules, ledger, origins, client, rng, menu: self.menu }
    }
}

impl Stage {
    /// Sends clients to `front`.
    pub(crate) fn play(&mut self, front: &Address) {
        for _ in 0..1 + self.rng.below(6) {
            let session = self.draw_session();
            let wait = Duration::from_micros(u64::from(self.rng.below(30_000)));
            let (env, to, ledger) = (self.client.clone(), front.clone(), self.ledger.clone());
            self.client.spawn(async move {
                Wire::sleep_on(&env, wait).await;
                session.run(env, to, ledger).await;
            });
        }
    }

    fn draw_session(&mut self) -> Session {
        let rng = &mut self.rng;
        let mut plans = Vec::new();
        for _ in 0..1 + rng.below(6) {
            let plan = Rc::new(Plan::draw(rng.next_u64(), &self.menu, rng));
            let last = plan.last || plan.abort.is_some();
            plans.push(plan);
            if last {
                break;
            }
        }
        let tunnels = plans.iter().any(|plan| plan.upgrade);
        // Bytes behind an upgrade are the tunnel's, whoever answers.
        let pipelined = one_in(rng, 3) && !tunnels;
        let half_close = one_in(rng, 4) && !tunnels;
        let proxied = self.rules.proxied;
        // What comes behind on the same connection may break it for those before: a client that
        // gives up does, an origin's faults do unless something else answers for it. Only a reset
        // says that an answer was cut which ends with the connection.
        let breaks = |plan: &Rc<Plan>| {
            let answer = &plan.answer;
            let cut = matches!(answer.fault, Some(Fault::CutAfter { .. }))
                || plan.mark == Some(Mark::TrapResponseBody);
            plan.abort.is_some()
                || cut && answer.ends_by_close(plan)
                || !proxied && (answer.fault.is_some() || answer.idle_close.is_some())
        };
        let shaken = pipelined && plans.iter().any(breaks);
        plans.iter().for_each(|plan| self.ledger.enter(plan, shaken));
        Session { plans, pipelined, half_close, proxied }
    }
}
