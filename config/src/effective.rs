//! What a config comes to where it leaves keys to follow from others: to be shown.

use crate::config::Config;
use crate::grammar::tree::Tree;
use crate::passthrough::MoveWhenDown;
use crate::service::{Service, ServiceMode};
use crate::values::vip::Transport;

impl Config {
    /// The config as data, with every default, those too that follow from other keys. A config
    /// that is read from it does the same as this one.
    pub fn to_effective_tree(&self) -> Tree {
        let mut config = self.clone();
        config.services.iter_mut().for_each(settle);
        for filter in &mut config.filters {
            filter.vm_id.get_or_insert_with(|| filter.name.to_string());
        }
        config.to_tree()
    }
}

fn settle(service: &mut Service) {
    match service.mode {
        ServiceMode::Terminate => {
            service.timeouts.write_stall.get_or_insert(service.timeouts.idle);
        }
        ServiceMode::Nat | ServiceMode::Dsr => {
            service.move_when_down.get_or_insert(MoveWhenDown::Udp);
        }
    }
    if service.mode == ServiceMode::Dsr {
        service.encap = Some(service.encap());
    }
    let ports = service.ports.iter().filter(|port| port.transport == Transport::Udp);
    let mut idle: Vec<_> = ports.map(|port| service.datagram_idle(port.number)).collect();
    idle.dedup();
    // Ports that differ in it have no one value to show.
    if let [idle] = *idle {
        service.timeouts.datagram = Some(idle);
    }
}
