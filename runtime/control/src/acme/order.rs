//! One order, from the account to the certificate on disk (RFC 8555 §7).

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, Authorizations, ChallengeHandle,
    ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use penstock_config::AcmeChallenge;
use penstock_proxy::HttpProof;
use penstock_tls::{Certificate, TlsProof};
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use super::desk::failure;
use super::file;
use super::jobs::{AcmeFailure, Proof, ProofKind, Work};
use crate::Handle;

/// How the authority is asked whether it is done: ever less often, for as long as an order may
/// take at all.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(std::time::Duration::from_secs(240));

/// Orders a certificate and writes it to disk.
///
/// # Errors
/// Why there is none.
pub(super) async fn order(handle: Handle, work: Work) -> Result<(), AcmeFailure> {
    let account = account(&work).await?;
    let names: Vec<Identifier> = work
        .wish
        .names
        .iter()
        .map(|name| Identifier::Dns(name.as_str().to_ascii_lowercase()))
        .collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(of_library)?;
    prove(&handle, &work, order.authorizations()).await?;
    if order.poll_ready(&POLLING).await.map_err(of_library)? != OrderStatus::Ready {
        return Err(why_invalid(&mut order).await);
    }
    let key = order.finalize().await.map_err(of_library)?;
    let chain = order.poll_certificate(&POLLING).await.map_err(of_library)?;
    let pem = format!("{key}{chain}");
    let read = Certificate::read(pem.as_bytes(), pem.as_bytes());
    let read = read.map_err(|error| failure("bad_certificate", error.to_string()))?;
    let is_for = |name: &str| read.names.cover(&name.to_ascii_lowercase());
    if let Some(name) = work.wish.names.iter().find(|name| !is_for(name.as_str())) {
        return Err(failure("bad_certificate", format!("it is not for {name}")));
    }
    write(&work.certificate, &pem)
}

/// The account with the authority: the one on disk, or a new one.
async fn account(work: &Work) -> Result<Account, AcmeFailure> {
    let builder = match &work.directory_ca {
        Some(path) => Account::builder_with_root(path),
        None => Account::builder(),
    };
    let builder = builder.map_err(of_library)?;
    let path = work.account.display();
    let unreadable = |problem: String| failure("state_unusable", format!("{path}: {problem}"));
    let known = file::read(&work.account).map_err(|error| unreadable(error.to_string()))?;
    if let Some(text) = known {
        let credentials: AccountCredentials =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        return builder.from_credentials(credentials).await.map_err(of_library);
    }
    let contact = work.wish.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = work.wish.directory.as_str().to_owned();
    let (account, credentials) = builder.create(&new, directory, None).await.map_err(of_library)?;
    let text = serde_json::to_string(&credentials)
        .map_err(|error| failure("internal", error.to_string()))?;
    write(&work.account, &text)?;
    Ok(account)
}

fn write(path: &std::path::Path, text: &str) -> Result<(), AcmeFailure> {
    let problem = |error| failure("state_unusable", format!("{}: {error}", path.display()));
    file::write(path, text).map_err(problem)
}

/// Shows for every host that is not believed yet that it is ours.
async fn prove(
    handle: &Handle,
    work: &Work,
    mut authorizations: Authorizations<'_>,
) -> Result<(), AcmeFailure> {
    let kind = match work.wish.challenge {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(of_library)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(kind.clone()) else {
            let name = work.wish.challenge.name();
            return Err(failure("no_challenge", format!("the authority offers no {name}")));
        };
        let proof = proof(&challenge, work)?;
        let shown = handle.ask(move |control| control.acme_prove(proof)).await;
        shown
            .map_err(|gone| failure("internal", gone.to_string()))?
            .map_err(|refused| failure("not_shown", refused))?;
        challenge.set_ready().await.map_err(of_library)?;
    }
    Ok(())
}

fn proof(challenge: &ChallengeHandle<'_>, work: &Work) -> Result<Proof, AcmeFailure> {
    let authorization = challenge.key_authorization();
    let kind = match work.wish.challenge {
        // RFC 8555 §8.3.
        AcmeChallenge::Http01 => ProofKind::Http(HttpProof {
            path: format!("/.well-known/acme-challenge/{}", challenge.token).into(),
            answer: authorization.as_str().into(),
        }),
        // RFC 8737 §3: a certificate for the name alone, with the digest in an extension.
        AcmeChallenge::TlsAlpn01 => {
            let name = challenge.identifier().to_string();
            let broken = |error: rcgen::Error| failure("internal", error.to_string());
            let mut params = CertificateParams::new(vec![name.clone()]).map_err(broken)?;
            let digest = authorization.digest();
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
            let key = KeyPair::generate().map_err(broken)?;
            let pem = params.self_signed(&key).map_err(broken)?.pem();
            let proof = TlsProof::read(&name, pem.as_bytes(), key.serialize_pem().as_bytes());
            ProofKind::Tls(proof.map_err(|error| failure("internal", error.to_string()))?)
        }
    };
    Ok(Proof { listener: work.listener.clone(), kind })
}

/// What the authority says of the first host that it does not believe us.
async fn why_invalid(order: &mut Order) -> AcmeFailure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let name = authorization.identifier().to_string();
        let problem = authorization.challenges.iter().find_map(|one| one.error.as_ref());
        if let Some(problem) = problem {
            let AcmeFailure { name: error, detail } = of_problem(problem);
            return failure(error, format!("{name}: {detail}"));
        }
    }
    failure("refused", "the authority does not say why".to_owned())
}

fn of_library(error: Error) -> AcmeFailure {
    match &error {
        Error::Api(problem) => of_problem(problem),
        Error::Timeout(_) => failure("timeout", "the authority takes too long".to_owned()),
        Error::Http(_) | Error::Hyper(_) | Error::Other(_) => {
            failure("unreachable", with_sources(&error))
        }
        _ => failure("misunderstood", with_sources(&error)),
    }
}

/// RFC 8555 §6.7.
fn of_problem(problem: &Problem) -> AcmeFailure {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let name = PROBLEMS.iter().find(|(theirs, _)| *theirs == kind).map_or("refused", |row| row.1);
    failure(name, problem.to_string())
}

/// Theirs, ours: a label of a metric has only so many values.
const PROBLEMS: &[(&str, &str)] = &[
    ("caa", "caa"),
    ("connection", "connection"),
    ("dns", "dns"),
    ("externalAccountRequired", "external_account_required"),
    ("incorrectResponse", "incorrect_response"),
    ("rateLimited", "rate_limited"),
    ("rejectedIdentifier", "rejected_identifier"),
    ("serverInternal", "server_internal"),
    ("tls", "tls"),
    ("unauthorized", "unauthorized"),
    ("userActionRequired", "user_action_required"),
];

/// An error with what is behind it, which the library leaves out.
fn with_sources(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
