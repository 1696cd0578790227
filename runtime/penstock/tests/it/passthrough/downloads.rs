//! Downloads that are under way while something happens.

use std::process::{Child, Stdio};

use super::site::{LARGE, Site, VIPS};
use crate::harness::{Penstock, until};

/// Downloads that are under way, slowly, each with who serves it.
pub fn downloads(site: &Site, count: usize) -> Vec<Child> {
    let begin = |number: usize| {
        let url = format!("http://{}/large", VIPS[number % 2]);
        let arguments = ["-o", "/dev/null", "-w", "%{size_download}", "--limit-rate", "2M", &url];
        let mut command = site.curl_command(&arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl runs")
    };
    (0..count).map(begin).collect()
}

/// What became of those that broke, once all have ended.
pub fn broken(downloads: Vec<Child>) -> Vec<String> {
    let ended = downloads.into_iter().filter_map(|download| {
        let output = download.wait_with_output().expect("curl ends");
        let whole = output.status.success() && output.stdout == LARGE.to_string().as_bytes();
        (!whole).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    ended.collect()
}

#[track_caller]
pub fn all_whole(downloads: Vec<Child>) {
    let (count, broken) = (downloads.len(), broken(downloads));
    assert!(broken.is_empty(), "{} of {count}: {broken:?}", broken.len());
}

/// Waits until so many flows have proven to have two ends.
#[track_caller]
pub fn until_established(appliances: &[&Penstock], count: usize) {
    until("downloads are under way", || {
        let established = appliances.iter().map(|one| established(one)).sum::<usize>();
        (established >= count).then_some(())
    });
}

/// Flows of the client that an appliance knows as established.
pub fn established(penstock: &Penstock) -> usize {
    let of = |client: &str| {
        let flows = penstock.json(&format!("/v1/flows?client={client}&limit=1000"));
        let all = flows["flows"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["state"] == "established").count()
    };
    of("10.1.0.2") + of("fd00:1::2")
}
