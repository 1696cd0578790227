//! The certificates that the config names: whether they can be used, and for how long.

use std::time::{SystemTime, UNIX_EPOCH};

use penstock_config::{CertificateFiles, Config, Files};
use penstock_tls::Certificate;

use super::report::{Level, Report};

/// Below so many days somebody should look after it.
const DAYS_FEW: i64 = 21;

pub(crate) fn look(config: &Config, files: &dyn Files, report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        for pair in tls.certificates.iter() {
            let (level, what, advice) = match read(pair, files) {
                Ok((not_before, not_after)) => judge(now, not_before, not_after),
                Err(why) => (Level::Fail, why, "`penstock cert check CERT KEY` looks closer"),
            };
            let what = format!("listener.{}: {}: {what}", listener.name, pair.cert.display());
            report.put("certificates", level, what, advice);
        }
    }
}

/// When it is valid, if it can be used.
fn read(pair: &CertificateFiles, files: &dyn Files) -> Result<(i64, i64), String> {
    let file = |path: &std::path::Path| {
        files.read(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (cert, key) = (file(&pair.cert)?, file(&pair.key)?);
    let certificate = Certificate::read(&cert, &key).map_err(|error| error.to_string())?;
    Ok((certificate.validity.not_before, certificate.validity.not_after))
}

fn judge(now: i64, not_before: i64, not_after: i64) -> (Level, String, &'static str) {
    let days = (not_after - now).div_euclid(86_400);
    if now < not_before {
        (Level::Fail, "it is not valid yet".to_owned(), "wait, or look at the clock")
    } else if now > not_after {
        (Level::Fail, "it is over".to_owned(), "renew it")
    } else if days < DAYS_FEW {
        (Level::Warn, format!("{days} days left"), "renew it")
    } else {
        (Level::Ok, format!("{days} days left"), "")
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, judge};

    #[test]
    fn a_certificate_is_looked_after_before_it_is_over() {
        const DAY: i64 = 86_400;
        for (not_before, not_after, level) in [
            (0, 200 * DAY, Level::Ok),
            (0, 121 * DAY, Level::Ok),
            (0, 121 * DAY - 1, Level::Warn),
            (0, 100 * DAY, Level::Warn),
            (0, 100 * DAY - 1, Level::Fail),
            (101 * DAY, 200 * DAY, Level::Fail),
        ] {
            assert_eq!(
                judge(100 * DAY, not_before, not_after).0,
                level,
                "{not_before} {not_after}"
            );
        }
    }
}
