//! `penstock cert ls | check | dev`: certificates that are presented, that could be, and ones to
//! try things with.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use penstock_tls::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::Failed;
use crate::admin_client::Door;
use crate::arguments::Ask;
use crate::output::{show, show_line};

/// The register of verbs under `cert`.
#[derive(Subcommand)]
pub(crate) enum Cert {
    /// Show the certificates that a running Penstock presents.
    Ls(Ls),
    /// Look into a certificate, and whether a key is its own. Exits 0 if both are right, else 1.
    Check(CheckCert),
    /// Write an authority, a certificate and its key to try things with. Not for production.
    Dev(Dev),
}

#[derive(Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    ask: Ask,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CheckCert {
    /// The certificate and its intermediates, in PEM.
    cert: PathBuf,
    /// Its private key, in PEM.
    key: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Dev {
    /// The names and addresses that the certificate is for.
    #[arg(default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    names: Vec<String>,
    /// The folder to write to.
    #[arg(long, default_value = ".", value_name = "PATH")]
    dir: PathBuf,
    /// How many days they are valid.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=825))]
    days: u16,
}

/// Runs a verb.
pub(crate) fn run(verb: &Cert) -> Result<(), Failed> {
    match verb {
        Cert::Ls(ls) => list(ls),
        Cert::Check(check) => look(check),
        Cert::Dev(dev) => make(dev),
    }
}

fn list(arguments: &Ls) -> Result<(), Failed> {
    let answer = Door::named(&arguments.ask)?.ask("GET", "/v1/certs")?;
    let views: Value = serde_json::from_str(&answer.body)?;
    if answer.status != 200 {
        let detail = views["detail"].as_str().unwrap_or("refused");
        return Err(Failed::Because(detail.to_owned()));
    }
    if arguments.json {
        return show_line(format_args!("{views:#}"));
    }
    let mut out = String::new();
    for view in views.as_array().into_iter().flatten() {
        let names = view["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names = names.collect::<Vec<_>>().join(" ");
        let block = view["block"].as_str().unwrap_or("?");
        if let Some(acme) = view["acme"].as_object() {
            let said = |key: &str| acme.get(key).and_then(Value::as_str).unwrap_or_default();
            let _ = writeln!(out, "{block:<24} by ACME: {} {}", said("state"), said("detail"));
            continue;
        }
        let days = view["expires_in_seconds"].as_i64().unwrap_or_default().div_euclid(86_400);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{block:<24} {days:>5} days left  {names}");
    }
    show(out)
}

fn look(arguments: &CheckCert) -> Result<(), Failed> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Failed::Usage(format!("{}: {error}", path.display())))
    };
    let (cert, key) = (read(&arguments.cert)?, read(&arguments.key)?);
    let path = arguments.cert.display();
    let because = |error: penstock_tls::TlsError| Failed::Because(format!("{path}: {error}"));
    let certificate = Certificate::read(&cert, &key).map_err(because)?;
    let pin = penstock_config::KeyPin(certificate.pin().0).to_string();
    let (names, sha256) = (certificate.names.shown(), certificate.fingerprint.to_string());
    let (subject, issuer, ends) = (&certificate.subject, &certificate.issuer, certificate.ends());
    match arguments.json {
        true => show_line(json!({
            "subject": subject, "issuer": issuer, "names": names, "ends": ends, "sha256": sha256,
            "pin": pin,
        }))?,
        false => show(format_args!(
            "subject  {subject}\nissuer   {issuer}\nnames    {}\nends     {ends}\n\
             sha256   {sha256}\npin      {pin}\n",
            names.join(" "),
        ))?,
    }
    certificate.check_dates(unix_now()).map_err(because)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// An authority of its own for each call: its key is forgotten at once, so whoever trusts
/// `ca.pem` trusts this one certificate.
fn make(arguments: &Dev) -> Result<(), Failed> {
    let (key, authority_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let now = SystemTime::now();
    let begin = now - Duration::from_secs(3_600);
    let end = now + Duration::from_secs(u64::from(arguments.days) * 86_400);
    let mut authority = CertificateParams::new(Vec::new())?;
    let first = arguments.names.first().map_or("localhost", String::as_str);
    let title = format!("Penstock development authority of {first}");
    authority.distinguished_name.push(DnType::CommonName, title);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (begin.into(), end.into());
    let authority = CertifiedIssuer::self_signed(authority, authority_key)?;
    let mut params = CertificateParams::new(arguments.names.clone())?;
    params.distinguished_name.push(DnType::CommonName, first);
    // Tells authorities of one title apart.
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (begin.into(), end.into());
    let issuer: &Issuer<'_, _> = &authority;
    let certificate = params.signed_by(&key, issuer)?;
    std::fs::create_dir_all(&arguments.dir)?;
    for (name, text, mode) in [
        ("ca.pem", authority.pem(), 0o644),
        ("cert.pem", certificate.pem(), 0o644),
        ("key.pem", key.serialize_pem(), 0o600),
    ] {
        let path = arguments.dir.join(name);
        write_anew(&path, &text, mode)
            .map_err(|error| Failed::Because(format!("{}: {error}", path.display())))?;
        show_line(path.display())?;
    }
    Ok(())
}

/// Never over a file that is there: it might be the one in production.
fn write_anew(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
}
