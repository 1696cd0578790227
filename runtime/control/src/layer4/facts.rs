//! What of the machine a plan depends on, as it was looked up.

use std::collections::BTreeMap;

use penstock_config::Config;

use super::plan::passing;
use super::{DatapathError, Datapaths, InterfaceFacts};

/// The interfaces that services name, and how many lanes there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(super) lanes: u32,
    interfaces: BTreeMap<String, Result<InterfaceFacts, DatapathError>>,
}

impl Facts {
    /// What `config` needs to know, as it is now.
    pub(super) fn of(config: &Config, datapaths: &dyn Datapaths) -> Facts {
        let names = passing(config).flat_map(|service| service.interfaces.iter());
        let interfaces = names.map(|name| (name.to_string(), datapaths.interface(name.as_str())));
        Facts { lanes: datapaths.lanes(), interfaces: interfaces.collect() }
    }

    /// The same, with what was known before of interfaces that are not there.
    pub(super) fn or(mut self, before: &Facts) -> Facts {
        for (name, found) in &mut self.interfaces {
            if let (Err(_), Some(known)) = (&found, before.interfaces.get(name)) {
                found.clone_from(known);
            }
        }
        self
    }

    /// What is known of an interface.
    pub(super) fn interface(&self, name: &str) -> Result<&InterfaceFacts, DatapathError> {
        match self.interfaces.get(name) {
            Some(Ok(facts)) => Ok(facts),
            Some(Err(error)) => Err(error.clone()),
            None => Err(DatapathError(format!("{name} was not looked up"))),
        }
    }
}
