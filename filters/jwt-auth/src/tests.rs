//! Tests of the filter's own code, against the SDK's host double.

mod fetching;
mod rsa_key;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use penstock::testing::{Answered, Instance};
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::JwtAuth;

/// The host double's clock: 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;
const SECRET: &[u8] = b"a secret of at least 32 bytes: 1";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hs256_key() -> Value {
    json!({ "kty": "oct", "kid": "h", "k": b64(SECRET) })
}

fn rs256_key() -> Value {
    json!({ "kty": "RSA", "kid": "r", "alg": "RS256", "n": rsa_key::MODULUS, "e": "AQAB" })
}

fn es256() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn es256_key() -> Value {
    let point = es256().verifying_key().to_encoded_point(false);
    let (x, y) = (b64(point.x().unwrap()), b64(point.y().unwrap()));
    json!({ "kty": "EC", "kid": "e", "crv": "P-256", "use": "sig", "x": x, "y": y })
}

/// A token with this header and these claims, signed as the header's `alg` says.
fn token(header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = match header["alg"].as_str() {
        Some("RS256") => {
            let number = |text| BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(text).unwrap());
            let key = RsaPrivateKey::from_components(
                number(rsa_key::MODULUS),
                number("AQAB"),
                number(rsa_key::PRIVATE),
                vec![number(rsa_key::PRIME_1), number(rsa_key::PRIME_2)],
            );
            let digest = Sha256::digest(&signed);
            key.unwrap().sign(Pkcs1v15Sign::new::<Sha256>(), &digest).unwrap()
        }
        Some("ES256") => {
            let signature: Signature = es256().sign(signed.as_bytes());
            signature.to_bytes().to_vec()
        }
        _ => {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
            mac.update(signed.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
    };
    format!("{signed}.{}", b64(signature))
}

fn good(algorithm: &str, key: &str) -> String {
    token(
        &json!({ "alg": algorithm, "kid": key, "typ": "JWT" }),
        &json!({ "iss": "us", "aud": ["a", "orders"], "sub": "ada", "exp": NOW + 600 }),
    )
}

/// A filter with all three keys and these entries beside them.
fn filter(entries: Value) -> Instance<JwtAuth> {
    let mut config = json!({
        "issuer": "us",
        "audience": ["orders", "else"],
        "keys": { "keys": [hs256_key(), rs256_key(), es256_key()] },
    });
    config.as_object_mut().unwrap().extend(entries.as_object().unwrap().clone());
    Instance::new(&config.to_string()).unwrap()
}

/// What the filter answers to a request with these fields; `None` if it goes on.
fn ask(filter: &Instance<JwtAuth>, fields: &[(&str, &str)]) -> Option<Answered> {
    let mut all = vec![(":method", "GET"), (":path", "/"), (":authority", "example.org")];
    all.extend_from_slice(fields);
    let exchange = filter.request(&all);
    assert!(!exchange.waits());
    exchange.answer()
}

fn bearer(filter: &Instance<JwtAuth>, token: &str) -> Option<Answered> {
    ask(filter, &[("authorization", &format!("Bearer {token}"))])
}

#[track_caller]
fn refused(filter: &Instance<JwtAuth>, token: &str, cause: &str) {
    let answer = bearer(filter, token).expect("the token is bad");
    assert_eq!((answer.status(), answer.cause()), (401, cause));
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=\"penstock\", error=\"invalid_token\""));
}

#[test]
fn a_good_token_of_each_algorithm_goes_on_from_the_cache_too() {
    let filter = filter(json!({}));
    for (algorithm, key) in [("HS256", "h"), ("RS256", "r"), ("ES256", "e")] {
        for _ in 0..2 {
            assert_eq!(bearer(&filter, &good(algorithm, key)), None, "{algorithm}");
        }
    }
    assert_eq!(filter.metric("allowed"), Some(6));
    assert_eq!(filter.metric("denied"), Some(0));
}

#[test]
fn the_example_of_rfc_7515_appendix_a_1_verifies() {
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzO\
        DAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gF\
        WFOEjXk";
    let config = json!({ "issuer": ["joe"], "keys": { "keys": [{ "kty": "oct", "k": key }] } });
    let filter = Instance::<JwtAuth>::new(&config.to_string()).unwrap();
    filter.set_unix(core::time::Duration::from_secs(1_300_819_379));
    assert_eq!(bearer(&filter, token), None);
    // Its `exp` is 1300819380; 30 seconds of leeway are the default.
    filter.advance(core::time::Duration::from_secs(31));
    refused(&filter, token, "jwt_expired");
}

#[test]
fn a_token_of_the_wrong_shape_is_refused() {
    let filter = filter(json!({}));
    for token in ["x", "x.y", "..", "a.b.c.d", "e30.e30.e30", "e30=.e30.e30", "\u{e4}.e30.e30"] {
        refused(&filter, token, "jwt_malformed");
    }
    refused(&filter, &"x".repeat(9000), "jwt_malformed");
    let good = good("HS256", "h");
    refused(&filter, &good[..good.len() - 1], "jwt_malformed");
    let signed = good.rsplit_once('.').unwrap().0;
    refused(&filter, &format!("{signed}."), "jwt_signature");
    refused(&filter, &format!("{signed}.AAAA"), "jwt_signature");
    // RFC 7519 §7.2: the claims are an object.
    refused(&filter, &token(&json!({ "alg": "HS256" }), &json!([1])), "jwt_malformed");
}

#[test]
fn the_token_does_not_choose_how_it_is_verified() {
    let filter = filter(json!({}));
    let claims = json!({ "iss": "us", "aud": "orders", "exp": NOW + 600 });
    // RFC 8725 §2.1: no signature, and a public key taken for an HMAC secret.
    refused(&filter, &token(&json!({ "alg": "none" }), &claims), "jwt_algorithm");
    refused(&filter, &token(&json!({ "alg": "None", "kid": "h" }), &claims), "jwt_algorithm");
    refused(&filter, &token(&json!({ "alg": "HS256", "kid": "r" }), &claims), "jwt_unknown_key");
    refused(&filter, &token(&json!({ "alg": "ES256", "kid": "h" }), &claims), "jwt_unknown_key");
    refused(&filter, &token(&json!({ "alg": "HS512", "kid": "h" }), &claims), "jwt_algorithm");
    // RFC 7515 §4.1.11: what is critical must be understood.
    let critical = json!({ "alg": "HS256", "kid": "h", "crit": ["b64"], "b64": false });
    refused(&filter, &token(&critical, &claims), "jwt_algorithm");
    // A good token's signature over other claims.
    let (good, other) = (good("HS256", "h"), token(&json!({ "alg": "HS256" }), &json!({})));
    let signature = good.rsplit_once('.').unwrap().1;
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    refused(&filter, &forged, "jwt_signature");
}

#[test]
fn claims_decide_by_the_rules() {
    #[track_caller]
    fn check(claims: Value, cause: Option<&str>) {
        let filter = filter(json!({}));
        let token = token(&json!({ "alg": "HS256", "kid": "h" }), &claims);
        let answer = bearer(&filter, &token);
        assert_eq!(answer.as_ref().map(Answered::cause), cause, "{claims}");
    }
    let (soon, late) = (NOW + 600, NOW - 600);
    check(json!({ "iss": "us", "aud": "orders", "exp": soon }), None);
    check(json!({ "iss": "us", "aud": "orders", "exp": soon, "nbf": late, "iat": late }), None);
    check(json!({ "iss": "us", "aud": "orders", "exp": soon as f64 + 0.5 }), None);
    check(json!({ "iss": "they", "aud": "orders", "exp": soon }), Some("jwt_issuer"));
    check(json!({ "aud": "orders", "exp": soon }), Some("jwt_issuer"));
    check(json!({ "iss": ["us"], "aud": "orders", "exp": soon }), Some("jwt_issuer"));
    check(json!({ "iss": "us", "aud": "order", "exp": soon }), Some("jwt_audience"));
    check(json!({ "iss": "us", "aud": [], "exp": soon }), Some("jwt_audience"));
    check(json!({ "iss": "us", "exp": soon }), Some("jwt_audience"));
    check(json!({ "iss": "us", "aud": "orders" }), Some("jwt_no_expiry"));
    check(json!({ "iss": "us", "aud": "orders", "exp": late }), Some("jwt_expired"));
    check(json!({ "iss": "us", "aud": "orders", "exp": "soon" }), Some("jwt_malformed"));
    check(json!({ "iss": "us", "aud": "orders", "exp": soon, "nbf": soon }), Some("jwt_not_yet"));
    // On the edge: 30 seconds of leeway, the last of them not included.
    check(json!({ "iss": "us", "aud": "orders", "exp": NOW - 29 }), None);
    check(json!({ "iss": "us", "aud": "orders", "exp": NOW - 30 }), Some("jwt_expired"));
    check(json!({ "iss": "us", "aud": "orders", "exp": soon, "nbf": NOW + 30 }), None);
    let early = json!({ "iss": "us", "aud": "orders", "exp": soon, "nbf": NOW + 31 });
    check(early, Some("jwt_not_yet"));
}

#[test]
fn a_token_that_was_good_expires_in_the_cache() {
    let filter = filter(json!({}));
    let token = good("HS256", "h");
    assert_eq!(bearer(&filter, &token), None);
    filter.advance(core::time::Duration::from_secs(629));
    assert_eq!(bearer(&filter, &token), None);
    filter.advance(core::time::Duration::from_secs(1));
    refused(&filter, &token, "jwt_expired");
}

#[test]
fn a_request_without_a_token_is_asked_for_one() {
    let strict = filter(json!({ "realm": "shop" }));
    for fields in [&[][..], &[("authorization", "Basic dTpw")], &[("cookie", "jwt=x")]] {
        let answer = ask(&strict, fields).unwrap();
        assert_eq!((answer.status(), answer.cause()), (401, "jwt_missing"));
        assert_eq!(answer.header("www-authenticate").as_deref(), Some("Bearer realm=\"shop\""));
    }
    drop(strict);
    let optional = filter(json!({ "optional": true }));
    assert_eq!(ask(&optional, &[]), None);
    refused(&optional, "bad", "jwt_malformed");
}

#[test]
fn two_tokens_are_one_too_many() {
    let filter = filter(json!({}));
    let good = format!("Bearer {}", good("HS256", "h"));
    let answer = ask(&filter, &[("authorization", &good), ("authorization", "Bearer x")]);
    assert_eq!(answer.unwrap().cause(), "jwt_ambiguous");
}

#[test]
fn a_token_is_found_in_another_field_or_a_cookie() {
    let filter = filter(json!({ "header": "x-token", "cookie": "session" }));
    let good = good("ES256", "e");
    assert_eq!(ask(&filter, &[("x-token", &good)]), None);
    assert_eq!(ask(&filter, &[("cookie", &format!("a=b; session={good}"))]), None);
    assert_eq!(bearer(&filter, &good).unwrap().cause(), "jwt_missing");
}

#[test]
fn claims_go_upstream_and_forgeries_of_them_do_not() {
    let filter = filter(json!({
        "forward": { "sub": "x-user", "roles": "x-roles", "age": "x-age", "absent": "x-absent" },
        "strip": true,
    }));
    let ask = |claims: Value| {
        let token = token(&json!({ "alg": "HS256", "kid": "h" }), &claims);
        let bearer = format!("Bearer {token}");
        filter.request(&[(":path", "/"), ("authorization", &bearer), ("x-absent", "forged")])
    };
    let mut claims = json!({ "iss": "us", "aud": "orders", "exp": NOW + 600, "sub": "ada" });
    claims["roles"] = json!(["a", "b"]);
    claims["age"] = json!(36);
    for _ in 0..2 {
        let exchange = ask(claims.clone());
        assert!(exchange.went_on());
        let header = |name| exchange.request_header(name);
        assert_eq!(header("x-user").as_deref(), Some("ada"));
        assert_eq!(header("x-roles").as_deref(), Some("a,b"));
        assert_eq!(header("x-age").as_deref(), Some("36"));
        assert_eq!(header("x-absent"), None);
        assert_eq!(header("authorization"), None);
    }
    claims["sub"] = json!("ada\r\nx-admin: 1");
    assert_eq!(ask(claims).answer().unwrap().cause(), "jwt_malformed");
}

#[test]
fn a_token_without_a_key_id_needs_a_key_without_a_rival() {
    let claims = json!({ "iss": "us", "aud": "orders", "exp": NOW + 600 });
    let token = token(&json!({ "alg": "HS256" }), &claims);
    assert_eq!(bearer(&filter(json!({})), &token), None);
    let rivals = json!({ "keys": { "keys": [hs256_key(), { "kty": "oct", "k": b64([1; 32]) }] } });
    refused(&filter(rivals), &token, "jwt_unknown_key");
}

#[test]
fn a_configuration_that_is_wrong_or_lets_everyone_in_is_refused() {
    #[track_caller]
    fn check(config: Value, expected: &str) {
        let error = Instance::<JwtAuth>::new(&config.to_string()).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let keys = json!({ "keys": [hs256_key()] });
    check(json!({}), "`keys` or `fetch`: one of them must be there");
    check(json!({ "keys": { "keys": [] } }), "keys.keys: none of them verifies");
    check(json!({ "keys": { "keys": [{ "kty": "OKP" }] } }), "keys.keys: none of them");
    let short = json!({ "keys": [hs256_key(), { "kty": "oct", "k": b64([1; 31]) }] });
    check(json!({ "keys": short }), "keys.keys[1]: a secret for HS256 has at least 32 bytes");
    let weak = json!({ "keys": [{ "kty": "RSA", "n": rsa_key::WEAK_MODULUS, "e": "AQAB" }] });
    check(json!({ "keys": weak }), "keys.keys[0]: an RSA key has at least 2048 bits");
    let mut off = es256_key();
    off["y"] = off["x"].clone();
    check(json!({ "keys": { "keys": [off] } }), "keys.keys[0]: the point is not on the curve");
    check(json!({ "keys": { "keys": [{}] } }), "keys.keys[0]: missing field `kty`");
    check(json!({ "keys": keys, "issuer": 1 }), "issuer: expected a text or a list of texts");
    check(json!({ "keys": keys, "leeway_seconds": 301 }), "leeway_seconds: 301: at most 300");
    check(json!({ "keys": keys, "forward": { "sub": "X-User" } }), "forward.sub: \"X-User\"");
    check(json!({ "keys": keys, "realm": "a\"b" }), "realm: no quotes");
    check(json!({ "keys": keys, "audiences": "x" }), "audiences: unknown field `audiences`");
    let fetch = json!({ "cluster": "c", "path": "/", "refresh_seconds": 1 });
    check(json!({ "fetch": fetch }), "fetch.refresh_seconds: 1: from 10 to 86400");
}
