//! Which route of a service a server name belongs to.

use penstock_config::{ClusterId, HostPattern, ServiceRoute};
use penstock_env::{Map, MapSeed};

/// The names of a service's routes, to be looked up. Nobody outside chooses the keys.
#[derive(Debug, Default)]
pub struct ServerNames {
    exact: Map<Box<str>, u32>,
    /// With the dot that they begin with.
    suffixes: Map<Box<str>, u32>,
    clusters: Vec<ClusterId>,
}

impl ServerNames {
    /// The table of these routes.
    pub fn new(routes: &[ServiceRoute]) -> ServerNames {
        let map = || Map::with_hasher(MapSeed::default());
        let (mut exact, mut suffixes) = (map(), map());
        for (route, index) in routes.iter().zip(0..) {
            for name in &route.server_names {
                // The first that matches: who comes later with the same name never does.
                match name {
                    HostPattern::Exact(name) => exact.entry(name.clone()).or_insert(index),
                    HostPattern::Suffix(suffix) => suffixes.entry(suffix.clone()).or_insert(index),
                };
            }
        }
        let clusters = routes.iter().map(|route| route.cluster).collect();
        ServerNames { exact, suffixes, clusters }
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Where a connection goes that asks for `name`: the first route in file order that matches.
    pub fn cluster_of(&self, name: &str) -> Option<ClusterId> {
        let name = name.to_ascii_lowercase();
        let dots = name.match_indices('.').filter(|(at, _)| *at > 0);
        let suffixes = dots.filter_map(|(at, _)| self.suffixes.get(&name[at..]));
        let first = self.exact.get(&*name).into_iter().chain(suffixes).min()?;
        self.clusters.get(*first as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use penstock_config::{ClusterId, HostPattern, ServiceRoute};

    use super::ServerNames;

    fn route(names: &[&str], cluster: u32) -> ServiceRoute {
        let name = |name: &&str| name.parse::<HostPattern>().expect("a pattern");
        ServiceRoute { server_names: names.iter().map(name).collect(), cluster: ClusterId(cluster) }
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let routes = [
            route(&["a.example.com"], 0),
            route(&["*.example.com", "example.org"], 1),
            route(&["b.example.com", "example.com"], 2),
            route(&["*.deep.example.org", "*.example.org"], 3),
        ];
        let names = ServerNames::new(&routes);
        for (name, expected) in [
            ("a.example.com", Some(0)),
            ("A.EXAMPLE.com", Some(0)),
            ("b.example.com", Some(1)),
            ("x.y.example.com", Some(1)),
            ("example.com", Some(2)),
            ("example.org", Some(1)),
            ("x.example.org", Some(3)),
            ("x.deep.example.org", Some(3)),
            ("example.net", None),
            ("com", None),
            ("notexample.com", None),
        ] {
            assert_eq!(names.cluster_of(name), expected.map(ClusterId), "{name}");
            // The meaning that the table is held to.
            let meant = routes
                .iter()
                .find(|route| route.server_names.iter().any(|pattern| pattern.matches(name)));
            assert_eq!(meant.map(|route| route.cluster), expected.map(ClusterId), "{name}");
        }
    }
}
