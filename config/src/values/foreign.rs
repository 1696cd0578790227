//! Words of other proxies' languages: here they are no variables, and would go out as they stand.
//!
//! Only what nobody means literally: `$filter` and `50%` are text like any other.

/// Whether `text` has a variable as nginx (`$request_uri`), HAProxy (`%[src]`) or Envoy
/// (`%REQ(:path)%`) write them.
pub(crate) fn has_variable(text: &str) -> bool {
    let after = |sign: char| text.match_indices(sign).map(|(at, _)| &text[at + 1..]);
    after('$').any(is_of_nginx) || after('%').any(|rest| rest.starts_with('[') || is_of_envoy(rest))
}

fn is_of_nginx(rest: &str) -> bool {
    let is_letter = |one: char| one.is_ascii_alphanumeric() || one == '_';
    let rest = rest.strip_prefix('{').unwrap_or(rest);
    let name = rest.split(|one| !is_letter(one)).next().unwrap_or_default();
    NGINX.contains(&name) || NGINX_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// An operator in capitals, closed by its parameters or by another percent sign.
fn is_of_envoy(rest: &str) -> bool {
    let is_letter = |one: char| one.is_ascii_uppercase() || one == '_';
    let name = rest.split(|one| !is_letter(one)).next().unwrap_or_default();
    name.len() > 2 && rest[name.len()..].starts_with(['(', '%'])
}

/// Of ngx_http_core_module, ngx_http_proxy_module and ngx_http_ssl_module.
const NGINX: &[&str] = &[
    "args",
    "binary_remote_addr",
    "document_uri",
    "host",
    "hostname",
    "is_args",
    "proxy_add_x_forwarded_for",
    "proxy_host",
    "query_string",
    "realip_remote_addr",
    "remote_addr",
    "remote_port",
    "remote_user",
    "request_id",
    "request_method",
    "request_uri",
    "scheme",
    "server_addr",
    "server_name",
    "server_port",
    "time_iso8601",
    "uri",
];
const NGINX_FAMILIES: &[&str] = &["arg_", "cookie_", "http_", "sent_http_", "ssl_", "upstream_"];

#[cfg(test)]
mod tests {
    use super::has_variable;

    #[test]
    fn variables_are_told_from_text() {
        for text in [
            "https://$host$request_uri",
            "${scheme}://x",
            "$http_x_real_ip",
            "%[src]",
            "a %[req.hdr(host)]",
            "%REQ(:path)%",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
        ] {
            assert!(has_variable(text), "{text}");
        }
        for text in ["/$metadata?$filter=a", "US$ 5", "50%", "%41%42", "a%20B(c)", "$1", "%%"] {
            assert!(!has_variable(text), "{text}");
        }
    }
}
