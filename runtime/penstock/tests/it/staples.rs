//! OCSP responses that openssl makes: stapled to the certificate that they are about, renewed
//! while it runs, and refused by name where they are not what clients want.

use crate::harness::{Origin, Penstock, installed, run, until};
use crate::revocations::Authority;
use crate::tls::{ask_with, config, has};

/// What `signer` answers to who asks for the certificate `name`, by the authority's `index`.
fn answer(authority: &Authority, signer: &str, index: &str, name: &str) -> Vec<u8> {
    std::fs::write(authority.path("index"), index).expect("written");
    let certificate = format!("{name}.pem");
    let ask = ["ocsp", "-issuer", "issuing.pem", "-cert", &certificate, "-no_nonce"];
    authority.openssl(&[&ask[..], &["-reqout", "request"]].concat());
    let (certificate, key) = (format!("{signer}.pem"), format!("{signer}.key"));
    let signer = ["-rsigner", &certificate, "-rkey", &key, "-CA", "issuing.pem"];
    let files = ["-index", "index", "-reqin", "request", "-respout", "response", "-ndays", "3"];
    authority.openssl(&[&["ocsp"], &files[..], &signer[..]].concat());
    std::fs::read(authority.path("response")).expect("read")
}

/// As openssl keeps its index: who is well, and who was revoked.
const INDEX: &str = "V\t400101000000Z\t\t0A\tunknown\t/CN=ada\n\
                     R\t400101000000Z\t260101000000Z\t0E\tunknown\t/CN=eve\n";

/// A responder whose certificate ended with 2019, and its answers with it.
fn name_responder(authority: &Authority) {
    let policy = "[ca]\ndefault_ca = a\n[a]\ndatabase = signed\nserial = serial\n\
                  new_certs_dir = .\ndefault_md = sha256\npolicy = p\n\
                  [p]\ncommonName = supplied\n";
    let files = [
        ("responder.cnf", policy),
        ("responder.ext", "extendedKeyUsage = OCSPSigning\n"),
        ("signed", ""),
        ("serial", "0B\n"),
    ];
    for (name, text) in files {
        std::fs::write(authority.path(name), text).expect("written");
    }
    let key = ["req", "-subj", "/CN=responder", "-newkey", "rsa:2048", "-nodes", "-keyout"];
    authority.openssl(&[&key[..], &["responder.key", "-out", "responder.csr"]].concat());
    let by = ["ca", "-config", "responder.cnf", "-cert", "issuing.pem", "-keyfile", "issuing.key"];
    let dates = ["-startdate", "20100101000000Z", "-enddate", "20200101000000Z"];
    let files = ["-batch", "-notext", "-extfile", "responder.ext", "-in", "responder.csr"];
    authority.openssl(&[&by[..], &dates, &files, &["-out", "responder.pem"]].concat());
}

/// Replaces the staple as a whole.
fn put_in_place(authority: &Authority, bytes: &[u8]) {
    std::fs::write(authority.path("fresh"), bytes).expect("written");
    std::fs::rename(authority.path("fresh"), authority.path("staple.der")).expect("moved");
}

#[test]
fn a_staple_is_presented_and_one_that_clients_refuse_never_gets_in_force() {
    if !installed("openssl") {
        return;
    }
    let (origin, authority) = (Origin::named("origin"), Authority::new());
    name_responder(&authority);
    let good = answer(&authority, "issuing", INDEX, "ada");
    let put = |bytes: &[u8]| put_in_place(&authority, bytes);
    put(&good);
    std::fs::write(authority.path("chain.pem"), authority.chain("ada")).expect("written");
    let tls = format!(
        "tls = {{ cert = \"{}\", key = \"{}\", ocsp = \"{}\" }}\n",
        authority.path("chain.pem"),
        authority.path("ada.key"),
        authority.path("staple.der"),
    );
    let text = config(&origin, &tls);
    let penstock = Penstock::start(&text);
    let request = "GET / HTTP/1.1\r\nHost: host.test\r\nConnection: close\r\n\r\n";
    let presented = |version: &str| {
        let arguments = ["-servername", "host.test", "-status", version];
        ask_with(&penstock, &authority.path("root.pem"), &arguments, request)
    };
    let is_stapled = |serial: &str| {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = presented(version);
            has(&said, &["OCSP Response Status: successful", "Cert Status: good", "200 OK"]);
            has(&said, &[&format!("Serial Number: {serial}")]);
        }
    };
    is_stapled("0A");
    let (_, metrics) = penstock.ask("GET", "/metrics");
    has(&metrics, &["penstock_certificate_staple_expiry_seconds{block=\"listener.web\","]);
    let of_another = answer(&authority, "issuing", INDEX, "eve");
    let all_revoked = "R\t400101000000Z\t260101000000Z\t0A\tunknown\t/CN=ada\n";
    let revoked = answer(&authority, "issuing", all_revoked, "ada");
    let over = answer(&authority, "responder", INDEX, "ada");
    let by_nobody = answer(&authority, "eve", INDEX, "ada");
    let check = authority.folder.join("check.toml");
    std::fs::write(&check, &text).expect("written");
    for (bytes, problem) in [
        (&of_another, "staple.der is about another certificate, not the one for CN=ada"),
        (&revoked, "staple.der says that the certificate for CN=ada is revoked"),
        (&over, "staple.der held until 2020-"),
        (&by_nobody, "staple.der is signed by CN=eve, which CN=issuing has not made its responder"),
    ] {
        put(bytes);
        until("it is refused", || {
            (penstock.metric("penstock_certificates_refused") == 1.0).then_some(())
        });
        has(&penstock.errors(), &[&format!("listener.web.tls: {}", authority.path(problem))]);
        let problem = problem.trim_start_matches("staple.der ");
        has(&penstock.reload().1, &["listener.web.tls", problem]);
        let checked = run(&["check", &check.display().to_string()]);
        let said = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        has(&said, &["listener.web.tls.ocsp", problem]);
        is_stapled("0A");
        put(&good);
        penstock.reload();
        assert_eq!(penstock.metric("penstock_certificates_refused"), 0.0);
    }
    // A start serves with what there is, and what is over is not presented.
    put(&over);
    drop(penstock);
    let penstock = Penstock::start(&text);
    let arguments = ["-servername", "host.test", "-status"];
    let said = ask_with(&penstock, &authority.path("root.pem"), &arguments, request);
    has(&said, &["no response sent", "200 OK"]);
    has(&penstock.errors(), &["staple.der held until 2020-"]);
}
