//! BIRD, where a fleet's addresses are announced: whether it answers, and can be told.

use std::io;
use std::os::unix::net::UnixStream;

use penstock_config::Config;

use super::report::{Level, Report};

pub(crate) fn look(config: &Config, report: &mut Report) {
    let Some(bgp) = &config.fleet.bgp else { return };
    let socket = bgp.socket.display();
    match UnixStream::connect(&bgp.socket) {
        Ok(_) => report.ok("bgp", format!("BIRD answers at {socket}")),
        Err(error) => {
            let (level, advice) = judge(&error);
            report.put("bgp", level, format!("{socket}: {error}"), advice);
        }
    }
    let include = bgp.include.display();
    match bgp.include.parent().is_some_and(std::path::Path::is_dir) {
        true => report.ok("bgp", format!("there is a folder for {include}")),
        false => {
            let advice = "`d /run/penstock 0755 root root` in /etc/tmpfiles.d/penstock.conf, \
                          which BIRD has to read it from";
            report.put("bgp", Level::Fail, format!("there is no folder for {include}"), advice);
        }
    }
}

fn judge(error: &io::Error) -> (Level, &'static str) {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (Level::Unknown, "look as root, or be in BIRD's group as Penstock has to be")
        }
        io::ErrorKind::NotFound => {
            (Level::Fail, "install bird2 and start it; packaging/bird has its configuration")
        }
        _ => (Level::Fail, "start BIRD: systemctl start bird"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Level, judge};

    #[test]
    fn that_we_may_not_ask_does_not_say_that_nobody_answers() {
        for (kind, level) in [
            (ErrorKind::PermissionDenied, Level::Unknown),
            (ErrorKind::NotFound, Level::Fail),
            (ErrorKind::ConnectionRefused, Level::Fail),
        ] {
            assert_eq!(judge(&io::Error::from(kind)).0, level, "{kind}");
        }
    }
}
