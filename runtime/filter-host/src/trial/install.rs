//! From what a config asks of a filter, and what was there before, to what shards are given.

use std::rc::Rc;
use std::sync::Arc;

use crate::error::LoadError;
use crate::filter::{Filter, FilterHost};
use crate::module::{Module, digest, hex};
use crate::settings::FilterSettings;
use crate::trial::{Installed, Rollback, Stage, Trial, TrialKind, WHOLE};
use crate::world::World;

/// What a config asks of one filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its own version's settings.
    pub settings: FilterSettings,
    /// The canary's, and of how many of 10,000 requests it gets.
    pub canary: Option<(FilterSettings, u32)>,
    /// When a new version is taken back.
    pub rollback: Rollback,
}

/// A version's code.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// As it lies in its file.
    Wasm(&'a [u8]),
    /// Compiled already.
    Module(&'a Module),
}

impl Code<'_> {
    fn sha256(&self) -> [u8; 32] {
        match self {
            Code::Wasm(bytes) => digest(bytes),
            Code::Module(module) => *module.sha256(),
        }
    }
}

impl FilterHost {
    /// Makes of `wanted` what shards are given. A version that `previous` has is the same again and
    /// goes on where it is; one that takes another's place is on probation, with the other kept.
    /// What was taken back stays so until the config changes what it says of it.
    ///
    /// `code` and `canary` are the modules; `canary` without code has that of `code`. As slow as
    /// [`FilterHost::load`].
    ///
    /// # Errors
    /// Whatever is wrong with a module, in its author's terms.
    pub fn install(
        &self,
        wanted: Wanted,
        code: Code<'_>,
        canary: Option<Code<'_>>,
        previous: Option<&Installed>,
        world: &Rc<dyn World>,
    ) -> Result<Installed, LoadError> {
        let Wanted { settings, canary: canary_settings, rollback } = wanted;
        // Beside the version that may stay, not in its cells.
        let cells = previous.map_or(0, |previous| 1 - previous.stable().cells());
        let own = self.version(settings, (code, cells), previous, world)?;
        let Some((settings, share)) = canary_settings else {
            return Ok(self.replace(own, previous, rollback, world));
        };
        let code = canary.unwrap_or(code);
        let known = Installed::from(Arc::clone(&own));
        if same_version(&settings, &code, Some(&known)).is_some() {
            return Ok(own.into());
        }
        let candidate = self.version(settings, (code, 1 - own.cells()), previous, world)?;
        let pair = (&own, &candidate);
        let before = previous.and_then(Installed::trial);
        let same = |trial: &&Arc<Trial>| is_same(trial, pair, TrialKind::Canary, rollback);
        let trial = match before.filter(same).filter(|trial| trial.share == share) {
            Some(trial) => Arc::clone(trial),
            None => self.trial(pair, TrialKind::Canary, share, rollback),
        };
        Ok(Installed::on_trial(own, trial))
    }

    /// A version with these settings: one of before, or loaded.
    fn version(
        &self,
        settings: FilterSettings,
        (code, cells): (Code<'_>, usize),
        previous: Option<&Installed>,
        world: &Rc<dyn World>,
    ) -> Result<Arc<Filter>, LoadError> {
        let found = code.sha256();
        if let Some(expected) = settings.sha256.filter(|expected| *expected != found) {
            return Err(LoadError::Sha256 { expected: hex(&expected), found: hex(&found) });
        }
        if let Some(known) = same_version(&settings, &code, previous) {
            return Ok(known);
        }
        let compiled;
        let module = match code {
            Code::Module(module) => module,
            Code::Wasm(bytes) => {
                compiled = self.compile(bytes)?;
                &compiled
            }
        };
        self.load_beside(module.clone(), settings, cells, world)
    }

    /// `own` in the place of whatever was there.
    fn replace(
        &self,
        own: Arc<Filter>,
        previous: Option<&Installed>,
        rollback: Rollback,
        world: &Rc<dyn World>,
    ) -> Installed {
        let Some(previous) = previous else { return own.into() };
        let mut kind = TrialKind::Swap;
        if let Some(trial) = previous.trial() {
            let pair = (&trial.stable, &own);
            let ended = trial.stage() == Stage::Passed;
            if is_same(trial, pair, trial.kind, rollback) && trial.kind != TrialKind::Canary {
                return match ended && trial.kind == TrialKind::Swap {
                    true => own.into(),
                    false => Installed::on_trial(own, Arc::clone(trial)),
                };
            }
            if trial.kind == TrialKind::Canary && Arc::ptr_eq(&trial.candidate, &own) {
                kind = TrialKind::Promotion;
            }
        }
        if Arc::ptr_eq(previous.stable(), &own) || rollback.failures_min == 0 {
            return own.into();
        }
        match self.fallback(previous.stable(), &own, world) {
            Some(stable) => {
                let trial = self.trial((&stable, &own), kind, WHOLE, rollback);
                Installed::on_trial(own, trial)
            }
            None => own.into(),
        }
    }

    /// The version of before, for chains as they are now: their configurations are roots of each
    /// version, and only the filter's own goes back. `None` when that would be the new version, or
    /// does not start.
    fn fallback(
        &self,
        old: &Arc<Filter>,
        new: &Arc<Filter>,
        world: &Rc<dyn World>,
    ) -> Option<Arc<Filter>> {
        let (before, now) = (old.settings(), new.settings());
        if before.plugins.get(1..) == now.plugins.get(1..) {
            return Some(Arc::clone(old));
        }
        let own = before.plugins.first()?;
        let others = now.plugins.iter().skip(1);
        let plugins = std::iter::once(own).chain(others).cloned().collect();
        let settings = FilterSettings { plugins, ..before.clone() };
        if settings == *now && old.module().sha256() == new.module().sha256() {
            return None;
        }
        self.load_beside(old.module().clone(), settings, old.cells(), world).ok()
    }

    fn trial(
        &self,
        pair: (&Arc<Filter>, &Arc<Filter>),
        kind: TrialKind,
        share: u32,
        rollback: Rollback,
    ) -> Arc<Trial> {
        Arc::new(Trial::new(pair, kind, share, rollback, self.shards()))
    }
}

/// The version of `previous` that has these settings and this code. The pin aside: it holds, and
/// says nothing of how the code runs.
fn same_version(
    settings: &FilterSettings,
    code: &Code<'_>,
    previous: Option<&Installed>,
) -> Option<Arc<Filter>> {
    let previous = previous?;
    let trial = previous.trial().map(|trial| [&trial.stable, &trial.candidate]);
    let known = std::iter::once(previous.filter()).chain(trial.into_iter().flatten());
    let wanted = FilterSettings { sha256: None, ..settings.clone() };
    let sha256 = code.sha256();
    let same =
        |known: &&Arc<Filter>| *known.settings() == wanted && *known.module().sha256() == sha256;
    known.into_iter().find(|known| same(known)).cloned()
}

/// Whether a trial is of these, under these terms.
fn is_same(
    trial: &Trial,
    (stable, candidate): (&Arc<Filter>, &Arc<Filter>),
    kind: TrialKind,
    rollback: Rollback,
) -> bool {
    trial.kind == kind
        && trial.rollback == rollback
        && Arc::ptr_eq(&trial.stable, stable)
        && Arc::ptr_eq(&trial.candidate, candidate)
}
