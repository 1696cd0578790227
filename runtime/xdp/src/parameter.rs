//! What the system has to be set to, so that packets of a TUN device and answers to them go on;
//! and set back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::XdpError;

/// Parameters that were set. They are set back when this is dropped, in the order in which that
/// undoes what was done.
pub(crate) struct Parameters {
    set: Vec<Parameter>,
}

/// One that had another value before. Its file belongs to the namespace that it was opened in,
/// whatever the thread is in that closes it.
struct Parameter {
    file: File,
    before: String,
}

impl Parameters {
    /// Sets what is needed for our device.
    pub(crate) fn of_device(device: &str) -> Result<Self, XdpError> {
        without_address(device);
        let mut parameters = Parameters::of_interface(device)?;
        // Packets that we send have addresses of this machine, and come from a device that
        // answers to them don't go to.
        parameters.set_one(&path("ipv4", device, "accept_local"), "1")?;
        parameters.set_one(&path("ipv4", device, "rp_filter"), "0")?;
        Ok(parameters)
    }

    /// Sets what is needed for packets that come by this interface to be forwarded.
    pub(crate) fn of_interface(name: &str) -> Result<Self, XdpError> {
        let mut parameters = Parameters { set: Vec::new() };
        parameters.set_one(&path("ipv4", name, "forwarding"), "1")?;
        let all = path("ipv6", "all", "forwarding");
        // Without IPv6 none of its packets come.
        if !fs::read_to_string(&all).is_ok_and(|value| value.trim() == "0") {
            return Ok(parameters);
        }
        // Since Linux 6.17; before, a machine forwards all of IPv6 or none, and with all of it
        // takes no router advertisements any more.
        let one = path("ipv6", name, "force_forwarding");
        parameters.set_one(if Path::new(&one).exists() { &one } else { &all }, "1")?;
        Ok(parameters)
    }

    /// Lets answers in that come by this interface from an address which the machine has itself,
    /// or has another way to. Where it can't be set, whoever waits for them finds out.
    pub(crate) fn of_answers(name: &str) -> Self {
        let mut parameters = Parameters { set: Vec::new() };
        let _ = parameters.set_one(&path("ipv4", name, "accept_local"), "1");
        let own = path("ipv4", name, "rp_filter");
        let is_strict = |path: &str| fs::read_to_string(path).is_ok_and(|it| it.trim() == "1");
        let is_loose = fs::read_to_string(&own).is_ok_and(|it| it.trim() == "2");
        // The larger of both holds.
        if !is_loose && (is_strict(&own) || is_strict(RP_FILTER_ALL)) {
            let _ = parameters.set_one(&own, "2");
        }
        parameters
    }

    /// Sets one, unless it has that value.
    fn set_one(&mut self, path: &str, value: &'static str) -> Result<(), XdpError> {
        let failed = |error| {
            let name = path.trim_start_matches("/proc/sys/");
            // As sysctl(8) has it: a dot in an interface's name is a slash there.
            let name = name.split('/').map(|part| part.replace('.', "/"));
            let name = name.collect::<Vec<_>>().join(".");
            XdpError::Parameter { name, value, error }
        };
        let before = fs::read_to_string(path).map_err(failed)?.trim().to_owned();
        if before == value {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        write(&file, value).map_err(failed)?;
        self.set.push(Parameter { file, before });
        Ok(())
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        for parameter in self.set.drain(..).rev() {
            // Those of an interface that has gone are gone with it.
            let _ = write(&parameter.file, &parameter.before);
        }
    }
}

/// Keeps a device from giving itself an address, for which it would ask its neighbours: it has
/// none. Without IPv6 it does not anyway.
pub(crate) fn without_address(device: &str) {
    let _ = fs::write(path("ipv6", device, "addr_gen_mode"), "1");
}

/// A parameter of an interface, or of `all`.
fn path(family: &str, name: &str, what: &str) -> String {
    format!("/proc/sys/net/{family}/conf/{name}/{what}")
}

/// In one piece, and from the beginning: what is written further on changes nothing.
fn write(file: &File, value: &str) -> io::Result<()> {
    file.write_all_at(value.as_bytes(), 0)
}

/// Holds for every interface, beside its own.
pub(crate) const RP_FILTER_ALL: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";
