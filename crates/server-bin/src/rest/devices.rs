//! `/api/v1/devices` and `/api/v1/enrolments`: the account's devices, and strings that let new ones in.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use proto::{EnrolmentString, ServerIdentity};
use serde::{Deserialize, Serialize};
use store::DeviceId;
use utoipa::ToSchema;

use crate::args::TokenScope;
use crate::clock;
use crate::home::keys_dir;
use crate::host_port::HostPort;
use crate::identity::Identity;
use crate::login::Login;
use crate::porter::Porter;
use crate::qr;
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// A client machine.
#[derive(Debug, Serialize, ToSchema)]
struct Device {
    id: String,
    name: String,
    /// What its token is good for.
    scope: TokenScope,
    /// Milliseconds since 1970.
    created_ms: u64,
    last_seen_ms: Option<u64>,
    /// Since when its access is taken away.
    revoked_ms: Option<u64>,
    /// Whether it has to wait for an administrator: an older catalog brought it back.
    is_suspended: bool,
}

/// The account's devices, oldest first, revoked ones included.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<Device>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = on_pool(&service, "listing devices", move |service| {
        let devices = service.home.store.devices(login.account_id());
        let devices = devices.map_err(|error| problem::of_store("listing devices", &error))?;
        let (devices, next) = asked.cut(devices, |device| device.id.to_string())?;
        let entry = |device: store::Device| Device {
            id: device.id.to_string(),
            name: device.name,
            scope: device.scope.into(),
            created_ms: clock::wire_ms(device.created),
            last_seen_ms: device.last_seen.map(clock::wire_ms),
            revoked_ms: device.revoked.map(clock::wire_ms),
            is_suspended: device.is_suspended && device.revoked.is_none(),
        };
        Ok(Page { items: devices.into_iter().map(entry).collect::<Vec<_>>(), next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// Takes a device's access away, at once and for good. Its snapshots stay.
#[utoipa::path(
    delete,
    path = "/api/v1/devices/{id}",
    params(("id" = String, Path, description = "As the list has it")),
    responses((status = 204, description = "Its access is gone"), ProblemBody)
)]
pub(crate) async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    on_pool(&service, "revoking a device", move |service| {
        let failed = |error| problem::of_store("revoking a device", &error);
        let missing = || problem::new(StatusCode::NOT_FOUND, "there is no such device");
        let id: DeviceId = id.parse().map_err(|_| missing())?;
        let device = service.home.store.device(id).map_err(failed)?;
        // Another's is as good as none.
        device.filter(|device| device.account == login.account_id()).ok_or_else(missing)?;
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: login.actor() };
        porter.revoke_device(&login.account.name, id).map_err(failed)
    })
    .await?;
    Ok(done())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InviteBody {
    /// What the new device is called: 1 to 255 bytes.
    device: String,
    #[serde(default = "everything")]
    scope: TokenScope,
}

fn everything() -> TokenScope {
    TokenScope::Admin
}

/// What lets one device in, once.
#[derive(Serialize, ToSchema)]
struct Enrolment {
    /// For `backup-client connect`.
    enrolment: String,
    /// The same as a QR code: an SVG document.
    qr_svg: Option<String>,
    /// Where the device will look for the server.
    address: String,
    /// After this it is void; milliseconds since 1970.
    expires_ms: u64,
}

/// Makes an enrolment string: whoever connects with it first becomes a device of the account.
#[utoipa::path(
    post,
    path = "/api/v1/enrolments",
    request_body = InviteBody,
    responses((status = 201, description = "The string", body = Enrolment), ProblemBody)
)]
pub(crate) async fn invite(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let InviteBody { device, scope } = body(&headers, said).await?;
    let address = address(&service, &headers);
    let enrolment = on_pool(&service, "inviting a device", move |service| {
        let failed = |failure| problem::of_failure("inviting a device", &failure);
        let settings = &service.home.settings;
        // A device on this machine may do without TLS where the server does; others may not.
        let identity = if settings.plain_http && address.is_loopback() {
            ServerIdentity::Plain
        } else {
            let pin = Identity::read_pin(&keys_dir(settings)).map_err(failed)?;
            let pin = pin.map_or_else(|| service.home.identity().map(|identity| identity.pin()), Ok);
            ServerIdentity::Pinned(pin.map_err(failed)?)
        };
        let porter = Porter { home: &service.home, revoked: Some(&service.revoked), actor: login.actor() };
        let secret = porter.invite(&login.account, &device, scope.into()).map_err(failed)?;
        let HostPort { host, port } = address.clone();
        let enrolment = EnrolmentString { host, port, identity, secret }.to_string();
        let lifetime_ms = u64::try_from(settings.enrolment_lifetime.as_millis()).unwrap_or(u64::MAX);
        Ok(Enrolment {
            qr_svg: qr::svg(&enrolment),
            enrolment,
            address: address.to_string(),
            expires_ms: clock::now_ms().saturating_add(lifetime_ms),
        })
    });
    Ok(json(StatusCode::CREATED, &enrolment.await?))
}

/// Where devices find the server: as the settings say, else as the browser did.
pub(super) fn address(service: &Service, headers: &HeaderMap) -> HostPort {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let default_port = if service.home.settings.plain_http { 80 } else { 443 };
    let asked = host.parse().or_else(|_| format!("{host}:{default_port}").parse());
    service.home.settings.address.clone().or(asked.ok()).unwrap_or_else(|| service.listens.clone())
}
