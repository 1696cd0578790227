//! All metrics of one moment: what shards counted, and what only this side knows.

use penstock_balance::HealthState;
use penstock_telemetry::metrics::Scrape;

use crate::{AcmeStanding, Control, health, process};

impl Control {
    /// The text of `/metrics`, in Prometheus' format 0.0.4.
    pub fn metrics(&self) -> String {
        let mut scrape = self.registry.scrape();
        self.scrape_process(&mut scrape);
        self.scrape_config(&mut scrape);
        self.scrape_shards(&mut scrape);
        self.scrape_endpoints(&mut scrape);
        self.scrape_certificates(&mut scrape);
        self.scrape_acme(&mut scrape);
        self.scrape_bgp(&mut scrape);
        self.scrape_filters(&mut scrape);
        self.scrape_log(&mut scrape);
        if let Some(running) = &self.layer4.running {
            running.scrape(&self.snapshot.seed, &mut scrape);
        }
        if self.layer4.running.is_some() || self.layer4.ailment().is_some() {
            let up = f64::from(u8::from(self.layer4.ailment().is_none()));
            let help = "1 while packets are passed on, 0 while an interface or device is missing.";
            scrape.gauge("penstock_datapath_up", help, &[], up);
        }
        scrape.render()
    }

    fn scrape_process(&self, scrape: &mut Scrape) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        scrape.gauge("penstock_build_info", "The binary that runs.", &version, 1.0);
        let started = self.clock.started().us as f64 / 1e6;
        for (name, help, value) in [
            ("process_start_time_seconds", "When the process started.", started),
            (
                "process_resident_memory_bytes",
                "Memory that is resident.",
                process::resident_bytes() as f64,
            ),
            ("process_open_fds", "Open file descriptors.", process::open_files() as f64),
            (
                "penstock_ready",
                "1 while requests are welcome.",
                f64::from(u8::from(self.is_ready())),
            ),
        ] {
            scrape.gauge(name, help, &[], value);
        }
    }

    fn scrape_config(&self, scrape: &mut Scrape) {
        let generation = f64::from(self.snapshot.generation);
        let help = "The number of the config in force.";
        scrape.gauge("penstock_config_generation", help, &[], generation);
        let reloads = [("applied", self.reloads.applied), ("refused", self.reloads.refused)];
        for (result, count) in reloads {
            let help = "New configs since the start, by what became of them.";
            scrape.counter("penstock_config_reloads_total", help, &[("result", result)], count);
        }
    }

    fn scrape_shards(&self, scrape: &mut Scrape) {
        for (index, state) in self.shard_states.iter().enumerate() {
            let (counts, shard) = (self.shards.counts(index), index.to_string());
            let labels = [("shard", shard.as_str())];
            for (name, help, count) in [
                ("penstock_shard_accepted_total", "Connections accepted.", counts.accepted),
                ("penstock_shard_accept_errors_total", "Failed accepts.", counts.accept_errors),
                (
                    "penstock_shard_starved_total",
                    "Receives that had to wait for a buffer.",
                    counts.starved,
                ),
                (
                    "penstock_shard_pipes_short_total",
                    "Connections that found no pipe to be carried by.",
                    counts.pipes_short,
                ),
                ("penstock_shard_panics_total", "Tasks that panicked.", counts.panics),
                ("penstock_shard_passes_total", "Passes over the ring.", counts.passes),
                ("penstock_shard_restarts_total", "Restarts after a death.", state.restarts),
            ] {
                scrape.counter(name, help, &labels, count);
            }
            let running = f64::from(u8::from(state.running));
            scrape.gauge("penstock_shard_running", "1 while it runs.", &labels, running);
        }
    }

    fn scrape_endpoints(&self, scrape: &mut Scrape) {
        for (place, cluster) in self.snapshot.clusters.iter().enumerate() {
            for (number, endpoint) in cluster.balancer.endpoints().iter().enumerate() {
                let (load, address) = (endpoint.load().read(), endpoint.address().to_string());
                let labels = [("cluster", &*cluster.config.name), ("endpoint", &address)];
                let name = "penstock_endpoint_requests_total";
                scrape.counter(name, "Requests sent to it.", &labels, load.requests);
                let name = "penstock_endpoint_failures_total";
                scrape.counter(name, "Requests that it failed.", &labels, load.failures);
                let (name, in_flight) = ("penstock_endpoint_in_flight", f64::from(load.in_flight));
                scrape.gauge(name, "Requests under way.", &labels, in_flight);
                let health = endpoint.load().health();
                let up = f64::from(u8::from(health.state() == HealthState::Up));
                let help = "1 while it is neither down for checks, nor ejected, nor failing.";
                scrape.gauge("penstock_endpoint_up", help, &labels, up);
                let (name, help) = ("penstock_endpoint_ejections_total", "Times it was ejected.");
                scrape.counter(name, help, &labels, health.ejections());
                let Some(record) = self.checks.record(place, number) else { continue };
                for (result, count) in [("good", record.good), ("failed", record.failed)] {
                    let labels = [labels[0], labels[1], ("result", result)];
                    let name = "penstock_endpoint_checks_total";
                    scrape.counter(name, "Health checks of it.", &labels, count);
                }
            }
            let labels = [("cluster", &*cluster.config.name)];
            let panics = f64::from(u8::from(health::panics(cluster)));
            let help = "1 while so few endpoints are well that all are asked.";
            scrape.gauge("penstock_cluster_panics", help, &labels, panics);
        }
    }

    fn scrape_certificates(&self, scrape: &mut Scrape) {
        for view in self.certificate_views() {
            let name = view.names.first().unwrap_or(&view.subject);
            // Two keys for one name are two certificates.
            let labels = [
                ("block", view.block.as_str()),
                ("name", name.as_str()),
                ("sha256", &view.sha256[..16]),
            ];
            let help = "Until the certificate is over; below zero once it is.";
            let left = view.expires_in_seconds as f64;
            scrape.gauge("penstock_certificate_expiry_seconds", help, &labels, left);
        }
        let now = self.unix().seconds();
        for listener in &self.snapshot.listeners {
            let block = format!("listener.{}", listener.config.name);
            for one in listener.tls.iter().flat_map(|tls| tls.certificates()) {
                let Some(staple) = one.staple() else { continue };
                let (name, sha256) = (one.title(), one.fingerprint.to_string());
                let labels = [("block", &*block), ("name", &*name), ("sha256", &sha256[..16])];
                let help = "Until the OCSP response is over, which is not stapled any more then.";
                let left = (staple.validity.not_after - now) as f64;
                scrape.gauge("penstock_certificate_staple_expiry_seconds", help, &labels, left);
            }
        }
        for view in self.revocation_list_views() {
            let labels = [
                ("block", view.block.as_str()),
                ("issuer", view.issuer.as_str()),
                ("sha256", &view.sha256[..16]),
            ];
            let help = "Until a newer revocation list is due; below zero once this one is over.";
            let left = view.expires_in_seconds as f64;
            scrape.gauge("penstock_crl_expiry_seconds", help, &labels, left);
        }
        let refused = f64::from(u8::from(self.refused_certificates().is_some()));
        let help = "1 while changed certificate files are refused and the old ones stay.";
        scrape.gauge("penstock_certificates_refused", help, &[], refused);
    }

    fn scrape_acme(&self, scrape: &mut Scrape) {
        for view in self.acme_views() {
            let missing = f64::from(u8::from(view.acme.state == AcmeStanding::Missing));
            let labels = [("block", view.block.as_str())];
            let help = "1 while there is no certificate by ACME, and none is being ordered.";
            scrape.gauge("penstock_acme_missing", help, &labels, missing);
            for (result, count) in &view.acme.orders {
                let labels = [labels[0], ("result", result)];
                let help = "Orders of certificates by ACME, by how they ended.";
                scrape.counter("penstock_acme_orders_total", help, &labels, *count);
            }
        }
    }

    fn scrape_bgp(&self, scrape: &mut Scrape) {
        let Some(bgp) = self.fleet_view().bgp else { return };
        let help = "Networks that BIRD has been told to announce.";
        let announced = bgp.networks.len() - bgp.withheld.len();
        let announced = if bgp.announced { announced } else { 0 };
        scrape.gauge("penstock_bgp_networks_announced", help, &[], announced as f64);
        for session in &bgp.sessions {
            let (labels, help) = ([("peer", session.peer.as_str())], "1 while routes go over it.");
            let established = f64::from(u8::from(session.established));
            scrape.gauge("penstock_bgp_session_established", help, &labels, established);
        }
        let help = "Times that BIRD could not be told, or heard.";
        scrape.counter("penstock_bgp_failures_total", help, &[], self.bgp_failures());
    }

    fn scrape_log(&self, scrape: &mut Scrape) {
        let help = "Lines of the event log that found no room: nobody reads it.";
        scrape.counter("penstock_event_log_lost_total", help, &[], self.shards.events_lost());
        let Some(log) = self.shards.log_counts() else { return };
        for (name, help, count) in [
            ("penstock_access_log_lines_total", "Lines written.", log.lines),
            ("penstock_access_log_write_lost_total", "Lines lost in writing.", log.lines_lost),
            ("penstock_access_log_errors_total", "Failed writes and reopenings.", log.errors),
        ] {
            scrape.counter(name, help, &[], count);
        }
    }
}
