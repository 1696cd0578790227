//! From the operator's configuration to this crate's settings, and from chains to their links.
//!
//! A filter that chains give configurations of their own is still one instance per shard: each
//! different configuration is a root context in it.

use std::sync::Arc;

use penstock_config as config;

use crate::abi::Callback;
use crate::chain::ChainLink;
use crate::error::LoadError;
use crate::settings::{
    Capabilities, FilterSettings, GrpcLimits, Isolation, OnError, PauseHeaders, PluginSettings,
    Storm,
};
use crate::trial::{Installed, Rollback, Wanted};

/// The settings of every filter, in the order of `Config::filters`.
///
/// [`crate::Callout::cluster_index`] is an index into the filter's `http_calls`.
pub fn filter_settings(config: &config::Config) -> Vec<FilterSettings> {
    config.filters.iter().map(|filter| settings(config, filter)).collect()
}

/// What is asked of every filter, in the order of `Config::filters`.
pub fn wanted(config: &config::Config) -> Vec<Wanted> {
    let settings = filter_settings(config).into_iter().zip(&config.filters);
    settings.map(|(settings, filter)| wanted_of(settings, filter)).collect()
}

fn wanted_of(settings: FilterSettings, filter: &config::Filter) -> Wanted {
    let canary = filter.canary.as_ref().map(|canary| {
        let mut own = settings.clone();
        if canary.wasm.is_some() {
            own.sha256 = canary.sha256.map(|digest| digest.0);
        }
        if let Some(config) = &canary.config {
            // The configurations that chains give stay with the chains.
            let mut plugins = own.plugins.to_vec();
            plugins[0].config = config.text().as_bytes().into();
            own.plugins = plugins.into();
        }
        (own, canary.share.as_basis_points())
    });
    let rollback = &filter.rollback;
    Wanted {
        settings,
        canary,
        rollback: Rollback {
            failures_min: rollback.failures,
            rate: rollback.rate.as_basis_points(),
            window: rollback.window,
            probation: rollback.probation,
        },
    }
}

/// The links of a listener's, route's or service's chain; `settings` is what [`filter_settings`]
/// made of the same configuration.
pub fn chain_links(settings: &[FilterSettings], chain: &[config::FilterUse]) -> Vec<ChainLink> {
    let link = |item: &config::FilterUse| {
        let filter = item.filter.index();
        let plugins = &settings[filter].plugins;
        let own = item.config.as_ref().map(|config| config.text().into_owned().into_bytes());
        let plugin = own.and_then(|own| plugins.iter().position(|known| *known.config == *own));
        // The first is the filter's own configuration.
        ChainLink { filter, plugin: plugin.unwrap_or(0) as u32 }
    };
    chain.iter().map(link).collect()
}

fn settings(config: &config::Config, filter: &config::Filter) -> FilterSettings {
    let name: &str = &filter.name;
    let name_of = |&id: &config::ClusterId| (*config.cluster(id).name).into();
    FilterSettings {
        name: name.into(),
        vm_id: filter.vm_id.as_deref().unwrap_or(name).into(),
        vm_config: filter.vm_config.text().as_bytes().into(),
        environment: filter.environment.to_vec().into(),
        sha256: filter.sha256.map(|digest| digest.0),
        capabilities: capabilities(filter.capabilities.as_deref()),
        clusters: filter.http_calls.iter().map(name_of).collect(),
        grpc_clusters: filter.grpc_calls.iter().map(name_of).collect(),
        on_error: match filter.on_error {
            config::OnError::Deny => OnError::Deny,
            config::OnError::Allow => OnError::Allow,
        },
        pause_headers: match filter.pause_headers {
            config::PauseHeaders::All => PauseHeaders::All,
            config::PauseHeaders::HeadersOnly => PauseHeaders::HeadersOnly,
        },
        isolation: match filter.isolation {
            config::Isolation::Shared => Isolation::Shared,
            config::Isolation::Request => Isolation::Request,
        },
        memory_bytes_max: filter.memory_max.as_usize(),
        header_deadline: filter.deadlines.headers,
        body_deadline: filter.deadlines.body,
        start_deadline: filter.deadlines.start,
        ended_deadline: filter.deadlines.ended,
        ended_max: filter.ended_max,
        body_bytes_max: filter.body_buffer_max.as_usize(),
        hostcall_bytes_max: filter.hostcall_bytes_max.as_usize(),
        callouts_max: filter.http_calls_max,
        grpc: GrpcLimits {
            calls_max: filter.grpc_calls_max,
            message_bytes_max: filter.grpc_message_max.as_usize(),
            buffered_bytes_max: filter.grpc_buffer_max.as_usize(),
        },
        log_lines_max: filter.log_lines_max,
        shared_bytes_max: filter.shared_data_max.as_usize(),
        storm: Storm {
            traps_max: filter.storm.traps,
            window: filter.storm.window,
            rearm: filter.storm.rearm_min,
            rearm_max: filter.storm.rearm_max,
        },
        plugins: plugins(config, filter),
    }
}

/// The filter's own configuration, then every other that some chain gives it, once.
fn plugins(config: &config::Config, filter: &config::Filter) -> Arc<[PluginSettings]> {
    let root_id: Arc<str> = filter.root_id.as_str().into();
    let mut texts = vec![filter.config.text()];
    for item in exchange_chains(config).chain(connection_chains(config)).flat_map(|(_, all)| all) {
        if *config.filter(item.filter).name == *filter.name
            && let Some(own) = item.config.as_ref().map(config::Payload::text)
            && !texts.contains(&own)
        {
            texts.push(own);
        }
    }
    let plugin = |text: &std::borrow::Cow<'_, str>| PluginSettings {
        root_id: Arc::clone(&root_id),
        config: text.as_bytes().into(),
    };
    texts.iter().map(plugin).collect()
}

/// Where a chain gives `filter` the configuration that is its plugin of this index: the keys that
/// lead there. `None` for the filter's own.
pub fn place_of_plugin(
    config: &config::Config,
    filter: &config::Filter,
    plugin: u32,
) -> Option<Vec<String>> {
    let plugins = plugins(config, filter);
    let wanted = plugins.get(plugin as usize).filter(|_| plugin > 0)?;
    let listeners = config.listeners.iter().flat_map(|listener| {
        let own = vec!["listener".to_owned(), listener.name.to_string()];
        let of_route = |(index, route): (usize, &'_ config::Route)| {
            let route_keys = ["route".to_owned(), format!("[{index}]")];
            (own.iter().cloned().chain(route_keys).collect(), route.filters.clone())
        };
        let routes: Vec<_> = listener.routes.iter().enumerate().map(of_route).collect();
        std::iter::once((own.clone(), listener.filters.clone())).chain(routes)
    });
    let services = config.services.iter().map(|service| {
        (vec!["service".to_owned(), service.name.to_string()], service.filters.clone())
    });
    listeners.chain(services).find_map(|(keys, chain)| {
        let gives = |item: &config::FilterUse| {
            *config.filter(item.filter).name == *filter.name
                && item.config.as_ref().is_some_and(|own| own.text().as_bytes() == &*wanted.config)
        };
        let index = chain.iter().position(gives)?;
        let rest = ["filters".to_owned(), format!("[{index}]"), "config".to_owned()];
        Some(keys.into_iter().chain(rest).collect())
    })
}

/// The chains of HTTP: the listener that each is of, and its filters.
fn exchange_chains(
    config: &config::Config,
) -> impl Iterator<Item = (String, &Vec<config::FilterUse>)> {
    config.listeners.iter().flat_map(|listener| {
        let routes = listener.routes.iter().map(|route| &route.filters);
        let all = std::iter::once(&listener.filters).chain(routes);
        all.map(|chain| (format!("listener.{}", listener.name), chain))
    })
}

/// The chains of raw connections, likewise.
fn connection_chains(
    config: &config::Config,
) -> impl Iterator<Item = (String, &Vec<config::FilterUse>)> {
    config.services.iter().map(|one| (format!("service.{}", one.name), &one.filters))
}

/// Whether the module of a filter of `config`, its canary's included, has callbacks for what chains
/// ask of it.
///
/// # Errors
/// It is in a chain of the one kind, and for the other.
pub fn check_uses(
    config: &config::Config,
    filter: &config::Filter,
    installed: &Installed,
) -> Result<(), LoadError> {
    let canary = installed.candidate().map(|trial| &trial.candidate);
    for version in [Some(installed.filter()), canary].into_iter().flatten() {
        let callbacks = version.module().callbacks();
        let has = |all: &[Callback]| all.iter().any(|&one| callbacks.has(one));
        let is_used = |chain: &[config::FilterUse]| {
            chain.iter().any(|item| *config.filter(item.filter).name == *filter.name)
        };
        let (exchanges, connections) = (has(&EXCHANGES), has(&CONNECTIONS));
        let mut of_http = exchange_chains(config).filter(|(_, chain)| is_used(chain));
        if !exchanges
            && connections
            && let Some((chain, _)) = of_http.next()
        {
            return Err(LoadError::NotForExchanges { chain });
        }
        let mut raw = connection_chains(config).filter(|(_, chain)| is_used(chain));
        if !connections && let Some((chain, _)) = raw.next() {
            return Err(LoadError::NotForConnections { chain });
        }
    }
    Ok(())
}

/// What a filter for HTTP has one of.
pub(crate) const EXCHANGES: [Callback; 6] = [
    Callback::RequestHeaders,
    Callback::RequestBody,
    Callback::RequestTrailers,
    Callback::ResponseHeaders,
    Callback::ResponseBody,
    Callback::ResponseTrailers,
];

/// What a filter for raw connections has one of.
pub(crate) const CONNECTIONS: [Callback; 5] = [
    Callback::NewConnection,
    Callback::DownstreamData,
    Callback::UpstreamData,
    Callback::DownstreamClose,
    Callback::UpstreamClose,
];

fn capabilities(granted: Option<&[config::Capability]>) -> Capabilities {
    use config::Capability as From;

    use crate::abi::Capability as To;
    let Some(granted) = granted else {
        return Capabilities::ALL;
    };
    granted.iter().fold(Capabilities::NONE, |granted, capability| {
        granted.with(match capability {
            From::Headers => To::Headers,
            From::Body => To::Body,
            From::Properties => To::Properties,
            From::Streams => To::Streams,
            From::LocalResponse => To::LocalResponse,
            From::HttpCall => To::HttpCall,
            From::GrpcCall => To::GrpcCall,
            From::SharedData => To::SharedData,
            From::Metrics => To::Metrics,
            From::Timers => To::Timers,
            From::Log => To::Log,
            From::Clock => To::Clock,
            From::Random => To::Random,
            From::Foreign => To::Foreign,
        })
    })
}

#[cfg(test)]
mod tests {
    use penstock_config::{Config, UncheckedFiles};

    use super::{chain_links, check_uses, filter_settings, wanted};
    use crate::abi::Capability;
    use crate::testing::Harness;
    use crate::tests::module;
    use crate::{ChainLink, EngineSettings, FilterSettings, Installed, Rollback};

    const TEXT: &str = r#"
        [listener.web]
        address = ":80"
        filters = ["edit"]
        ROUTES

        [cluster.app]
        endpoints = ["127.0.0.1:1"]

        [filter.edit]
        wasm = "/edit.wasm"
        config = "plain"
        http_calls = ["app"]
        capabilities = ["log"]
    "#;

    #[test]
    fn each_configuration_is_a_plugin_of_one_filter() {
        let text = TEXT.replace(
            "ROUTES",
            r#"[[listener.web.route]]
            to = "app"
            filters = [{ filter = "edit", config = { a = 1 } }]"#,
        );
        let config = Config::parse("t", text.as_bytes(), &UncheckedFiles);
        let config = config.unwrap_or_else(|findings| panic!("{findings:?}"));
        let settings = filter_settings(&config);
        let [edit] = &settings[..] else { panic!("one filter") };
        let configs: Vec<_> = edit.plugins.iter().map(|plugin| &*plugin.config).collect();
        assert_eq!(configs, [b"plain" as &[u8], br#"{"a":1}"#]);
        assert_eq!(&*edit.clusters, ["app".into()]);
        assert!(edit.capabilities.has(Capability::Log) && !edit.capabilities.has(Capability::Body));
        let listener = &config.listeners[0];
        let own = ChainLink { filter: 0, plugin: 0 };
        assert_eq!(chain_links(&settings, &listener.filters), [own]);
        let other = ChainLink { filter: 0, plugin: 1 };
        assert_eq!(chain_links(&settings, &listener.routes[0].filters), [other]);
    }

    #[test]
    fn a_filter_is_for_exchanges_or_connections_or_both() {
        let text = TEXT.replace("ROUTES", r#"to = "app""#);
        let service = r#"
            [service.db]
            vip = "10.9.9.9"
            ports = "tcp/5432"
            to = "app"
            filters = [{ filter = "edit", config = "own" }]
        "#;
        let apart = text.replace(r#"filters = ["edit"]"#, "");
        let (web, db) = (text.clone(), apart + service);
        let both = text + service;
        let http = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            i32.const 0)"#;
        let raw = r#"(func (export "proxy_on_new_connection") (param i32) (result i32)
            i32.const 0)"#;
        let check = |text: &str, body: &str| {
            let config = Config::parse("t", text.as_bytes(), &UncheckedFiles);
            let config = config.unwrap_or_else(|findings| panic!("{findings:?}"));
            let (settings, engine) =
                (filter_settings(&config).remove(0), EngineSettings::default());
            let plugins = settings.plugins.len();
            let harness = Harness::new(&module(body), settings, engine).expect("it loads");
            let installed = Installed::from(harness.filter);
            let fits = check_uses(&config, &config.filters[0], &installed);
            (
                plugins,
                fits.err().map(|error| error.to_string().split(',').next().map(str::to_owned)),
            )
        };
        let refused = |chain: &str| Some(Some(format!("is in `filters` of {chain}")));
        assert_eq!(check(&web, http), (1, None));
        assert_eq!(check(&web, raw), (1, refused("listener.web")));
        assert_eq!(check(&db, raw), (2, None));
        assert_eq!(check(&db, http), (2, refused("service.db")));
        assert_eq!(check(&both, &(http.to_owned() + raw)), (2, None));
        // One that works in its root contexts alone may be named where it does no harm.
        assert_eq!(check(&web, ""), (1, None));
    }

    #[test]
    fn the_defaults_are_those_of_the_configuration() {
        let text = TEXT.replace("ROUTES", r#"to = "app""#);
        let text = text.replace("capabilities", "#").replace("http_calls", "#");
        let config = Config::parse("t", text.as_bytes(), &UncheckedFiles);
        let config = config.unwrap_or_else(|findings| panic!("{findings:?}"));
        let settings = filter_settings(&config).remove(0);
        let plugins = settings.plugins.clone();
        assert_eq!(settings, FilterSettings { plugins, ..FilterSettings::new("edit") });
        assert_eq!(wanted(&config)[0].rollback, Rollback::default());
    }

    #[test]
    fn a_canary_differs_in_what_it_says_alone() {
        let canary = "capabilities = [\"log\"]\ncanary = { share = \"5%\", config = \"new\" }";
        let route = r#"[[listener.web.route]]
            to = "app"
            filters = [{ filter = "edit", config = "chain" }]"#;
        let text = TEXT.replace("ROUTES", route).replace("capabilities = [\"log\"]", canary);
        let config = Config::parse("t", text.as_bytes(), &UncheckedFiles);
        let config = config.unwrap_or_else(|findings| panic!("{findings:?}"));
        let wanted = wanted(&config).remove(0);
        let (canary, share) = wanted.canary.expect("there is one");
        assert_eq!(share, 500);
        let configs: Vec<_> = canary.plugins.iter().map(|plugin| &*plugin.config).collect();
        assert_eq!(configs, [b"new" as &[u8], b"chain"]);
        let plugins = wanted.settings.plugins.clone();
        assert_eq!(FilterSettings { plugins, ..canary }, wanted.settings);
    }
}
