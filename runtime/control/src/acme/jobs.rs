//! What the control loop knows of ACME: a job for each listener's certificate, which are due, what
//! is being proved, and how the last orders ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use penstock_config as config;
use penstock_env::Rng;
use penstock_proxy::HttpProof;
use penstock_tls::{Certificate, TlsProof};
use tokio::sync::Notify;

use super::file::{account_path, certificate_path};
use super::schedule;
use super::views::AcmeStanding;
use crate::Control;

/// How long the desk sleeps where nothing is due.
const NAP_MAX: Duration = Duration::from_secs(3_600);

/// All listeners' orders.
#[derive(Debug)]
pub(crate) struct Acme {
    pub(super) jobs: Vec<Job>,
    rng: Rng,
    /// Wakes the desk: there may be something to order.
    wake: Arc<Notify>,
}

/// One listener's certificate.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) listener: String,
    /// What was asked for when this was made; other wishes are another job.
    pub(super) wish: config::Acme,
    pub(super) state: AcmeStanding,
    /// When it is ordered, in seconds since 1970.
    pub(super) due: i64,
    /// In a row.
    pub(super) failures: u32,
    pub(super) last: Option<AcmeFailure>,
    /// Orders so far, by how they ended.
    pub(super) orders: Vec<(&'static str, u64)>,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcmeFailure {
    /// Its name in the metric.
    pub(crate) name: &'static str,
    /// A sentence.
    pub(crate) detail: String,
}

/// What one order needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) listener: String,
    pub(crate) wish: config::Acme,
    pub(crate) directory_ca: Option<PathBuf>,
    pub(crate) account: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// What the desk does next.
pub(crate) enum Next {
    /// Order this.
    Order(Box<Work>),
    /// Wait so long, or until something changes.
    Wait(Duration, Arc<Notify>),
    /// Nothing any more.
    End,
}

/// What shows an authority that a host is ours.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// Whose order it belongs to.
    pub(crate) listener: String,
    pub(crate) kind: ProofKind,
}

/// Where it is shown.
#[derive(Clone, Debug)]
pub(crate) enum ProofKind {
    Http(HttpProof),
    Tls(TlsProof),
}

impl Acme {
    pub(crate) fn new(seed: u64) -> Acme {
        Acme { jobs: Vec::new(), rng: Rng::new(seed), wake: Arc::default() }
    }

    /// Has the desk look again: there is a new config.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }
}

impl Control {
    /// What is to be ordered next, if anything is due.
    pub(crate) fn acme_next(&mut self) -> Next {
        if !self.ending.is_serving() {
            return Next::End;
        }
        self.note_wishes();
        let now = self.unix().seconds();
        let Some(job) = self.acme.jobs.iter_mut().min_by_key(|job| job.due) else {
            return Next::Wait(NAP_MAX, Arc::clone(&self.acme.wake));
        };
        if job.due > now {
            let wait = Duration::from_secs(u64::try_from(job.due - now).unwrap_or(0));
            return Next::Wait(wait.min(NAP_MAX), Arc::clone(&self.acme.wake));
        }
        job.state = AcmeStanding::Ordering;
        let wish = job.wish.clone();
        Next::Order(Box::new(Work {
            listener: job.listener.clone(),
            directory_ca: wish.directory_ca.as_ref().map(|path| self.files.resolve(path)),
            account: self.files.resolve(&account_path(&wish)),
            certificate: self.files.resolve(&certificate_path(&wish, &job.listener)),
            wish,
        }))
    }

    /// One job for each listener that wants one; what it wanted before is forgotten.
    fn note_wishes(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        let wishes: Vec<(&str, &config::Acme)> = snapshot
            .config
            .listeners
            .iter()
            .filter_map(|listener| Some((&*listener.name, listener.tls.as_ref()?.acme.as_ref()?)))
            .collect();
        self.acme.jobs.retain(|job| {
            wishes.iter().any(|(name, wish)| *name == job.listener && **wish == job.wish)
        });
        for (listener, wish) in wishes {
            if self.acme.jobs.iter().any(|job| job.listener == listener) {
                continue;
            }
            let (state, due) = self.standing(listener, wish);
            self.acme.jobs.push(Job {
                listener: listener.to_owned(),
                wish: wish.clone(),
                state,
                due,
                failures: 0,
                last: None,
                orders: Vec::new(),
            });
        }
    }

    /// Whether there is a certificate for what is wished, and when it is to be ordered.
    fn standing(&mut self, listener: &str, wish: &config::Acme) -> (AcmeStanding, i64) {
        let path = self.files.resolve(&certificate_path(wish, listener));
        let read = std::fs::read(path).ok();
        let read = read.and_then(|pem| Certificate::read(&pem, &pem).ok());
        let covers = |one: &Certificate| {
            wish.names.iter().all(|name| one.names.cover(&name.as_str().to_ascii_lowercase()))
        };
        match read.filter(covers) {
            Some(one) => (AcmeStanding::Valid, schedule::renewal(one.validity, &mut self.acme.rng)),
            None => (AcmeStanding::Missing, self.unix().seconds()),
        }
    }

    /// Has every shard show a proof.
    ///
    /// # Errors
    /// Why the shards can't.
    pub(crate) fn acme_prove(&mut self, proof: Proof) -> Result<(), String> {
        self.tls.proofs.push(proof);
        let config = Arc::clone(&self.snapshot.config);
        self.renew_certificates(&config).map(drop).map_err(|refused| refused.to_string())
    }

    /// Takes note of how an order ended; its proofs are shown no longer.
    pub(crate) fn acme_done(&mut self, listener: &str, outcome: Result<(), AcmeFailure>) {
        self.tls.proofs.retain(|proof| proof.listener != listener);
        let config = Arc::clone(&self.snapshot.config);
        if let Err(refused) = self.renew_certificates(&config) {
            // The next look at the files tries again.
            tracing::error!(listener, "the new certificate can't be put in force: {refused}");
        }
        let now = self.unix().seconds();
        let Some(index) = self.acme.jobs.iter().position(|job| job.listener == listener) else {
            return;
        };
        let wish = self.acme.jobs[index].wish.clone();
        let (state, due) = self.standing(listener, &wish);
        let Acme { jobs, rng, .. } = &mut self.acme;
        let job = &mut jobs[index];
        job.state = state;
        let name = match outcome {
            Ok(()) => {
                tracing::info!(listener, "there is a new certificate by ACME");
                (job.failures, job.last, job.due) = (0, None, due);
                "issued"
            }
            Err(failure) => {
                job.failures += 1;
                job.due = schedule::retry(now, job.failures, rng);
                let (again, AcmeFailure { name, detail }) = (job.due - now, &failure);
                tracing::error!(listener, error = name, again_in_seconds = again, "ACME: {detail}");
                let name = failure.name;
                job.last = Some(failure);
                name
            }
        };
        match job.orders.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => job.orders.push((name, 1)),
        }
    }
}
