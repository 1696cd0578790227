//! `tls` of listeners and clusters: what may be said, and what is wrong with the rest.

use crate::tests::mistakes::{check, check_cluster, check_listener};
use crate::tests::{FakeFiles, MINIMAL, parse};
use crate::{Config, Content, Files, TlsVersion};

const PIN: &str = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

#[test]
fn one_certificate_is_a_list_of_one() {
    let one = MINIMAL.replace("to =", "tls = { cert = \"c.pem\", key = \"k.pem\" }\nto =");
    let several = MINIMAL
        .replace("to =", "tls = { certificates = [{ cert = \"c.pem\", key = \"k.pem\" }] }\nto =");
    let (one, several) = (parse(&one).unwrap(), parse(&several).unwrap());
    assert_eq!(one, several);
    let tls = one.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.versions, [TlsVersion::Tls12, TlsVersion::Tls13]);
    assert!(tls.session_tickets && tls.client_ca.is_none());
}

#[test]
fn everything_is_written_back_as_it_was_read() {
    let text = format!(
        "{}tls = {{ ca = \"ca.pem\", pin = [\"{PIN}\"], name = \"a.example\", cert = \"c\", \
         key = \"k\" }}\n",
        MINIMAL.replace(
            "to =",
            "tls = { cert = \"c.pem\", key = \"k.pem\", ocsp = \"o.der\", client_ca = \"ca.pem\", \
             client_crl = [\"c.crl\", \"d.crl\"], client_crl_over = \"refuse\", \
             client_cert = \"optional\", client_fields = \"client-cert\", \
             versions = \"1.3\", unknown_name = \"first\", \
             session_ticket_key = \"t\" }\nto =",
        )
    );
    let config = parse(&text).unwrap_or_else(|findings| panic!("{findings}"));
    let again = parse(&config.to_toml()).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(config, again);
}

#[test]
fn what_a_listener_presents_has_to_be_whole() {
    check_listener(
        "tls = {}",
        &["2:7 missing listener.l.tls.cert: neither `cert` nor `certificates` nor `acme` is set"],
    );
    check_listener(
        "tls = { cert = \"c\" }",
        &["2:7 missing listener.l.tls.key: a `cert` needs its `key`"],
    );
    check_listener(
        "tls = { certificates = [] }",
        &["2:24 value listener.l.tls.certificates: at least 1 needed"],
    );
    check_listener(
        "tls = { certificates = [{ cert = \"c\" }] }",
        &["2:25 missing listener.l.tls.certificates[0].key: this key has to be set"],
    );
    check_listener(
        "tls = { cert = \"c\", key = \"k\", certificates = [{ cert = \"c\", key = \"k\" }] }",
        &["2:47 reference listener.l.tls.certificates: stands beside `cert` or `key`"],
    );
    check_listener(
        "tls = { cert = \"c\", kye = \"k\" }",
        &[
            "2:21 unknown-key listener.l.tls.kye: unknown key ?key",
            "2:7 missing listener.l.tls.key: a `cert` needs its `key`",
        ],
    );
}

#[test]
fn what_does_not_go_together_is_said() {
    let listener = |rest: &str, expected: &[&str]| {
        check_listener(&format!("tls = {{ cert = \"c\", key = \"k\", {rest} }}"), expected);
    };
    listener(
        "client_cert = \"optional\"",
        &["2:46 reference listener.l.tls.client_cert: needs a `client_ca` to verify by"],
    );
    listener(
        "client_fields = [\"client-cert\"]",
        &["2:48 reference listener.l.tls.client_fields: needs a `client_ca` to verify by"],
    );
    listener(
        "client_ca = \"a\", client_fields = [\"client-cert-chain\"]",
        &["2:65 reference listener.l.tls.client_fields: \
           \"client-cert-chain\" needs \"client-cert\""],
    );
    listener(
        "client_crl = \"l\"",
        &["2:45 reference listener.l.tls.client_crl: needs a `client_ca` to verify by"],
    );
    listener(
        "client_ca = \"a\", client_crl_over = \"refuse\"",
        &["2:67 reference listener.l.tls.client_crl_over: needs a `client_crl`"],
    );
    listener(
        "session_tickets = false, session_ticket_key = \"t\"",
        &["2:78 reference listener.l.tls.session_ticket_key: `session_tickets` is false"],
    );
    listener(
        "versions = [\"1.2\", \"1.2\"]",
        &["2:43 reference listener.l.tls.versions: names a version twice"],
    );
    listener(
        "versions = [\"1.1\"]",
        &["2:44 value listener.l.tls.versions[0]: not one of the allowed words ?\"1.2\""],
    );
}

#[test]
fn what_does_not_go_together_toward_endpoints_is_said() {
    check_cluster(
        "tls = { verify = \"pin\" }",
        &["2:18 reference cluster.a.tls.verify: needs at least one `pin`"],
    );
    check_cluster(
        &format!("tls = {{ verify = \"off\", pin = [\"{PIN}\"] }}"),
        &["2:18 reference cluster.a.tls.verify: \"off\" would look at no `pin`"],
    );
    check_cluster(
        "tls = { verify = \"off\", ca = \"x\" }",
        &["2:30 reference cluster.a.tls.ca: `verify` says that no authority is asked"],
    );
    check_cluster(
        "tls = { verify = \"off\", crl = [\"x\"] }",
        &["2:31 reference cluster.a.tls.crl: `verify` says that no authority is asked"],
    );
    check_cluster(
        "tls = { crl_over = \"refuse\" }",
        &["2:20 reference cluster.a.tls.crl_over: needs a `crl`"],
    );
    check_cluster(
        "tls = { key = \"k\" }",
        &["2:7 missing cluster.a.tls.cert: a `key` needs its `cert`"],
    );
    check_cluster(
        "tls = { pin = [\"sha256/short\"] }",
        &["2:16 value cluster.a.tls.pin[0]: a pin is sha256/ and 44 characters of base64"],
    );
    check_cluster(
        "tls = { name = \"-a\" }",
        &["2:16 value cluster.a.tls.name: neither a host name nor an IP address"],
    );
    check(
        "[cluster.a]\ntls = {}\nendpoints = [\"unix:/run/x\"]",
        &["2:7 reference cluster.a.tls: \
           an endpoint on a unix socket has no address to verify: set `name`"],
    );
}

/// Says of every certificate that it is wrong.
struct Picky(FakeFiles);

impl Files for Picky {
    fn read(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn examine(&self, content: &Content<'_>) -> Result<(), String> {
        match content {
            Content::Key { key: b"bad", .. } => Err("is no key".to_owned()),
            Content::Key { .. } => Ok(()),
            Content::Certificate { cert: b"good", .. } => Ok(()),
            Content::Certificate { .. } => Err("is not good".to_owned()),
            Content::Staple { response: b"good", .. } => Ok(()),
            Content::Staple { .. } => Err("is no staple".to_owned()),
            Content::Authorities(_) => Err("is no authority".to_owned()),
            Content::RevocationLists(_) => Err("is no list".to_owned()),
            Content::TicketSecrets(_) => Err("is no secret".to_owned()),
        }
    }
}

#[test]
fn files_are_looked_into_and_each_is_found_at_its_place() {
    let text = "[listener.l]\naddress = \":80\"\nto = \"a\"\n[listener.l.tls]\n\
        certificates = [{ cert = \"good\", key = \"k\" }, { cert = \"bad\", key = \"gone\" },\n\
        { cert = \"bad\", key = \"k\" }, { cert = \"good\", key = \"k\", ocsp = \"good\" },\n\
        { cert = \"good\", key = \"k\", ocsp = \"k\" }, { cert = \"bad\", key = \"bad\" }]\n\
        client_ca = \"k\"\n[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\ntls = { ca = \"k\" }\n\
        [cluster.b]\nendpoints = [\"10.0.0.1:80\"]\ntls = { crl = [\"good\", \"k\"] }";
    let files = Picky(FakeFiles(&[("good", b"good"), ("bad", b"bad"), ("k", b"k")]));
    let findings = Config::parse("f", text.as_bytes(), &files).expect_err("bad files");
    let found: Vec<_> =
        findings.list.iter().map(|one| format!("{}: {}", one.path, one.problem)).collect();
    assert_eq!(
        found,
        [
            "listener.l.tls.certificates[1].key: cannot be read: entity not found",
            "listener.l.tls.certificates[2].cert: is not good",
            "listener.l.tls.certificates[4].ocsp: is no staple",
            "listener.l.tls.certificates[5].key: is no key",
            "cluster.a.tls.ca: is no authority",
            "cluster.b.tls.crl: is no list",
        ]
    );
}

#[test]
fn routes_match_clients_only_where_certificates_are_verified() {
    let route = |tls: &str, client: &str, expected: &[&str]| {
        check(
            &format!(
                "[listener.l]\naddress = \":80\"\n{tls}\n[[listener.l.route]]\n\
                 client = {{ {client} }}\nto = \"a\"\n[cluster.a]\nendpoints = [\"10.0.0.1:80\"]"
            ),
            expected,
        );
    };
    let tls = "tls = { cert = \"c\", key = \"k\", client_ca = \"a\" }";
    route(tls, "uri = \"spiffe://a/*\", subject = true, dns = false", &[]);
    route(
        tls,
        "name = \"ada\"",
        &["5:19 value listener.l.route[0].client.name: \
           one of subject, issuer, serial, dns, uri and sha256 is meant"],
    );
    route(
        "tls = { cert = \"c\", key = \"k\" }",
        "sha256 = true",
        &["4:1 reference listener.l.route[0]: \
           `client` needs the listener's `tls.client_ca` to verify by"],
    );
}

#[test]
fn acme_asks_for_names_that_can_be_had() {
    let acme = |rest: &str, expected: &[&str]| {
        check_listener(&format!("tls = {{ acme = {{ {rest} }} }}"), expected);
    };
    acme("names = \"a.example\"", &[]);
    acme("names = [\"a.example\", \"b.example\"], contact = \"ops@example.com\"", &[]);
    acme("", &["2:16 missing listener.l.tls.acme.names: this key has to be set"]);
    acme(
        "names = [\"a.example\", \"a.example\"]",
        &["2:40 reference listener.l.tls.acme.names[1]: stands here twice"],
    );
    acme(
        "names = \"192.0.2.1\"",
        &["2:26 reference listener.l.tls.acme.names[0]: \
           an authority signs names here, no addresses"],
    );
    acme(
        "names = \"*.a.example\"",
        &["2:26 value listener.l.tls.acme.names: neither a host name nor an IP address"],
    );
    acme(
        "names = \"a.example\", contact = \"mailto:ops@example.com\"",
        &["2:49 reference listener.l.tls.acme.contact: \
           not an e-mail address such as \"ops@example.com\""],
    );
    acme(
        "names = \"a.example\", directory = \"http://a/\"",
        &["2:51 value listener.l.tls.acme.directory: a URL here begins with \"https://\""],
    );
    acme(
        "names = \"a.example\", directory = \"https://../d\"",
        &["2:51 value listener.l.tls.acme.directory: \
           a URL has a host behind \"https://\", and no user"],
    );
    check_listener(
        "tls = { acme = { names = \"a.example\", challenge = \"tls-alpn-01\" }, \
         client_ca = \"x\" }",
        &["2:16 reference listener.l.tls.acme: \
           \"tls-alpn-01\" can't pass a listener that requires client certificates"],
    );
    check_listener("tls = { acme = { names = \"a.example\", challenge = \"tls-alpn-01\" } }", &[]);
    check_listener("tls = { acme = { names = \"a.example\" }, client_ca = \"x\" }", &[]);
}
