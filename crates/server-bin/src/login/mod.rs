//! Who is at the other end of an HTTP request: [`Login`], by a browser's session, by HTTP Basic (password or token), or by a
//! bearer token.
//!
//! A browser sends its cookie, and the Basic credentials it remembers, with requests of any page. So whatever changes
//! something is refused when it comes from another site, and with a cookie it has to show the session's token, too.

pub(crate) mod back_off;
pub(crate) mod code;
pub(crate) mod cookie;
pub(crate) mod passwords;
pub(crate) mod token;
pub(crate) mod verified;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64ct::{Base64, Encoding};
use store::{Account, AccountId, Password, Scope, StoreError, UnixMs, WebSession, WebSessionId};
use zeroize::Zeroizing;

use crate::access::Who;
use crate::audit::{Actor, Event};
use crate::clock;
use crate::keys::is_same_hash;
use crate::login::code::{Code, CodeSecret};
use crate::login::cookie::SessionCookie;
use crate::login::token::ApiSecret;
use crate::rest::problem::{self, Problem};
use crate::service::Service;

/// A token's use is noted once in so many milliseconds.
const TOKEN_TOUCH_INTERVAL_MS: i64 = 3_600_000;
/// And a session's.
const SESSION_TOUCH_INTERVAL_MS: i64 = 60_000;
/// What tells a page that a code is to be asked for.
pub(crate) const CODE_WANTED: &str = "urn:delta-backup:code-wanted";

/// Somebody who has logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Their account.
    pub(crate) account: Account,
    /// How they are known.
    pub(crate) means: Means,
    /// Where they are.
    pub(crate) address: IpAddr,
}

/// How somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// A browser's session.
    Session(WebSessionId),
    /// The account's password.
    Password,
    /// A token that is good for this.
    Token(Scope),
}

impl Login {
    /// Whose vaults are theirs.
    pub(crate) fn account_id(&self) -> AccountId {
        self.account.id
    }

    /// What their token is good for; who is no script may do what the account may.
    pub(crate) fn scope(&self) -> Scope {
        match self.means {
            Means::Session(_) | Means::Password => Scope::Admin,
            Means::Token(scope) => scope,
        }
    }

    /// What they may do.
    pub(crate) fn who(&self) -> Who {
        let role = self.account.role;
        match self.means {
            Means::Session(_) | Means::Password => Who::Person { role },
            Means::Token(scope) => Who::Script { role, scope },
        }
    }

    /// Who they are to the audit log.
    pub(crate) fn actor(&self) -> Actor {
        let means = match self.means {
            Means::Session(_) => "session",
            Means::Password => "password",
            Means::Token(_) => "token",
        };
        Actor::known(&self.account.name, means, self.address)
    }
}

/// What a request brings to log in with.
pub(crate) enum Credentials {
    Token(ApiSecret),
    Password { account: String, password: Zeroizing<String> },
}

/// Where a request comes from, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The address.
    pub(crate) address: IpAddr,
    /// Whether over TLS.
    pub(crate) is_tls: bool,
}

/// What a browser's cookie is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookies {
    /// Nothing.
    Ignored,
    /// Looking; and changes, where a page of this very origin shows the session's token.
    WithToken,
    /// What a form of a page of this very origin asks, too. Forms show no token: only for what changes nothing.
    OfOwnForms,
}

/// Finds out who asks.
///
/// # Errors
/// The answer they get otherwise: the same for an account that does not exist as for a wrong password.
pub(crate) async fn log_in(
    service: &Service,
    caller: Caller,
    (method, headers): (&Method, &HeaderMap),
    cookies: Cookies,
) -> Result<Login, Problem> {
    let address = caller.address;
    let found = match credentials(headers) {
        Some(Credentials::Token(secret)) => {
            by_token(service, secret).await?.map(|(account, scope)| (account, Means::Token(scope)))
        }
        Some(Credentials::Password { account, password }) => {
            by_basic(service, address, &account, password).await?.map(|account| (account, Means::Password))
        }
        None => {
            let cookie = SessionCookie::of(headers, caller.is_tls).filter(|_| cookies != Cookies::Ignored);
            let Some(cookie) = cookie else { return Err(unauthorized(headers)) };
            let Some(session) = by_cookie(service, &cookie).await? else { return Err(unauthorized(headers)) };
            let is_vouched_for = is_own(headers) && (cookies == Cookies::OfOwnForms || cookie.is_shown(headers));
            if !is_safe(method) && !is_vouched_for {
                let detail = "only a page of this server that shows the session's token changes anything";
                return Err(problem::new(StatusCode::FORBIDDEN, detail));
            }
            let means = Means::Session(session.id);
            return Ok(Login { account: session.account, means, address });
        }
    };
    match found {
        Some((account, means)) => {
            service.metrics.authentications_ok.add(1);
            Ok(Login { account, means, address })
        }
        None => {
            service.metrics.authentications_refused.add(1);
            tracing::warn!(%address, "login refused");
            Err(unauthorized(headers))
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser vouches that a page of this very origin asks.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => text(header::ORIGIN).is_some() && !is_foreign(&Method::POST, headers),
    }
}

/// Whether a request comes from a page of another site, as far as browsers tell.
pub(crate) fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if is_safe(method) {
        return false;
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return !matches!(site, "same-origin" | "none");
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, authority)| authority != host),
        (Some(_), None) => true,
    }
}

pub(crate) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return ApiSecret::parse(value).map(Credentials::Token);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(String::from_utf8(Base64::decode_vec(value).ok()?).ok()?);
    let (account, password) = decoded.split_once(':')?;
    Some(match ApiSecret::parse(password) {
        Some(token) => Credentials::Token(token),
        None => Credentials::Password { account: account.to_owned(), password: Zeroizing::new(password.to_owned()) },
    })
}

async fn by_token(service: &Service, secret: ApiSecret) -> Result<Option<(Account, Scope)>, Problem> {
    let (store, keys) = (service.home.store.clone(), &service.home.keys);
    let hash = keys.api_token_hash(&secret.secret);
    let id = secret.id;
    let found = service.pool.run(move || {
        let now = clock::now();
        let Some(token) = store.token(id)? else { return Ok(None) };
        let is_void = token.revoked.is_some() || token.expires.is_some_and(|expires| expires < now);
        if !is_same_hash(&token.token_hash, &hash) || is_void || token.account.disabled.is_some() {
            return Ok(None);
        }
        if token.is_suspended {
            tracing::warn!(token = %id, "a suspended token was not let in");
            return Ok(None);
        }
        if token.last_used.is_none_or(|used| used.0.saturating_add(TOKEN_TOUCH_INTERVAL_MS) < now.0)
            && let Err(error) = store.touch_token(id, now)
        {
            tracing::debug!(%error, "the use of a token could not be noted");
        }
        Ok::<_, StoreError>(Some((token.account, token.scope)))
    });
    settle(found.await.unwrap_or(Ok(None)))
}

/// Whether who logged in so would be let in again, to do the same. That this was asked is no use of a session: a page that
/// only listens does not keep it.
pub(crate) async fn still_holds(service: &Service, caller: Caller, login: &Login, headers: &HeaderMap) -> bool {
    let found = match credentials(headers) {
        Some(Credentials::Token(secret)) => {
            by_token(service, secret).await.map(|found| found.map(|(account, scope)| (account, Means::Token(scope))))
        }
        Some(Credentials::Password { account, password }) => {
            let found = by_basic(service, caller.address, &account, password).await;
            found.map(|found| found.map(|account| (account, Means::Password)))
        }
        None => match SessionCookie::of(headers, caller.is_tls) {
            None => return false,
            Some(cookie) => {
                let found = session_of(service, &cookie, false).await;
                found.map(|found| found.map(|session| (session.account, Means::Session(session.id))))
            }
        },
    };
    let is_same = |(account, means): (Account, Means)| {
        (account.id, account.role, means) == (login.account.id, login.account.role, login.means)
    };
    match found {
        Ok(found) => found.is_some_and(is_same),
        // A catalog that cannot be asked now is asked again in a moment.
        Err(problem) => problem.status().is_server_error(),
    }
}

/// The session of a cookie, unless it is over; it is used by this.
pub(crate) async fn by_cookie(service: &Service, cookie: &SessionCookie) -> Result<Option<WebSession>, Problem> {
    session_of(service, cookie, true).await
}

async fn session_of(service: &Service, cookie: &SessionCookie, is_use: bool) -> Result<Option<WebSession>, Problem> {
    let store = service.home.store.clone();
    let hash = service.home.keys.web_session_hash(&cookie.secret);
    let (idle, lifetime) = (service.home.settings.login_idle, service.home.settings.login_lifetime);
    let found = service.pool.run(move || {
        let now = clock::now();
        let Some(session) = store.web_session(&hash)? else { return Ok(None) };
        if session.account.disabled.is_some() || !is_alive(&session, now, idle, lifetime) {
            return Ok(None);
        }
        let unnoted_ms = now.0.saturating_sub(session.last_seen.0);
        let interval_ms = SESSION_TOUCH_INTERVAL_MS.min(i64::try_from(idle.as_millis() / 4).unwrap_or(i64::MAX));
        if is_use
            && unnoted_ms > interval_ms
            && let Err(error) = store.touch_web_session(session.id, now)
        {
            tracing::debug!(%error, "the use of a session could not be noted");
        }
        Ok::<_, StoreError>(Some(session))
    });
    settle(found.await.unwrap_or(Ok(None)))
}

/// Whether a session was used not long ago, and began not too long ago. One from the future is not believed.
pub(crate) fn is_alive(session: &WebSession, now: UnixMs, idle: Duration, lifetime: Duration) -> bool {
    let within = |moment: UnixMs, span: Duration| {
        let age = now.0.saturating_sub(moment.0);
        (-SESSION_TOUCH_INTERVAL_MS..i64::try_from(span.as_millis()).unwrap_or(i64::MAX)).contains(&age)
    };
    within(session.last_seen, idle) && within(session.created, lifetime)
}

/// By HTTP Basic, where nobody can be asked for a code.
async fn by_basic(
    service: &Service,
    address: IpAddr,
    account: &str,
    password: Zeroizing<String>,
) -> Result<Option<Account>, Problem> {
    let Some(found) = by_password(service, address, account, password).await? else { return Ok(None) };
    if found.has_second_factor {
        let detail = "this account has a second factor, which cannot be said here: log in with a token in place of the \
                      password (`backup-server token add`)";
        return Err(problem::new(StatusCode::UNAUTHORIZED, detail));
    }
    service.back_off.succeeded(account, address);
    Ok(Some(found.account))
}

/// The account that has this password. Whoever is let in after this says so to the back-off.
///
/// # Errors
/// The answer when the password was not looked at, or the account is shut.
pub(crate) async fn by_password(
    service: &Service,
    address: IpAddr,
    account: &str,
    password: Zeroizing<String>,
) -> Result<Option<Password>, Problem> {
    check_back_off(service, address, account)?;
    let (store, name) = (service.home.store.clone(), account.to_owned());
    let found = service.pool.run(move || store.password(&name)).await.unwrap_or(Ok(None));
    let found = settle(found)?;
    let hash = found.as_ref().and_then(|found| found.hash.clone());
    let is_known = hash.as_ref().is_some_and(|hash| service.verified.is_known(&password, hash, Instant::now()));
    if !is_known {
        let said = password.clone();
        let is_right = service.passwords.is_right(password, hash.clone()).await.map_err(|error| {
            problem::retry(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), Duration::from_secs(1))
        })?;
        if !is_right {
            refused(service, address, account, "password").await;
            return Ok(None);
        }
        service.verified.add(&said, &hash.unwrap_or_default(), Instant::now());
    }
    match found {
        Some(found) if found.account.disabled.is_some() => {
            Err(problem::new(StatusCode::FORBIDDEN, "this account is disabled; an administrator can enable it"))
        }
        found => Ok(found),
    }
}

/// The hash of a password that is to be set.
///
/// # Errors
/// The answer when it is too short or too long, or too many are logging in.
pub(crate) async fn hash_password(service: &Service, password: Zeroizing<String>) -> Result<String, Problem> {
    let hashed =
        service.passwords.hash(password).await.map_err(|error| {
            problem::retry(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), Duration::from_secs(1))
        })?;
    hashed.map_err(|failure| problem::of_failure("hashing a password", &failure))
}

/// Whether an attempt is looked at now.
///
/// # Errors
/// The answer when it is not.
pub(crate) fn check_back_off(service: &Service, address: IpAddr, account: &str) -> Result<(), Problem> {
    match service.back_off.wait(account, address, Instant::now()) {
        Some(wait) => Err(problem::retry(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords", wait)),
        None => Ok(()),
    }
}

/// Whether `text` is a code of the account's second factor that was not used before.
///
/// # Errors
/// When the catalog fails.
pub(crate) async fn is_right_code(service: &Service, account: AccountId, text: &str) -> Result<bool, Problem> {
    let Some(code) = Code::parse(text) else { return Ok(false) };
    let (store, keys) = (service.home.store.clone(), &service.home.keys);
    match code {
        Code::Recovery(code) => {
            let hash = keys.recovery_code_hash(code.expose());
            let taken = service.pool.run(move || store.take_recovery_code(account, &hash)).await;
            settle(taken.unwrap_or(Ok(false)))
        }
        Code::Digits(digits) => {
            let asking = store.clone();
            let factor = settle(service.pool.run(move || asking.second_factor(account)).await.unwrap_or(Ok(None)))?;
            let Some(factor) = factor else { return Ok(false) };
            let Some(step) = CodeSecret::new(keys, &factor.salt).step_of(digits, clock::now_ms()) else {
                return Ok(false);
            };
            settle(service.pool.run(move || store.take_step(account, step)).await.unwrap_or(Ok(false)))
        }
    }
}

/// Counts a password or a code that was wrong.
pub(crate) async fn refused(service: &Service, address: IpAddr, account: &str, what: &'static str) {
    service.back_off.failed(account, address, Instant::now());
    if !service.refusals.admits(Instant::now()) {
        return;
    }
    let (store, account) = (service.home.store.clone(), account.to_owned());
    let noted = service.pool.run(move || {
        // A name that nobody has may be a password in the wrong place.
        let subject = store.account_by_name(&account).ok().flatten().map(|account| account.name).unwrap_or_default();
        Actor::known("", what, address).note(&store, Event::LoginRefused, &subject, "");
    });
    if let Err(error) = noted.await {
        tracing::error!(%error, "the audit log could not be written");
    }
}

fn settle<T>(found: Result<T, StoreError>) -> Result<T, Problem> {
    found.map_err(|error| problem::of_store("logging in", &error))
}

/// Browsers answer a challenge for a password with a window of their own; pages ask for it themselves.
fn unauthorized(headers: &HeaderMap) -> Problem {
    let is_page = headers.contains_key("sec-fetch-mode");
    let challenge = if is_page { "Bearer realm=\"Delta Backup\"" } else { BASIC_CHALLENGE };
    let problem = problem::new(StatusCode::UNAUTHORIZED, "log in with an account's password, or a token");
    problem.with(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(challenge))
}

const BASIC_CHALLENGE: &str = "Basic realm=\"Delta Backup\", charset=\"UTF-8\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_are_read() {
        let token = format!("bkt_{}_{}", "01".repeat(8), "ab".repeat(32));
        let read = |value: &str| credentials(&headers(&[("authorization", value)]));
        assert!(matches!(read(&format!("Bearer {token}")), Some(Credentials::Token(_))));
        let basic = |text: &str| format!("basic {}", Base64::encode_string(text.as_bytes()));
        assert!(matches!(read(&basic(&format!("anybody:{token}"))), Some(Credentials::Token(_))));
        let Some(Credentials::Password { account, password }) = read(&basic("ada:with:colon")) else { panic!() };
        assert_eq!((account.as_str(), password.as_str()), ("ada", "with:colon"));
        for wrong in ["", "Basic", "Basic !!!", "Bearer ada", "Digest x", &basic("no colon")] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let foreign = |method: Method, pairs: &[(&'static str, &str)]| is_foreign(&method, &headers(pairs));
        assert!(!foreign(Method::PUT, &[("host", "a:1")]), "no browser");
        assert!(!foreign(Method::PUT, &[("host", "a:1"), ("origin", "https://a:1")]));
        assert!(foreign(Method::PUT, &[("host", "a:1"), ("origin", "https://b:1")]));
        assert!(foreign(Method::POST, &[("host", "a:1"), ("origin", "null")]));
        assert!(foreign(Method::DELETE, &[("sec-fetch-site", "cross-site"), ("host", "a"), ("origin", "http://a")]));
        assert!(foreign(Method::DELETE, &[("sec-fetch-site", "same-site")]));
        assert!(!foreign(Method::DELETE, &[("sec-fetch-site", "same-origin")]));
        assert!(!foreign(Method::GET, &[("host", "a"), ("origin", "http://b")]));
    }

    /// With a cookie it is not enough that nothing speaks against a page: the browser has to vouch for it.
    #[test]
    fn a_page_of_our_own_is_vouched_for() {
        let own = |pairs: &[(&'static str, &str)]| is_own(&headers(pairs));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("host", "a:1"), ("origin", "https://a:1")]));
        for pairs in [
            &[("host", "a:1")][..],
            &[("host", "a:1"), ("origin", "https://b:1")],
            &[("host", "a:1"), ("origin", "null")],
            &[("host", "a:1"), ("sec-fetch-site", "none")],
            &[("host", "a:1"), ("sec-fetch-site", "same-site"), ("origin", "https://a:1")],
            &[("host", "a:1"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!own(pairs), "{pairs:?}");
        }
    }

    #[test]
    fn sessions_end_by_idleness_and_by_age() {
        let session = |created, last_seen| WebSession {
            id: WebSessionId::from_bytes([1; 8]),
            account: Account {
                id: AccountId(1),
                name: "ada".to_owned(),
                role: store::Role::Member,
                created: UnixMs(0),
                disabled: None,
                quota_bytes: None,
            },
            created: UnixMs(created),
            last_seen: UnixMs(last_seen),
            address: String::new(),
            agent: String::new(),
        };
        let (idle, lifetime) = (Duration::from_secs(10), Duration::from_secs(100));
        let alive = |created, last_seen| is_alive(&session(created, last_seen), UnixMs(1_000_000), idle, lifetime);
        assert!(alive(999_000, 999_000) && alive(900_001, 990_001));
        assert!(!alive(900_000, 999_999), "too old");
        assert!(!alive(999_000, 990_000), "not used for too long");
        assert!(!alive(999_000, 2_000_000) && !alive(2_000_000, 999_000), "of no time that there was");
    }
}
