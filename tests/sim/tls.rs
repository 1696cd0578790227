//! TLS in the simulated world: one proxy speaks it to another, between clients and origins that
//! don't.
//!
//! A run replays from its seed as any other, in times, cuts and sizes. What is inside of records
//! differs from run to run: keys come from the library, which no seed reaches. Certificates have
//! Ed25519 keys, whose signatures are of one size.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_config::{ClusterProtocol, Config};
use penstock_env::{CloseKind, Env, SendBuf, Stream, StreamExt};
use penstock_proxy::{Cause, TlsParts};
use penstock_tests::sim::{Faults, Limits, World, check_few_seeds, check_some_seeds};
use penstock_tls::{
    Acceptor, AcceptorSettings, Authorities, Certificate, Connector, ConnectorSettings,
    Revocations, Tickets, TimeProvider, UnixTime, UnknownName, Verify, Versions,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};

use crate::http::ledger::{Outcome, Policy};
use crate::http::origin::HOST;
use crate::http::plan::Menu;
use crate::http::scene::Scene;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, act, config};

const MENU: Menu = Menu {
    faults: false,
    malformed: false,
    aborts: false,
    idle_closes: false,
    marks: false,
    body_bytes_max: 20_000,
};

#[test]
fn requests_pass_over_tls_as_they_do_without() {
    check_some_seeds("tls, calm", Faults::CALM, |world| {
        world.veil();
        let mut stage = scene().set(world);
        let (outer, inner) = chain(world, &stage.origins, [""; 2]);
        act(world, &mut stage, &outer);
        assert!(stage.ledger.count(|outcome| outcome == Outcome::Exact) > 0);
        end(world, outer, inner);
    });
}

#[test]
fn a_network_that_cuts_sessions_cuts_nothing_else() {
    check_some_seeds("tls, rough", Faults::ROUGH, |world| {
        world.veil();
        let mut stage = scene().set(world);
        let (outer, inner) = chain(world, &stage.origins, [""; 2]);
        act(world, &mut stage, &outer);
        end(world, outer, inner);
    });
}

#[test]
fn an_endpoint_that_is_another_is_not_believed() {
    check_few_seeds("tls, wrong name", Faults::CALM, |world| {
        world.veil();
        let mut stage = scene().set(world);
        let inner = Proxy::serve(world, &tls_listener(&stage.origins));
        let cluster = tls_cluster(&inner, "other.test");
        let outer = Proxy::serve(world, &cluster);
        stage.play(&outer.front);
        let ledger = stage.ledger.clone();
        assert!(world.run_until(Duration::from_secs(3600), || ledger.is_settled()));
        assert_eq!(stage.ledger.count(|outcome| outcome == Outcome::Exact), 0);
        let causes: Vec<Cause> = outer.failures().into_iter().map(|(cause, _)| cause).collect();
        assert!(causes.contains(&Cause::UpstreamUntrusted), "{causes:?}");
        end(world, outer, inner);
    });
}

#[test]
fn what_is_no_handshake_is_cut_under_its_name() {
    // The beginning of a ClientHello of 512 bytes, and no more.
    const HALF: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n";
    cut("", &[HTTP], &[(Cause::NotTls, 1)]);
    cut("", &[HALF], &[(Cause::TlsTimeout, 1)]);
    cut("", &[b""], &[(Cause::DownstreamSilent, 1)]);
    // And half a hello takes nobody's place.
    let causes = [(Cause::TlsTimeout, 3)];
    cut("limits = { handshakes = 1 }\n", &[HALF, HALF, HALF], &causes);
}

#[test]
fn handshakes_that_stand_still_keep_nobody_out() {
    check_few_seeds("tls, places", Faults::CALM, |world| {
        world.veil();
        let mut stage = scene().set(world);
        let listener = format!("{TLS}{PATIENT}limits = {{ handshakes = 32 }}\n");
        let inner = Proxy::serve(world, &config(&stage.origins, &listener, ""));
        let outer = Proxy::serve(world, &tls_cluster(&inner, HOST));
        let (env, over) = (world.node("attacker", Limits::AMPLE), Rc::new(Cell::new(false)));
        let (standing, hello) = (Rc::new(Cell::new(0)), hello());
        for _ in 0..48 {
            let (own, front, hello) = (env.clone(), inner.front.clone(), hello.clone());
            let (over, standing) = (over.clone(), standing.clone());
            standing.set(standing.get() + 1);
            env.spawn(async move {
                while !over.get() {
                    let Ok(stream) = own.connect(&front).await else { continue };
                    stream.start_send(SendBuf::of(hello.clone()));
                    while let Ok(Some(_)) = stream.recv().await {}
                    stream.close(CloseKind::Now);
                    Wire::sleep_on(&own, Duration::from_secs(1)).await;
                }
                standing.set(standing.get() - 1);
            });
        }
        let full = || inner.failures().iter().any(|(cause, _)| *cause == Cause::HandshakesMax);
        assert!(world.run_until(Duration::from_secs(10), full), "{:?}", inner.failures());
        act(world, &mut stage, &outer);
        assert!(stage.ledger.count(|outcome| outcome == Outcome::Exact) > 0);
        assert_eq!(outer.failures(), [], "{:?}", inner.failures());
        over.set(true);
        assert!(world.run_until(Duration::from_secs(60), || standing.get() == 0));
        end(world, outer, inner);
    });
}

/// The hello of a client that could go on.
fn hello() -> Vec<u8> {
    let connector = CERTIFICATES.with(|all| all.get_or_init(make).connector(HOST, false));
    let mut session = connector.dialer().begin(None).expect("a session");
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    session.lend(Vec::new);
    session.receive(&[], &mut plain, &mut out).expect("it begins");
    out
}

/// Sends `openings`, each on a connection of its own, and finds all cut for these causes.
fn cut(more: &str, openings: &'static [&'static [u8]], causes: &[(Cause, u64)]) {
    check_few_seeds("tls, no handshake", Faults::CALM, |world| {
        world.veil();
        let origin = world.node("origin", Limits::AMPLE).address(8080);
        let text = config(&[origin], &format!("{TLS}{more}"), "");
        let proxy = Proxy::serve(world, &text);
        let (client, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(0)));
        for opening in openings {
            let (env, front, left) = (client.clone(), proxy.front.clone(), left.clone());
            left.set(left.get() + 1);
            client.spawn(async move {
                let stream = env.connect(&front).await.expect("it listens");
                stream.start_send(SendBuf::of(opening.to_vec()));
                while let Ok(Some(_)) = stream.recv().await {}
                left.set(left.get() - 1);
            });
        }
        assert!(world.run_until(Duration::from_secs(60), || left.get() == 0));
        assert_eq!(proxy.failures(), causes);
        proxy.end(world);
    });
}

/// First the one that has connections to the other.
pub(crate) fn end(world: &World, outer: Proxy, inner: Proxy) {
    outer.rest(world);
    drop(outer);
    inner.end(world);
}

fn scene() -> Scene {
    Scene { menu: MENU, proxied: true, death: None, filters: Policy::NONE }
}

/// A proxy that speaks TLS to another one, which speaks to the origins; with more for the cluster
/// that the other one is, and for the one that the origins are.
pub(crate) fn chain(
    world: &World,
    origins: &[penstock_env::Address],
    [of_inner, of_origins]: [&str; 2],
) -> (Proxy, Proxy) {
    let inner = Proxy::serve(world, &(tls_listener(origins) + of_origins));
    let outer = Proxy::serve(world, &(tls_cluster(&inner, HOST) + of_inner));
    (outer, inner)
}

fn tls_listener(origins: &[penstock_env::Address]) -> String {
    config(origins, &format!("{TLS}{PATIENT}"), "")
}

/// Where all requests share a connection between two proxies, a slow one is slow for all: what
/// comes at all is waited for.
const PATIENT: &str = "timeouts.body_rate_min = \"0KiB\"\n";
const TLS: &str = "tls = { cert = \"cert\", key = \"key\" }\n";

fn tls_cluster(inner: &Proxy, name: &str) -> String {
    let tls = format!("tls = {{ ca = \"ca\", name = \"{name}\" }}\n");
    config(std::slice::from_ref(&inner.front), PATIENT, "") + &tls
}

/// What a simulated proxy makes of `tls` in its config, whatever files it names.
pub(crate) fn parts(config: &Config) -> TlsParts {
    let listeners = config.listeners.iter().map(|listener| {
        listener.tls.as_ref().map(|_| CERTIFICATES.with(|all| all.get_or_init(make).acceptor()))
    });
    let clusters = config.clusters.iter().map(|cluster| {
        let tls = cluster.tls.as_ref()?;
        let name = tls.name.as_ref().map_or(HOST, |name| name.as_str());
        let http2 = cluster.protocol == ClusterProtocol::Http2;
        Some(CERTIFICATES.with(|all| all.get_or_init(make).connector(name, http2)))
    });
    TlsParts {
        listeners: listeners.collect(),
        clusters: clusters.collect(),
        proofs: Arc::default(),
    }
}

/// Made once: what is the same over a reload stays the same.
struct Certificates {
    acceptor: Arc<Acceptor>,
    right: Arc<Connector>,
    wrong: Arc<Connector>,
    http2: Arc<Connector>,
}

thread_local! {
    static CERTIFICATES: OnceCell<Rc<Certificates>> = const { OnceCell::new() };
}

impl Certificates {
    fn acceptor(&self) -> Arc<Acceptor> {
        Arc::clone(&self.acceptor)
    }

    fn connector(&self, name: &str, http2: bool) -> Arc<Connector> {
        Arc::clone(match (name == HOST, http2) {
            (true, true) => &self.http2,
            (true, false) => &self.right,
            (false, _) => &self.wrong,
        })
    }
}

fn make() -> Rc<Certificates> {
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    params.serial_number = Some(SerialNumber::from(1_u64));
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let signed = params.self_signed(&key).expect("a certificate").pem();
    let read = Certificate::read(signed.as_bytes(), key.serialize_pem().as_bytes());
    let authorities = Authorities::read(signed.as_bytes()).expect("an authority");
    let clock = Arc::new(Fixed);
    let acceptor = Acceptor::new(AcceptorSettings {
        certificates: vec![read.expect("a pair")],
        awaits_more: false,
        proofs: Vec::new(),
        unknown_name: UnknownName::First,
        versions: Versions::Both,
        clients: None,
        tellings: Vec::new(),
        tickets: Some(Tickets::new(None, b"", NOW)),
        protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        clock: clock.clone(),
    });
    let connector = |name: &str, protocol: &str| {
        let connector = Connector::new(ConnectorSettings {
            verify: Verify::Authorities(authorities.clone(), Vec::new()),
            revocations: Revocations::default(),
            server_name: Some(name.to_owned()),
            certificate: None,
            versions: Versions::Both,
            protocols: vec![protocol.as_bytes().to_vec()],
            clock: clock.clone(),
        });
        Arc::new(connector.expect("a connector"))
    };
    let acceptor = Arc::new(acceptor.expect("an acceptor"));
    let (right, wrong) = (connector(HOST, "http/1.1"), connector("other.test", "http/1.1"));
    Rc::new(Certificates { acceptor, right, wrong, http2: connector(HOST, "h2") })
}

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}
