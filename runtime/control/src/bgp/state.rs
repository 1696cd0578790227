//! What the control loop knows of BGP: what BIRD was told last, what it is to be told, and how its
//! sessions stand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use penstock_balance::{Endpoint, HealthState};
use penstock_config::{Bgp, Cidr, Service};
use penstock_env::Time;
use serde::Serialize;
use tokio::sync::Notify;

use super::bird::Protocol;
use super::{desk, include};
use crate::Control;

/// How often sessions are looked at.
const LISTEN_EVERY: Duration = Duration::from_secs(5);
/// How soon what failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long the desk sleeps where there is no BGP.
const NAP: Duration = Duration::from_secs(3_600);

/// What BIRD is told, and how it stands.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// What BIRD was told, if it may be taken to know it still.
    told: Option<Work>,
    /// It was told of routes, and not since that there are none.
    announces: bool,
    /// Why BIRD was not told, or not heard, the last time.
    failure: Option<String>,
    sessions: Vec<Protocol>,
    next_try: Time,
    next_listen: Time,
    failures: u64,
    wake: Arc<Notify>,
}

/// One file for BIRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) include: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) text: String,
    /// How many networks it announces.
    routes: usize,
}

/// What the desk does next.
pub(super) enum Next {
    /// Tell BIRD this.
    Tell(Work),
    /// Ask how its sessions stand.
    Listen(PathBuf),
    /// Wait so long, or until something changes.
    Wait(Duration, Arc<Notify>),
}

/// What BIRD has said of its protocols.
pub(super) struct Heard(pub(super) Vec<Protocol>);

/// The fleet, as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetView {
    /// All appliances, as the config names them.
    pub members: Vec<String>,
    /// The checksum of the table by which packets are passed on: the same on all of them. `None`
    /// where none are.
    pub table: Option<String>,
    /// How routers hear of us, if they do.
    pub bgp: Option<BgpView>,
}

/// What is announced, and to whom.
#[derive(Clone, Debug, Serialize)]
pub struct BgpView {
    /// Whether BIRD has been told to announce our networks.
    pub announced: bool,
    /// The networks that are to be announced.
    pub networks: Vec<String>,
    /// Those among them that are taken back for now: nobody is up to serve them.
    pub withheld: Vec<String>,
    /// The sessions with all peers.
    pub sessions: Vec<SessionView>,
    /// Why BIRD could not be told, or heard, the last time.
    pub failure: Option<String>,
}

/// One peer's session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// The router's address.
    pub peer: String,
    /// Whether routes go over it.
    pub established: bool,
    /// What BIRD says of it.
    pub state: String,
    /// Since when, as BIRD writes it.
    pub since: String,
}

impl Announcer {
    /// Whether BIRD may be announcing something.
    pub(crate) fn has_told(&self) -> bool {
        self.announces
    }

    /// Has the desk look again: something has changed.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }
}

impl Control {
    /// Whether routers are to send us anything.
    fn announces(&self) -> bool {
        let some_run = self.shard_states.iter().any(|state| state.running);
        self.ending.is_serving() && some_run && !self.layer4.is_out()
    }

    /// The networks that are announced, as things stand now.
    fn routes_now(&self, bgp: &Bgp) -> Vec<Cidr> {
        if !self.announces() {
            return Vec::new();
        }
        let mut routes = include::routes(&self.snapshot.config, bgp);
        routes.retain(|route| !bgp.withdraw_when_down || self.is_served(*route));
        routes
    }

    /// Whether some service whose VIP lies in the network has an endpoint that is not down; so has
    /// a network without any.
    fn is_served(&self, route: Cidr) -> bool {
        let lies = |service: &&Service| service.vips.iter().any(|vip| route.contains(vip.ip()));
        let mut services = self.snapshot.config.services.iter().filter(lies).peekable();
        let is_up = |endpoint: &Endpoint| {
            endpoint.weight() > 0 && endpoint.load().health().state() != HealthState::Down
        };
        services.peek().is_none()
            || services.flat_map(|service| service.destinations.clusters()).any(|cluster| {
                self.snapshot.clusters[cluster.index()].balancer.endpoints().iter().any(is_up)
            })
    }

    /// What BIRD has to be told, as things stand now.
    fn bgp_wanted(&self) -> Option<Work> {
        let config = &self.snapshot.config;
        match (&config.fleet.bgp, &self.announcer.told) {
            // What is in another file than it is now is taken back first.
            (Some(bgp), Some(told))
                if told.include != bgp.include && told.text != include::empty() =>
            {
                Some(Work { text: include::empty(), routes: 0, ..told.clone() })
            }
            (Some(bgp), _) => {
                let routes = self.routes_now(bgp);
                Some(Work {
                    include: bgp.include.clone(),
                    socket: bgp.socket.clone(),
                    text: include::text(bgp, &routes),
                    routes: routes.len(),
                })
            }
            // A config without BGP takes back what the one before has said.
            (None, Some(told)) => Some(Work { text: include::empty(), routes: 0, ..told.clone() }),
            (None, None) => None,
        }
    }

    /// What the desk does next.
    pub(super) fn bgp_next(&mut self) -> Next {
        let (now, wake) = (self.clock.now(), Arc::clone(&self.announcer.wake));
        let Some(wanted) = self.bgp_wanted() else { return Next::Wait(NAP, wake) };
        let is_told = self.announcer.told.as_ref() == Some(&wanted);
        let has_bgp = self.snapshot.config.fleet.bgp.is_some();
        match (is_told, has_bgp) {
            (false, _) if now >= self.announcer.next_try => Next::Tell(wanted),
            (false, _) => Next::Wait(self.announcer.next_try.since(now), wake),
            (true, true) if now >= self.announcer.next_listen => Next::Listen(wanted.socket),
            (true, true) => Next::Wait(self.announcer.next_listen.since(now), wake),
            (true, false) => {
                self.announcer = Announcer { wake, ..Announcer::default() };
                Next::Wait(NAP, Arc::clone(&self.announcer.wake))
            }
        }
    }

    /// Takes note of what came of telling BIRD.
    pub(super) fn bgp_told(&mut self, told: Result<Work, String>) {
        let now = self.clock.now();
        match told {
            Ok(work) => {
                match work.routes {
                    0 => tracing::info!("BIRD announces nothing of ours"),
                    routes => tracing::info!(routes, "BIRD announces our networks"),
                }
                self.announcer.announces = work.routes > 0;
                self.announcer.told = Some(work);
                self.announcer.failure = None;
                self.announcer.next_listen = now;
            }
            Err(failure) => {
                self.announcer.next_try = now + AGAIN_AFTER;
                self.note_bgp_failure(failure);
            }
        }
    }

    /// Takes note of what BIRD says of its sessions.
    pub(super) fn bgp_heard(&mut self, heard: Result<Heard, String>) {
        self.announcer.next_listen = self.clock.now() + LISTEN_EVERY;
        match heard {
            Ok(Heard(sessions)) => {
                self.announcer.sessions = sessions;
                self.announcer.failure = None;
            }
            Err(failure) => {
                self.announcer.sessions.clear();
                // It may have been started again, with another file: it is told once more.
                self.announcer.told = None;
                self.note_bgp_failure(failure);
            }
        }
    }

    fn note_bgp_failure(&mut self, failure: String) {
        self.announcer.failures += 1;
        // Once for each reason, not for each try.
        if self.announcer.failure.as_ref() != Some(&failure) {
            tracing::error!("BGP: {failure}");
        }
        self.announcer.failure = Some(failure);
    }

    /// Takes all routes back, here and now: the process ends without a drain.
    pub(crate) fn withdraw_now(&mut self) {
        let wanted = self.bgp_wanted().filter(|work| self.announcer.told.as_ref() != Some(work));
        if let Some(work) = wanted
            && (self.announcer.told.is_some() || self.announcer.announces)
        {
            let told = desk::tell(&work).map(|()| work);
            self.bgp_told(told);
        }
    }

    /// The fleet, as it is configured and as it stands.
    pub fn fleet_view(&self) -> FleetView {
        let config = &self.snapshot.config;
        let bgp = config.fleet.bgp.as_ref().map(|bgp| BgpView {
            announced: self.announcer.has_told(),
            networks: texts(&include::routes(config, bgp)),
            withheld: texts(&self.withheld(bgp)),
            sessions: self.session_views(bgp),
            failure: self.announcer.failure.clone(),
        });
        let running = self.layer4.running.as_ref();
        FleetView {
            members: config.fleet.members.iter().map(ToString::to_string).collect(),
            table: running.map(|running| running.checksum(&self.snapshot.seed)),
            bgp,
        }
    }

    /// Networks that would be announced, had they an endpoint that is up.
    fn withheld(&self, bgp: &Bgp) -> Vec<Cidr> {
        let mut routes = include::routes(&self.snapshot.config, bgp);
        routes.retain(|route| bgp.withdraw_when_down && !self.is_served(*route));
        routes
    }

    fn session_views(&self, bgp: &Bgp) -> Vec<SessionView> {
        let view = |(number, peer): (usize, &penstock_config::BgpPeer)| {
            let name = include::session_name(number);
            let session = self.announcer.sessions.iter().find(|session| session.name == name);
            SessionView {
                peer: peer.address().to_string(),
                established: session.is_some_and(|session| session.info == ESTABLISHED),
                state: session.map_or("unknown".to_owned(), |session| {
                    match session.info.as_str() {
                        "" => session.state.clone(),
                        info => info.to_owned(),
                    }
                }),
                since: session.map(|session| session.since.clone()).unwrap_or_default(),
            }
        };
        (1..).zip(&bgp.peers).map(view).collect()
    }

    /// Times that BIRD could not be told, or heard.
    pub(crate) fn bgp_failures(&self) -> u64 {
        self.announcer.failures
    }
}

fn texts(networks: &[Cidr]) -> Vec<String> {
    networks.iter().map(Cidr::to_string).collect()
}

/// How BIRD calls a session over which routes go (RFC 4271 §8.2.2).
const ESTABLISHED: &str = "Established";
