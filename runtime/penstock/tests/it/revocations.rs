//! Revocation lists of authorities that openssl keeps: clients and endpoints that are on one.

use std::process::Command;

use crate::harness::{Certificates, Folder, Origin, Penstock, installed, talk, until};
use crate::tls::{ask_with, config, has};

/// A root, an authority below it, and what that one signed and revoked.
pub(crate) struct Authority {
    pub(crate) folder: Folder,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let authority = Authority { folder: Folder::new() };
        let (folder, key) = (&authority.folder, ["-newkey", "ec", "-pkeyopt", CURVE, "-nodes"]);
        let ca = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        std::fs::write(folder.join("ca.ext"), ca).expect("written");
        let host = "extendedKeyUsage=clientAuth,serverAuth\n\
                    subjectAltName=IP:127.0.0.1,DNS:host.test\n";
        std::fs::write(folder.join("host.ext"), host).expect("written");
        for name in ["root", "issuing", "ada", "eve"] {
            let subject = format!("/CN={name}");
            let mut arguments = vec!["req", "-subj", &subject, "-keyout"];
            let (key_file, request) = (format!("{name}.key"), format!("{name}.csr"));
            arguments.extend([key_file.as_str(), "-out", &request]);
            arguments.extend(key);
            authority.openssl(&arguments);
        }
        let selfsigned = ["-signkey", "root.key", "-set_serial", "1", "-extfile", "ca.ext"];
        authority.sign("root", &selfsigned);
        let by_root = ["-CA", "root.pem", "-CAkey", "root.key", "-extfile", "ca.ext"];
        authority.sign("issuing", &[&by_root[..], &["-set_serial", "2"]].concat());
        let by_issuing = ["-CA", "issuing.pem", "-CAkey", "issuing.key", "-extfile", "host.ext"];
        authority.sign("ada", &[&by_issuing[..], &["-set_serial", "0x0a"]].concat());
        authority.sign("eve", &[&by_issuing[..], &["-set_serial", "0x0e"]].concat());
        authority.revoke("root", &[], "root.crl");
        authority.revoke("issuing", &["0E"], "issuing.crl");
        authority
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// What one of the clients presents, in PEM.
    pub(crate) fn chain(&self, name: &str) -> String {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).expect("read");
        read(&format!("{name}.pem")) + &read("issuing.pem")
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let home = self.folder.join(".");
        let output = Command::new("openssl").args(arguments).current_dir(home).output();
        let output = output.expect("openssl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }

    fn sign(&self, name: &str, more: &[&str]) {
        let (request, out) = (format!("{name}.csr"), format!("{name}.pem"));
        let arguments = ["x509", "-req", "-in", &request, "-days", "30", "-out", &out];
        self.openssl(&[&arguments[..], more].concat());
    }

    /// Puts a new list in place of the one in `out`, at once.
    fn revoke(&self, authority: &str, serials: &[&str], out: &str) {
        let line =
            |serial: &&str| format!("R\t400101000000Z\t260101000000Z\t{serial}\tunknown\t/CN=x\n");
        let index: String = serials.iter().map(line).collect();
        std::fs::write(self.folder.join("index"), index).expect("written");
        std::fs::write(self.folder.join("number"), "01\n").expect("written");
        let text = "[ca]\ndefault_ca = a\n[a]\ndatabase = index\ndefault_md = sha256\n\
                    default_crl_days = 30\ncrlnumber = number\n";
        std::fs::write(self.folder.join("ca.cnf"), text).expect("written");
        let (cert, key) = (format!("{authority}.pem"), format!("{authority}.key"));
        let arguments = ["ca", "-gencrl", "-config", "ca.cnf", "-cert", &cert, "-keyfile", &key];
        self.openssl(&[&arguments[..], &["-out", "fresh.crl"]].concat());
        std::fs::rename(self.folder.join("fresh.crl"), self.folder.join(out)).expect("moved");
    }

    /// How clients are verified, with `more`.
    fn clients(&self, more: &str) -> String {
        let crls = [self.path("root.crl"), self.path("issuing.crl")];
        format!(", client_ca = \"{}\", client_crl = {crls:?}{more}", self.path("root.pem"))
    }
}

const CURVE: &str = "ec_paramgen_curve:P-256";

#[test]
fn revoked_clients_are_refused_from_the_moment_that_the_list_says_so() {
    if !installed("openssl") || !installed("curl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    let authority = Authority::new();
    let more = authority.clients(", client_fields = [\"client-cert\", \"client-cert-chain\"]");
    let penstock = Penstock::start(&config(&origin, &files.listener(1, &more)));
    let ca = files.path("ca.pem");
    let chain = authority.path("issuing.pem");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let as_client = |name: &str, more: &[&str]| {
        let (cert, key) =
            (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        let mut arguments = vec!["-servername", "a.test", "-cert", &cert, "-key", &key];
        arguments.extend(["-cert_chain", &chain]);
        arguments.extend(more);
        ask_with(&penstock, &ca, &arguments, request)
    };
    let session = files.path("session");
    for version in ["-tls1_2", "-tls1_3"] {
        has(&as_client("ada", &[version, "-sess_out", &session]), &["200 OK"]);
        // RFC 9440 §2.3: what signed it, and not the certificate itself.
        let head = origin.head().expect("a request came");
        let pem = std::fs::read_to_string(&chain).expect("read");
        let signer: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        has(&head, &[&format!("Client-Cert-Chain: :{signer}:\r\n"), "Client-Cert: :"]);
        has(&as_client("eve", &[version]), &["alert"]);
    }
    has(&over_http2(&penstock, &authority, &ca, "ada"), &["2 200"]);
    has(&over_http2(&penstock, &authority, &ca, "eve"), &["0 000"]);
    let lists = penstock.json("/v1/crls");
    assert_eq!(lists.as_array().map(Vec::len), Some(2), "{lists}");
    let of_issuing =
        lists.as_array().into_iter().flatten().find(|one| one["issuer"] == "CN=issuing");
    assert_eq!(of_issuing.expect("a list")["revoked"], 1, "{lists}");
    // What is none is named, and what was in force stays.
    let good = std::fs::read(authority.path("issuing.crl")).expect("read");
    std::fs::write(authority.path("issuing.crl"), b"garbage").expect("written");
    until("the bad one is refused", || {
        (penstock.metric("penstock_certificates_refused") == 1.0).then_some(())
    });
    has(&penstock.errors(), &["listener.web.tls: ", "issuing.crl holds no revocation list"]);
    has(&as_client("eve", &[]), &["alert"]);
    has(&as_client("ada", &[]), &["200 OK"]);
    std::fs::write(authority.path("issuing.crl"), good).expect("written");
    until("the good one is back", || {
        (penstock.metric("penstock_certificates_refused") == 0.0).then_some(())
    });
    // Not even with a session from before.
    has(&as_client("ada", &["-sess_in", &session]), &["Reused, TLSv1.3", "200 OK"]);
    authority.revoke("issuing", &["0A", "0E"], "issuing.crl");
    until("the new one is in force", || {
        let revoked = |one: &serde_json::Value| one["revoked"] == 2;
        penstock
            .json("/v1/crls")
            .as_array()
            .is_some_and(|all| all.iter().any(revoked))
            .then_some(())
    });
    has(&as_client("ada", &["-sess_in", &session]), &["alert"]);
    has(&as_client("ada", &[]), &["alert"]);
}

/// What curl says of a request over HTTP/2 by one of the clients: version and status.
fn over_http2(penstock: &Penstock, authority: &Authority, ca: &str, name: &str) -> String {
    let both = authority.path("both.pem");
    std::fs::write(&both, authority.chain(name)).expect("written");
    let port = penstock.address("web").port();
    let output = Command::new("curl")
        .args(["-sS", "--http2", "--max-time", "20", "--cacert", ca])
        .args(["--resolve", &format!("a.test:{port}:127.0.0.1")])
        .args(["--cert", &both, "--key", &authority.path(&format!("{name}.key"))])
        .args(["-w", "%{http_version} %{http_code}", &format!("https://a.test:{port}/")])
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn endpoints_with_revoked_certificates_get_no_requests() {
    if !installed("openssl") {
        return;
    }
    let (origin, authority) = (Origin::named("origin"), Authority::new());
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for (name, status) in [("ada", 200), ("eve", 502)] {
        let chain = authority.path("chain.pem");
        std::fs::write(&chain, authority.chain(name)).expect("written");
        let tls = format!(
            "tls = {{ cert = \"{chain}\", key = \"{}\", unknown_name = \"first\" }}\n",
            authority.path(&format!("{name}.key"))
        );
        // One Penstock is the endpoint of another.
        let inner = Penstock::start(&config(&origin, &tls));
        let outer = Penstock::start(&format!(
            "[observe]\ncause_header = true\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
             to = \"app\"\n[cluster.app]\nendpoints = [\"{}\"]\n\
             tls = {{ ca = \"{}\", crl = [\"{}\", \"{}\"] }}\n",
            inner.address("web"),
            authority.path("root.pem"),
            authority.path("root.crl"),
            authority.path("issuing.crl"),
        ));
        let answer = talk(outer.address("web"), request).0.expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.head.contains("upstream_untrusted"), status == 502, "{answer:?}");
    }
}
